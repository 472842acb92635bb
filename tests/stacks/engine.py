"""The container engine of this machine: whether tests can use it, and how nothing stays behind.

Everything that the tests make in it carries a label with its owner, which is the process that made
it. Three things remove what an owner left: the end of its session, a watcher that outlives it
(`reaper.py`), and the next session, which removes what dead owners left.
"""

import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from orderonce_cli.stack.children import is_alive, start_time
from testcontainers.core.config import testcontainers_config

# Its reaper is an image more, and a container with rights over the whole engine: ours is a process.
testcontainers_config.ryuk_disabled = True

POSTGRES, KAFKA, PYTHON = "postgres:18", "apache/kafka:4.3.1", "python:3.11-slim-bookworm"
OWNER = "orderonce.tests.owner"
ROOT = Path(__file__).resolve().parents[2]
ENGINE_LIMIT_S = 60  # of one question to it: a busy machine creates containers slowly
SWEEP_LIMIT_S = 60.0
LOOK_AGAIN_S = 0.2


@cache
def client() -> docker.DockerClient:
    """The engine that the environment names (DOCKER_HOST), else the usual socket."""
    return docker.from_env(timeout=ENGINE_LIMIT_S)


@cache
def why_not() -> str:
    """Empty where containers can run; else a sentence about what is missing."""
    try:
        client().ping()
    except (DockerException, OSError):
        return "no Docker engine answers"
    for tag in (POSTGRES, KAFKA, PYTHON):
        try:
            client().images.get(tag)
        except ImageNotFound:
            try:
                client().images.pull(tag)
            except DockerException:
                return f"the image {tag} is not here and cannot be pulled"
    return ""


def owner(pid: int | None = None) -> str:
    """A process (this one), told apart from any that has its number on another day or machine."""
    pid = pid or os.getpid()
    started = start_time(pid)
    assert started is not None
    return f"{platform.node()}/{pid}/{started:.0f}"


def labels() -> dict[str, str]:
    """What everything of this session carries."""
    return {OWNER: owner()}


@contextlib.contextmanager
def session() -> Iterator[None]:
    """While it lasts this process may own containers; at its end, however it comes, it has none."""
    sweep_orphans()
    watcher = subprocess.Popen(
        [sys.executable, "-m", "tests.stacks.reaper", owner()],
        stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    assert watcher.stdin is not None
    try:
        yield
    finally:
        watcher.stdin.close()
        watcher.wait(SWEEP_LIMIT_S + ENGINE_LIMIT_S)
        assert watcher.returncode == 0, "the watcher could not clean up: see above"


def sweep(label: str) -> None:
    """Remove whatever this owner has: twice nothing, since the engine may still be making one."""
    deadline, empty = time.monotonic() + SWEEP_LIMIT_S, 0
    while empty < 2:
        removals = [remove for _, remove in _things(f"{OWNER}={label}")]
        empty = 0 if removals else empty + 1
        for remove in removals:
            # gone by another sweeper, on its way out, or in use by what goes in the next round
            with contextlib.suppress(APIError):
                remove()
        assert time.monotonic() < deadline, f"the engine keeps {len(removals)} things of {label}"
        time.sleep(LOOK_AGAIN_S)


def sweep_orphans() -> None:
    """Remove what owners left that live no more."""
    for label in {label for label, _ in _things(OWNER)}:
        if not _lives(label):
            sweep(label)


def left_by(label: str) -> int:
    """How many things of this owner the engine has."""
    return len(list(_things(f"{OWNER}={label}")))


def _things(label: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """(owner, how to remove it) of each; containers first, since the others are in their use."""
    api, filters = client().api, {"label": label}
    for one in api.containers(all=True, filters=filters):
        yield one["Labels"][OWNER], partial(api.remove_container, one["Id"], v=True, force=True)
    for one in api.networks(filters=filters):
        yield one["Labels"][OWNER], partial(api.remove_network, one["Id"])
    for one in api.volumes(filters=filters)["Volumes"] or ():
        yield one["Labels"][OWNER], partial(api.remove_volume, one["Name"], force=True)


def _lives(label: str) -> bool:
    """Whether that owner still runs; of another machine's processes nothing is known."""
    node, pid, started = label.rsplit("/", 2)
    return node != platform.node() or is_alive(int(pid), float(started))
