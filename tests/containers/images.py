"""The images under test, built once for each state of the sources.

A tag names the content that it was built from: whoever finds it need not build, in this session, in
another one, or in two at once. Tags that nobody asked for in a day are removed.
"""

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import APIError
from docker.models.images import Image
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("order-api", "executor", "ledger", "paper-exchange", "tools")
SOURCES = (
    ".dockerignore", "pyproject.toml", "README.md", "LICENSE", "deploy/Dockerfile",
    "deploy/images.sh", "deploy/requirements.lock", "deploy/build.lock", "deploy/run.py",
    "deploy/healthcheck.py",
    "shared", "services", "client", "cli",
)  # fmt: skip
PREFIX = "test-"
BUILD_LIMIT_S = 900.0
KEPT_S = 24 * 3600.0
LOCK = Path(f"/tmp/orderonce-images-{os.getuid()}.lock")  # one per user and machine


def tags() -> dict[str, str]:
    """Target -> image, built if need be. Raises AssertionError with the builder's last words."""
    version = PREFIX + _state()
    made = {target: f"orderonce/{target}:{version}" for target in TARGETS}
    engine = docker.from_env()
    try:
        with FileLock(LOCK):
            if not all(engine.images.list(name=name) for name in made.values()):
                _build(version)
                _forget_old(engine, version)
    finally:
        engine.close()
    return made


def _build(version: str) -> None:
    built = subprocess.run(
        ["deploy/images.sh", version], cwd=ROOT, timeout=BUILD_LIMIT_S, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-4000:]


def _state() -> str:
    """What the images are made of, as twelve digits."""
    told = hashlib.sha256(os.environ.get("ORDERONCE_PYTHON_IMAGE", "").encode())
    for path in _files():
        told.update(f"{path.relative_to(ROOT)}\0{path.stat().st_mode:o}\0".encode())
        told.update(path.read_bytes())
    return told.hexdigest()[:12]


def _files() -> Iterator[Path]:
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            yield from sorted(f for f in path.rglob("*") if f.is_file() and f.suffix != ".pyc")
        else:
            yield path


def _forget_old(engine: docker.DockerClient, version: str) -> None:
    """One that a container still uses stays: the engine refuses."""
    for target in TARGETS:
        for image in engine.images.list(name=f"orderonce/{target}"):
            for tag in image.tags:
                made = tag.rpartition(":")[2]
                if not made.startswith(PREFIX) or made == version:
                    continue
                if time.time() - _made_at(image) > KEPT_S:
                    try:
                        engine.images.remove(tag)
                    except APIError:
                        continue


def _made_at(image: Image) -> float:
    told = str(image.attrs["Created"])[:19] + "Z"
    return time.mktime(time.strptime(told, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
