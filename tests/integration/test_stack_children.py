"""One child process: restarted at once, stopped for sure, and never outliving its parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from orderonce_cli.stack import children, layout
from orderonce_cli.stack.children import Keeper, Spec
from orderonce_cli.stack.layout import Layout

LIMIT_S = 10.0
ENV = {"PATH": os.defpath}
SLEEP = (sys.executable, "-S", "-c", "import time; print('born', flush=True); time.sleep(600)")
DIES = (sys.executable, "-S", "-c", "print('born')")
DEAF = (
    sys.executable, "-S", "-c",
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)']);"
    "print('born', flush=True); time.sleep(600)",
)  # fmt: skip


@pytest.fixture
def where(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "data")
    layout.prepare(made)
    return made


@pytest.fixture
async def keep(where: Layout) -> AsyncIterator[Callable[..., Keeper]]:
    kept: list[Keeper] = []

    def start(argv: tuple[str, ...], stop_limit_s: float = 5.0) -> Keeper:
        spec = Spec("child", argv, ENV, where.root, stop_limit_s=stop_limit_s)
        keeper = Keeper(spec, where, lambda: None)
        kept.append(keeper)
        keeper.start()
        return keeper

    yield start
    for keeper in kept:
        await keeper.stop()


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def births(where: Layout) -> int:
    log = where.log("child")
    return log.read_text().count("born") if log.exists() else 0


async def test_a_dead_child_runs_again_within_a_second(
    keep: Callable[..., Keeper], where: Layout
) -> None:
    keeper = keep(SLEEP)
    await until(lambda: births(where) == 1)
    assert keeper.process is not None
    first = keeper.process.pid
    os.kill(first, signal.SIGKILL)
    began = time.monotonic()
    await until(lambda: births(where) == 2)
    assert time.monotonic() - began < 1.0
    assert keeper.process.pid != first


async def test_a_child_that_dies_at_once_is_started_ever_more_slowly(
    keep: Callable[..., Keeper], where: Layout
) -> None:
    keep(DIES)
    await asyncio.sleep(2.0)
    # pauses of 0.1, 0.2, 0.4, 0.8 s: a tight loop would have had a hundred lives
    assert 2 <= births(where) <= 6


async def test_a_deaf_child_is_killed_with_everything_it_started(
    keep: Callable[..., Keeper], where: Layout
) -> None:
    keeper = keep(DEAF, stop_limit_s=0.3)
    await until(lambda: births(where) == 1)
    assert keeper.process is not None
    family = [psutil.Process(keeper.process.pid)]
    family += family[0].children()
    assert len(family) == 2
    await keeper.stop()
    _, alive = psutil.wait_procs(family, timeout=LIMIT_S)
    assert not alive


async def test_stopping_a_child_that_waits_for_its_next_start_ends_at_once(
    keep: Callable[..., Keeper], where: Layout
) -> None:
    keeper = keep(DIES)
    await until(lambda: keeper.deaths >= 3)
    began = time.monotonic()
    await keeper.stop()
    assert time.monotonic() - began < 1.0
    before = births(where)
    await asyncio.sleep(1.0)
    assert births(where) == before


PARENT = """
import asyncio, sys
from pathlib import Path
from orderonce_cli.stack.children import Keeper, Spec
from orderonce_cli.stack.layout import Layout
async def main():
    where = Layout(Path(sys.argv[1]))
    keeper = Keeper(Spec("child", tuple(sys.argv[2:]), {}, where.root), where, lambda: None)
    keeper.start()
    while keeper.process is None:
        await asyncio.sleep(0.01)
    print(keeper.process.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def killed_parent(where: Layout, argv: tuple[str, ...]) -> psutil.Process:
    """The child of a parent that was killed by SIGKILL after the child was born."""
    command = [sys.executable, "-c", PARENT, str(where.root), *argv]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        deadline = time.monotonic() + LIMIT_S
        while births(where) == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        parent.kill()
    return child


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_a_killed_parent_takes_its_child_with_it(where: Layout) -> None:
    child = killed_parent(where, SLEEP)
    child.wait(LIMIT_S)


def test_what_outlives_its_parent_is_found_by_its_mark_and_ended(where: Layout) -> None:
    child = killed_parent(where, DEAF)  # deaf to the death signal as well
    assert child.is_running()
    assert child.pid in {process.pid for process in children.leftovers(where, [])}
    assert children.clear(where, [], limit_s=0.3) >= 1
    child.wait(LIMIT_S)
    assert children.leftovers(where, []) == []


def test_another_stack_s_processes_are_not_touched(where: Layout, tmp_path: Path) -> None:
    other = Layout(tmp_path / "other")
    env = children.marked(ENV, other)
    with subprocess.Popen(SLEEP, env=env, stdout=subprocess.DEVNULL) as stranger:
        try:
            assert children.leftovers(where, [(stranger.pid, 1.0)]) == []
            assert children.clear(where, [(stranger.pid, 1.0)]) == 0
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_log_that_grew_too_large_moves_aside(
    where: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "MAX_LOG_BYTES", 10)
    log = where.log("child")
    with log.open("ab") as writer:
        writer.write(b"x" * 11)
        writer.flush()
        children.trim_log(log)
        writer.write(b"after")
        writer.flush()
    assert log.read_bytes() == b"after"
    assert log.with_name("child.log.1").read_bytes() == b"x" * 11
