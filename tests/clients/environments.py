"""A virtual environment per foreign client, made on first use from its lock, in the user's cache.

A client pins what it likes, so none of them shares ours. The folder is named by the lock, so a new
lock is a new environment. It counts as made when its last file, `complete`, is there: whatever a
killed process left behind is made anew, under a lock that the next process waits for.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock
from orderonce_cli.stack.layout import Layout, cache_folder
from uv import find_uv_bin

CLIENTS = Path(__file__).parent
NAMES = ("binance_sdk_spot", "ccxt", "freqtrade", "nautilus", "python_binance")
DOWNLOAD_LIMIT_S = 600.0  # of one environment; freqtrade's unpacks to half a gigabyte
COMPILE = ("--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-header")


class NoEnvironment(Exception):
    """It could not be made; the text is one sentence for whoever runs the tests."""


def python_of(client: str, cache: Path | None = None) -> Path:
    """The interpreter of a client's environment, made first if this user has none."""
    folder = (cache or shared_cache()) / f"client-{client}-{_name(client)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock"), timeout=DOWNLOAD_LIMIT_S):
        if not _is_whole(folder):
            _make(client, folder)
    return _python(folder)


def shared_cache() -> Path:
    return cache_folder(Layout(Path(tempfile.gettempdir()) / "orderonce"))


def write_lock(client: str) -> None:
    """Choose versions anew, for every platform, within what the client's requirements allow."""
    asked = CLIENTS / client
    for source in sorted(asked.glob("*.in")):
        if source.stem == "overrides":
            continue
        command = ["pip", "compile", *COMPILE, "--upgrade", "--no-annotate", "--system-certs"]
        command += [source.name, "--output-file", f"{source.stem}.lock"]
        if (asked / "overrides.in").exists():
            command += ["--override", "overrides.in"]
        subprocess.run([find_uv_bin(), *command], cwd=asked, check=True)


def _base() -> str:
    """The interpreter of new environments: this one's, unless another is named."""
    return os.environ.get("ORDERONCE_CLIENTS_PYTHON") or sys.executable


def _name(client: str) -> str:
    """What the environment depends on: the lock, and the interpreter that it stands on."""
    lock = (CLIENTS / client / "requirements.lock").read_bytes()
    tell = "import sys; print(sys.base_prefix, sys.version)"
    base = subprocess.run([_base(), "-c", tell], capture_output=True, check=True).stdout
    return hashlib.sha256(lock + base).hexdigest()[:16]


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _is_whole(folder: Path) -> bool:
    # exists() follows the link: an interpreter that was removed meanwhile is no interpreter.
    return (folder / "complete").exists() and _python(folder).exists()


def _make(client: str, folder: Path) -> None:
    locks = CLIENTS / client
    _uv(client, "venv", "--clear", "--python", _base(), str(folder))
    # Wheels only: building runs foreign code with whatever tools are newest. build.lock pins those
    # of a package that has no wheel.
    install = ["pip", "sync", "--require-hashes", "--python", str(_python(folder))]
    if (build := locks / "build.lock").exists():
        install += ["--build-constraints", str(build)]
    else:
        install += ["--only-binary", ":all:"]
    _uv(client, *install, str(locks / "requirements.lock"))
    (folder / "complete").touch()


def _where_from() -> dict[str, str]:
    """uv does not read pip's settings, and a machine may have told only pip of its mirror."""
    told = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(told, capture_output=True, text=True, check=False).stdout
    found = re.search(r"\.index" r"-url='([^']+)'", listed)
    return {"UV_DEFAULT_INDEX": found[1]} if found else {}


def _uv(client: str, *command: str) -> None:
    """Run uv; it verifies the hashes of whatever it gets."""
    done = subprocess.run(
        [find_uv_bin(), *command, "--quiet", "--no-progress", "--system-certs"],
        env={"UV_HTTP_TIMEOUT": "60", **_where_from(), **os.environ},
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_LIMIT_S,
        check=False,
    )
    if done.returncode:
        why = " ".join(done.stderr.replace("╰─▶", "").replace("×", "").split())[:400]
        raise NoEnvironment(
            f"The environment of {client} could not be made, and its first use needs the package "
            f"registry: {why}"
        )
