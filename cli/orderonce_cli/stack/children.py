"""One child process: how it is started, kept alive, and stopped; and what a dead parent left.

A child carries the data folder's path in its environment and its pid with its start time in the
state file, so that a later start can tell its own leftovers from everybody else's processes.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orderonce_cli.stack.layout import Layout

MARKER = "ORDERONCE_STACK"  # environment variable of every child: the data folder it belongs to
LAUNCH = Path(__file__).with_name("launch.py")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 4.0  # before a restart; doubled while it dies at once
STEADY_S = 10.0  # a child that ran this long starts again at the first pause
START_TIME_SLACK_S = 5.0  # psutil derives start times from a boot time that the clock may shift
LOOK_AGAIN_S = 0.02
KILL_LIMIT_S = 5.0  # for the kernel to take a killed process away
MAX_LOG_BYTES = 20 * 1024 * 1024  # then the log moves to NAME.log.1


@dataclass(frozen=True)
class Spec:
    """What to run. `argv[0]` is an absolute path; times in seconds."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    stop_limit_s: float = 12.0  # services promise 10 s
    user: tuple[int, int] | None = None  # uid, gid; None stays


@dataclass
class Keeper:
    """Keeps one child running until `stop`."""

    spec: Spec
    layout: Layout
    changed: Callable[[], None]
    process: asyncio.subprocess.Process | None = None
    started: float = 0.0
    deaths: int = 0
    stopping: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the child is restarted whenever it ends."""
        self._task = asyncio.create_task(self._keep(), name=self.spec.name)

    async def stop(self) -> None:
        """Ask the child to end, wait up to its limit, then kill it and its group."""
        self.stopping = True
        self._wake.set()
        if self._task is None:
            return
        self._signal(self.spec.stop_signal)
        done, _ = await asyncio.wait({self._task}, timeout=self.spec.stop_limit_s)
        if not done:
            say(f"{self.spec.name} did not stop in {self.spec.stop_limit_s:.0f} s: killed")
            self._signal(signal.SIGKILL)
            await asyncio.wait({self._task}, timeout=KILL_LIMIT_S)
        self.process = None

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self.stopping:
            began = time.monotonic()
            code = await self._run_once()
            self.deaths += 1
            if self.stopping:
                return
            pause_s = FIRST_PAUSE_S if time.monotonic() - began >= STEADY_S else pause_s
            say(f"{self.spec.name} ended ({_ending(code)}); again in {pause_s:.1f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _run_once(self) -> int:
        log = self.layout.log(self.spec.name)
        trim_log(log)
        with log.open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                *launched(self.spec), env=marked(self.spec.env, self.layout), cwd=self.spec.cwd,
                stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self.started = start_time(self.process.pid) or time.time()
        self.changed()
        if self.stopping:  # asked while it was being born
            self._signal(self.spec.stop_signal)
        return await self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)


def launched(spec: Spec) -> list[str]:
    """The command line of the launcher that becomes the child."""
    uid, gid = spec.user or (-1, -1)
    tied = [str(int(spec.stop_signal)), str(os.getpid()), str(uid), str(gid)]
    return [sys.executable, "-I", "-S", str(LAUNCH), *tied, *spec.argv]


def marked(env: Mapping[str, str], layout: Layout) -> dict[str, str]:
    """The child's environment with the mark by which leftovers are found."""
    return {**env, MARKER: str(layout.root)}


def start_time(pid: int) -> float | None:
    """When that process began (seconds since 1970), or None when there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def is_alive(pid: int, started: float) -> bool:
    """Whether that very process still runs: a number taken over by another does not count."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < START_TIME_SLACK_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def leftovers(layout: Layout, recorded: list[tuple[int, float]]) -> list[psutil.Process]:
    """Processes of this stack that still run: by pid and start time, by mark, by Postgres' file."""
    pids = {pid for pid, started in recorded if is_alive(pid, started)}
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == str(layout.root):
                pids.add(process.pid)
        except (psutil.Error, OSError):
            continue
    if (postmaster := _postmaster(layout)) is not None:
        pids.add(postmaster)
    pids.discard(os.getpid())
    return [found for pid in sorted(pids) if (found := _process(pid)) is not None]


def clear(layout: Layout, recorded: list[tuple[int, float]], limit_s: float = 15.0) -> int:
    """End every leftover, politely first: services and Kafka by SIGTERM, Postgres by SIGINT."""
    found = leftovers(layout, recorded)
    for process in found:
        with contextlib.suppress(psutil.Error):
            polite = signal.SIGINT if process.name() == "postgres" else signal.SIGTERM
            process.send_signal(polite)
    for process in wait_ended(found, limit_s):
        with contextlib.suppress(psutil.Error):
            process.kill()
    wait_ended(found, KILL_LIMIT_S)
    return len(found)


def wait_ended(processes: list[psutil.Process], limit_s: float) -> list[psutil.Process]:
    """Wait until they have ended; gives those that have not. A zombie has: nobody may reap it,
    since the first process of a container often does not."""
    deadline = time.monotonic() + limit_s
    while (alive := [p for p in processes if not has_ended(p)]) and time.monotonic() < deadline:
        time.sleep(LOOK_AGAIN_S)
    return alive


def has_ended(process: psutil.Process) -> bool:
    """Whether that process runs no more."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def trim_log(log: Path) -> None:
    """Move a log that grew past its limit to NAME.log.1; its writer appends and goes on."""
    try:
        if log.stat().st_size <= MAX_LOG_BYTES:
            return
        log.with_name(log.name + ".1").write_bytes(log.read_bytes())
        os.truncate(log, 0)
    except OSError:
        return  # a log is never worth stopping for


def say(line: str) -> None:
    """One line in the supervisor's own log; a full disk must not stop it from supervising."""
    with contextlib.suppress(OSError):
        print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), line, file=sys.stderr, flush=True)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _process(pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return None
    return None if has_ended(process) else process


def _postmaster(layout: Layout) -> int | None:
    """Postgres hides its environment; its own pid file names it, its command line proves it."""
    data = layout.postgres / "data"
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        return pid if str(data) in psutil.Process(pid).cmdline() else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
