"""Where everything of one embedded stack lies, and whether a folder may be used for one.

A data folder is marked with the version of its layout. A folder that holds other things, or that
another version made, is refused and never touched: `--fresh` wipes only what carries the mark.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from orderonce_cli.problems import Exit, Problem

LAYOUT_VERSION = 1
MARK = "orderonce.json"
CHECKOUT = Path(__file__).resolve().parents[3]
OUTSIDE = Path("/var/lib/orderonce")  # Postgres of a stack that root runs: out of any 0700 home
MIN_FREE_MB = 512  # write-ahead log, Kafka's first segments and the jars, with room to spare
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Layout:
    """Paths of one stack; nothing here touches the disk but the methods that say so."""

    root: Path

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def state(self) -> Path:
        return self.root / "stack.json"

    @property
    def ports(self) -> Path:
        return self.root / "ports.json"

    @property
    def up_lock(self) -> Path:
        return self.root / "up.lock"

    @property
    def supervisor_lock(self) -> Path:
        return self.root / "supervisor.lock"

    @property
    def kafka(self) -> Path:
        return self.root / "kafka"

    @property
    def paper(self) -> Path:
        return self.root / "paper"

    @property
    def postgres(self) -> Path:
        """The folder of Postgres; outside when root runs the stack (see postgres.py)."""
        if os.geteuid() != 0:
            return self.root / "postgres"
        name = hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        return OUTSIDE / name

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def secret(self, name: str) -> Path:
        return self.secrets / name


def data_folder(given: Path | None) -> Layout:
    """The layout of `--data`, ORDERONCE_DATA, or `.data` in the checkout (else the user's own)."""
    chosen = given or (Path(found) if (found := os.environ.get("ORDERONCE_DATA")) else None)
    if chosen is None:
        import platformdirs  # only where the embedded stack is installed: no image needs it

        in_checkout = (CHECKOUT / "pyproject.toml").exists()
        chosen = CHECKOUT / ".data" if in_checkout else platformdirs.user_data_path("orderonce")
    return Layout(chosen.expanduser().resolve())


def cache_folder(layout: Layout) -> Path:
    """The user's cache, shared by all checkouts; the data folder where there is no usable home."""
    import platformdirs

    named = os.environ.get("ORDERONCE_CACHE")
    folder = Path(named).resolve() if named else platformdirs.user_cache_path("orderonce")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    folder = layout.root / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prepare(layout: Layout) -> None:
    """Make the data folder, or make sure that it is one of ours and of this version."""
    try:
        layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        check_space(layout.root)
        _check_mark(layout)
        for folder in (layout.logs, layout.secrets, layout.kafka, layout.paper):
            folder.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise disk_problem(error, layout.root) from error


def wipe(layout: Layout) -> None:
    """Remove everything that a stopped stack keeps; refuses a folder without our mark."""
    if _things(layout):
        _check_mark(layout, any_version=True)
    shutil.rmtree(layout.postgres, ignore_errors=True)
    for entry in _things(layout):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def check_space(folder: Path, least_mb: int = MIN_FREE_MB) -> None:
    """Refuse to start on a disk that would be full a moment later."""
    free_mb = shutil.disk_usage(folder).free // MEGABYTE
    if free_mb < least_mb:
        raise Problem(
            f"The disk of {folder} has {free_mb} MB free and the stack needs at least "
            f"{least_mb} MB. Free some space, or choose another folder with --data."
        )


def disk_problem(error: OSError, folder: Path) -> Problem:
    """The sentence for what a disk can refuse."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(f"The disk of {folder} is full. Free some space and start again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Problem(
            f"{error.filename or folder} cannot be read or written by this user. "
            "Give the folder to this user, or choose another one with --data."
        )
    return Problem(f"{folder} cannot be used: {error.strerror or error}.")


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole, readable by its owner only."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def kept_secret(layout: Layout, name: str) -> str:
    """A generated secret of this stack, made on first use and kept in a 0600 file."""
    path = layout.secret(name)
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    return path.read_text()


def _things(layout: Layout) -> list[Path]:
    """What lies in the folder, apart from lock files: those are never removed while in use."""
    locks = (layout.up_lock, layout.supervisor_lock)
    return [entry for entry in layout.root.iterdir() if entry not in locks]


def _check_mark(layout: Layout, any_version: bool = False) -> None:
    """Read the mark of a data folder, or set it on an empty one."""
    mark = layout.root / MARK
    place = str(layout.postgres) if os.geteuid() == 0 else "inside"
    if not mark.exists():
        if _things(layout):
            raise Problem(
                f"{layout.root} holds other things and is no data folder of orderonce. "
                "Choose an empty folder with --data.",
                Exit.USAGE,
            )
        write_private(mark, json.dumps({"version": LAYOUT_VERSION, "postgres": place}))
        return
    try:
        told = json.loads(mark.read_text())
        version, told_place = told["version"], told["postgres"]
    except (ValueError, KeyError, TypeError):
        version, told_place = "unreadable", place
    if any_version:
        return
    if version != LAYOUT_VERSION:
        raise Problem(
            f"The data folder {layout.root} was made by another version of orderonce (layout "
            f"{version}; this one reads {LAYOUT_VERSION}). Start with --fresh to wipe it, "
            "or choose another folder with --data."
        )
    if told_place != place:
        raise Problem(
            f"The data folder {layout.root} was moved, copied, or made by another user: its "
            f"Postgres lies in {told_place}. Move it back, or start with --fresh to wipe it."
        )
