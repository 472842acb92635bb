"""Outlives a session of tests, however that ends, and removes what it left in the engine.

Its standard input is a pipe that only the session holds: the kernel closes it when the session is
killed, and by then everything with the session's label belongs to nobody. Argument: the label.
"""

import sys


def main() -> None:
    sys.stdin.read()
    from tests.stacks import engine  # only now: the engine's library is not small

    engine.sweep(sys.argv[1])


if __name__ == "__main__":
    main()
