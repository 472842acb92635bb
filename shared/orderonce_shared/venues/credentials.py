"""Keys of venue accounts, from one JSON file that only its owner can read.

A key that others on the machine can read is refused, not warned about. Neither key nor secret is in
a repr, a log line or an error: both are wrapped, and only the signer unwraps them.

File: {"accounts": {"paper-1": {"venue": "paper", "api_key": "…", "secret": "…"}}}, mode 0600.
"""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_FILE_BYTES = 1_000_000


class CredentialError(ValueError):
    """A plain sentence for the operator; never a part of a key."""


class Secret:
    """Text that does not show itself: not in repr, str, format or pickle."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Called by the signer and by the scrubber of evidence, by nobody else."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class Credential:
    """One account's key at its venue. `account` is our name for it."""

    account: str
    venue: str
    api_key: Secret
    secret: Secret


def load_credentials(path: Path) -> dict[str, Credential]:
    """All accounts of the file by their name; raises CredentialError with a sentence that says what
    to do.
    """
    document = _read_private(path)
    accounts = document.get("accounts") if isinstance(document, dict) else None
    if not isinstance(accounts, dict):
        raise CredentialError(f'{path} needs the shape {{"accounts": {{NAME: {{..}}}}}}')
    return {name: _credential(path, name, entry) for name, entry in accounts.items()}


def _read_private(path: Path) -> Any:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CredentialError(f"cannot open {path}: {error.strerror}") from None
    try:
        mode = os.fstat(descriptor).st_mode  # of the open file: no race with a rename
        if not stat.S_ISREG(mode):
            raise CredentialError(f"{path} is not a regular file")
        if mode & 0o077:
            raise CredentialError(
                f"{path} can be used by others on this machine (mode {stat.S_IMODE(mode):04o}):"
                f" run `chmod 600 {path}`"
            )
        content = os.read(descriptor, MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_FILE_BYTES:
        raise CredentialError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return json.loads(content)
    except ValueError:
        # Not the parser's own message: it may quote what it read.
        raise CredentialError(f"{path} is not valid JSON") from None


def _credential(path: Path, name: str, entry: Any) -> Credential:
    fields: dict[str, str] = {}
    for field in ("venue", "api_key", "secret"):
        value = entry.get(field) if isinstance(entry, dict) else None
        if not isinstance(value, str) or not value:
            raise CredentialError(f"{path}: account {name!r} lacks the text field {field!r}")
        fields[field] = value
    return Credential(
        account=name,
        venue=fields["venue"],
        api_key=Secret(fields["api_key"]),
        secret=Secret(fields["secret"]),
    )
