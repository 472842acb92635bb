"""What the command says when it cannot go on: one plain sentence and an exit code.

Every failure that a user can do something about is a `Problem`; anything else is a bug and shows
its traceback.
"""

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command (documented in `orderonce --help`)."""

    OK = 0
    FAILED = 1  # the work was tried and refused, or ended with a failure
    USAGE = 2  # the command line itself is wrong
    UNAVAILABLE = 3  # nothing that runs could be asked, or no answer came
    INTERRUPTED = 130  # Ctrl-C


class Problem(Exception):
    """A plain sentence that says what is wrong and what to do."""

    def __init__(self, sentence: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code
