"""Bringing a stack up and down from outside: what `orderonce up`, `down` and `demo` call.

`up` either finds a running stack of the same shape, or starts a supervisor in its own session and
waits for it. A supervisor that was killed is noticed by its lock, and what it left is cleared.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import psutil
from filelock import FileLock, Timeout

from orderonce_cli.problems import Exit, Problem
from orderonce_cli.stack import children, layout, ports, services, state, supervisor
from orderonce_cli.stack.layout import Layout
from orderonce_cli.stack.services import Plan
from orderonce_cli.stack.state import Shape, State

UP_LIMIT_S = 1200.0  # a first start over a slow line fetches Kafka
DOWN_LIMIT_S = 90.0  # the sum of every child's own limit, and some
LOOK_AGAIN_S = 0.05
OLDEST_PYTHON = (3, 11)

Report = Callable[[str], None]


def up(where: Layout, shape: Shape, report: Report) -> State:
    """Return when the whole stack is ready; raises Problem when it cannot be."""
    with _only_one(where):
        running = _running(where)
        if running is not None:
            _check_shape(running, shape, where)
            with _interrupts() as interrupted:
                ready = _wait(where, running.supervisor, report, interrupted)
            if ready is None:
                raise KeyboardInterrupt  # it was there before: it goes on starting
            return ready
        layout.prepare(where)
        ports.kept(where)
        with _interrupts() as interrupted, where.log("supervisor").open("ab") as log:
            process = subprocess.Popen(
                _command(where, shape), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, cwd=where.root,
                env=children.marked({**os.environ, **services.environment()}, where),
            )  # fmt: skip
            started = children.start_time(process.pid) or time.time()
            ready = _wait(where, (process.pid, started), report, interrupted)
            if ready is not None:
                return ready
            report("stopping what was started")
            _stop((process.pid, started))
            raise KeyboardInterrupt


def foreground(where: Layout, shape: Shape, report: Report, ready: Callable[[], object]) -> State:
    """Run the stack in this process until Ctrl-C; `ready` is called once it is up."""
    with _only_one(where):
        if _running(where) is not None:
            raise Problem(f"A stack runs on {where.root} already. Stop it: orderonce down.")
        layout.prepare(where)
        plan = Plan(where, shape, ports.kept(where), services.environment())
    return supervisor.supervise(plan, report, ready)


def down(where: Layout) -> bool:
    """Stop everything; False when nothing ran. Nothing is lost and nothing is left."""
    last = state.read(where)
    if not where.root.exists():
        return False
    running = _running(where)
    if running is not None and running.supervisor is not None:
        _stop(running.supervisor)
    left = children.clear(where, last.recorded())
    if running is None and left:  # its supervisor had been killed
        last.state, last.children = "stopped", {}
        state.write(where, last)
    return running is not None or left > 0


def wipe(where: Layout) -> None:
    """Stop what runs and remove all data, for `--fresh`."""
    down(where)
    if where.root.exists():
        layout.wipe(where)


def require_ready(where: Layout) -> State:
    """The state of a running stack, or the sentence that says how to start one."""
    found = state.read(where)
    if found.state != "ready" or not found.supervised:
        raise Problem("The stack is not running. Start it: orderonce up.", Exit.UNAVAILABLE)
    return found


def runs(where: Layout) -> bool:
    """Whether somebody's stack runs, starts or stops here: it is not ours to stop."""
    found = state.read(where)
    return found.state in ("starting", "ready", "stopping") and found.supervised


def check_python() -> None:
    """Refuse a Python that is too old with a sentence, not with a syntax error."""
    if sys.version_info < OLDEST_PYTHON:
        raise Problem("orderonce needs Python 3.11 or later.")


def _command(where: Layout, shape: Shape) -> list[str]:
    flags = ["--apis", str(shape.apis), "--executors", str(shape.executors)]
    if shape.infrastructure:
        flags.append("--infrastructure")
    if not shape.paper_limits:
        flags.append("--no-paper-limits")
    module = ["-m", "orderonce_cli.stack.supervisor"]
    return [sys.executable, *module, "--data", str(where.root), *flags]


@contextmanager
def _only_one(where: Layout) -> Iterator[None]:
    """One `up` per data folder at a time."""
    try:
        where.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(where.up_lock)
        lock.acquire(timeout=0)
    except Timeout:
        raise Problem(
            f"Another `orderonce up` is starting a stack on {where.root}. Wait until it has "
            "ended, or choose another folder with --data."
        ) from None
    except OSError as error:
        raise layout.disk_problem(error, where.root) from error
    with lock:
        yield


def _running(where: Layout) -> State | None:
    """The state of a stack whose supervisor lives; its lock is the proof."""
    lock = FileLock(where.supervisor_lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pass
    else:
        lock.release()
        return None
    deadline = time.monotonic() + supervisor.LOCK_LIMIT_S
    while time.monotonic() < deadline:  # it has the lock and is about to write its state
        found = state.read(where)
        if found.supervised:
            return found
        time.sleep(LOOK_AGAIN_S)
    raise Problem(f"A stack starts or stops on {where.root} at this moment. Try again.")


def _check_shape(running: State, shape: Shape, where: Layout) -> None:
    """Refuse to join a stack that is on its way down, or that is not what was asked for."""
    if running.state == "stopping":
        raise Problem(f"The stack on {where.root} is stopping. Try again in a moment.")
    if running.shape != shape:
        told = ", ".join(f"{name} {value}" for name, value in asdict(running.shape).items())
        raise Problem(
            f"A stack of another shape runs on {where.root} ({told}). Stop it first: "
            "orderonce down; or choose another folder with --data.",
        )


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Ctrl-C as an event. As an exception it may come up in a finalizer, where Python drops it, or
    between a process' start and the line that remembers it.
    """
    interrupted = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _wait(
    where: Layout,
    process: tuple[int, float] | None,
    report: Report,
    interrupted: threading.Event,
) -> State | None:
    """Report each step until the supervisor says ready or failed, or is gone. None after Ctrl-C."""
    assert process is not None
    deadline, told = time.monotonic() + UP_LIMIT_S, 0
    while time.monotonic() < deadline:
        if interrupted.is_set():
            return None
        alive = children.is_alive(*process)
        found = state.read(where)
        mine = found.supervisor is not None and found.supervisor[0] == process[0]
        if mine:
            for step in found.steps[told:]:
                report(step)
            told = max(told, len(found.steps))
            if found.state == "ready":
                return found
            if found.error and not alive:
                raise Problem(found.error)
        if not alive:
            raise Problem(f"The stack ended before it was ready; see {where.log('supervisor')}")
        time.sleep(LOOK_AGAIN_S)
    raise Problem(f"The stack was not ready in {UP_LIMIT_S:.0f} s; see {where.logs}")


def _stop(process: tuple[int, float]) -> None:
    """Ask a supervisor to end, wait, and kill it if it does not."""
    pid, started = process
    if not children.is_alive(pid, started):
        return
    supervising = psutil.Process(pid)
    supervising.terminate()
    if children.wait_ended([supervising], DOWN_LIMIT_S):
        supervising.kill()
        children.wait_ended([supervising], children.KILL_LIMIT_S)
