"""Ports of a stack: chosen once, kept in the data folder, never shared with another stack.

They lie below the range from which the kernel takes ports for outgoing connections, since a
service that is started again must find its port free. A register in the user's cache, guarded by
a lock, keeps two checkouts that start at the same moment apart.
"""

import hashlib
import json
import socket
from pathlib import Path

import psutil
from filelock import FileLock

from orderonce_cli.problems import Problem
from orderonce_cli.stack.layout import Layout, cache_folder, disk_problem, write_private

FIRST, LAST, BLOCK = 20_000, 32_000, 40  # below 32768, where Linux begins its ephemeral range
MAX_COPIES = 8  # of one service; each has a fixed place in the block

SINGLE = (
    "postgres",
    "kafka",
    "kafka-controller",
    "paper",
    "paper-control",
    "ledger",
    "ledger-admin",
)
COPIED = {"order-api": 10, "order-api-admin": 20, "executor-admin": 30}


def names(apis: int, executors: int) -> list[str]:
    """The ports that a stack of this shape listens on."""
    copies = {"order-api": apis, "order-api-admin": apis, "executor-admin": executors}
    return [*SINGLE, *(f"{name}-{i}" for name, n in copies.items() for i in range(1, n + 1))]


def kept(layout: Layout) -> dict[str, int]:
    """Every port of this stack, chosen now if it has none yet."""
    base = _read(layout)
    if base is None:
        base = _choose(layout)
        write_private(layout.ports, json.dumps({"base": base}))
    ports = {name: base + offset for offset, name in enumerate(SINGLE)}
    for name, offset in COPIED.items():
        for copy in range(1, MAX_COPIES + 1):
            ports[f"{name}-{copy}"] = base + offset + copy - 1
    return ports


def _read(layout: Layout) -> int | None:
    """The first port of the kept block, or None when none was chosen yet."""
    try:
        base = int(json.loads(layout.ports.read_text())["base"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk_problem(error, layout.root) from error
    except (ValueError, KeyError, TypeError):
        raise Problem(f"{layout.ports} cannot be read; start with --new-ports.") from None
    return base


def check_free(ports: dict[str, int], wanted: list[str]) -> None:
    """Refuse to start when another program listens on a port of ours, naming it."""
    for name in wanted:
        if not _is_free(ports[name]):
            raise Problem(
                f"Port {ports[name]}, which this stack keeps for {name}, is in use"
                f"{_user_of(ports[name])}. Stop that program, or start with --new-ports."
            )


def forget(layout: Layout) -> None:
    """Let the next start choose other ports."""
    try:
        layout.ports.unlink(missing_ok=True)
    except OSError as error:
        raise disk_problem(error, layout.root) from error


def _choose(layout: Layout) -> int:
    """A block of free ports that no other data folder of this user holds."""
    cache = cache_folder(layout)
    register = cache / "ports.json"
    with FileLock(cache / "ports.lock", timeout=30):
        try:
            told = json.loads(register.read_text())
        except (OSError, ValueError):
            told = {}
        held = {path: int(base) for path, base in told.items() if Path(path).is_dir()}
        for base in _order(str(layout.root)):
            if base in held.values():
                continue
            if all(_is_free(port) for port in range(base, base + BLOCK)):
                write_private(register, json.dumps({**held, str(layout.root): base}))
                return base
    raise Problem(f"No {BLOCK} free ports in a row between {FIRST} and {LAST} on this machine.")


def _order(path: str) -> list[int]:
    """Blocks to try, beginning where the path's hash says: other users have other registers."""
    blocks = list(range(FIRST, LAST, BLOCK))
    first = int(hashlib.sha256(path.encode()).hexdigest(), 16) % len(blocks)
    return blocks[first:] + blocks[:first]


def _is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _user_of(port: int) -> str:
    """Who listens there, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                name = psutil.Process(connection.pid).name()
                return f" by {name} (process {connection.pid})"
    except psutil.Error:
        pass
    return " by another program"
