"""The secrets of a deployment in containers: which exist, and which service reads which.

One folder per reader, each a volume that only its reader mounts. A secret is made once; a second
copy, and the URLs that hold a password, are written anew at every run, so that a run that was
killed half-way, or a database that moved, is put right by the next one.
"""

import os
import secrets
from pathlib import Path
from urllib.parse import quote

from orderonce_cli.problems import Problem
from orderonce_cli.stack.layout import write_private

SERVICE_USER = 10001  # of every image of ours
ROLES = ("order_api", "executor", "ledger")
READERS = ("postgres", "migrate", "order-api", "executor", "ledger", "keys")
# Postgres' image runs as a user whose number differs between its variants. Its folder is a volume
# that no other container mounts, so that anyone in that one container may read it.
OPEN_TO_ITS_CONTAINER = ("postgres",)


def write_secrets(to: Path, postgres: str, database: str, owner: int) -> int:
    """Fill the folders below `to`; gives how many secrets had to be made. Raises Problem."""
    try:
        for reader in READERS:
            (to / reader).mkdir(exist_ok=True)
        made = _fill(to, postgres, database)
        for reader in READERS:
            _hand_over(to / reader, owner, reader in OPEN_TO_ITS_CONTAINER)
    except OSError as error:
        raise Problem(f"{error.filename or to} cannot be written: {error.strerror}.") from error
    return made


def _fill(to: Path, postgres: str, database: str) -> int:
    before = sum(len(list((to / reader).iterdir())) for reader in READERS)

    def kept(*copies: str) -> str:
        """One secret, in all the places that need it; the first copy that is there counts."""
        found = next((path for name in copies if (path := to / name).exists()), None)
        value = found.read_text() if found is not None else secrets.token_hex(32)
        for name in copies:
            if not (to / name).exists() or (to / name).read_text() != value:
                write_private(to / name, value)
        return value

    def url(role: str, password: str) -> str:
        # with several hosts only the one that takes writes will do: the others are standbys
        more = "?target_session_attrs=read-write" if "," in postgres else ""
        return f"postgresql://{role}:{quote(password)}@{postgres}/{database}{more}"

    owner = kept("postgres/owner.password")
    kept("postgres/replication.password")
    kept("order-api/pepper", "ledger/pepper")
    write_private(to / "migrate" / "owner.url", url(database, owner))
    for role in ROLES:
        password = kept(f"migrate/{role}.password")
        service = role.replace("_", "-")
        write_private(to / service / "database.url", url(role, password))
    return sum(len(list((to / reader).iterdir())) for reader in READERS) - before


def _hand_over(folder: Path, owner: int, is_open: bool) -> None:
    """To the user of the services. Somebody else than root can own only what is his anyway."""
    for path in (*folder.iterdir(), folder):
        if os.geteuid() == 0:
            os.chown(path, owner, owner)
        mode = 0o444 if is_open else 0o400
        path.chmod((0o755 if is_open else 0o700) if path.is_dir() else mode)
