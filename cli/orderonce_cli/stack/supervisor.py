"""Starts every process of a stack, keeps each running, and stops them in order.

Runs detached in a session of its own (`up`) or in the foreground. Holds a lock on the data folder
for its whole life, so that there is one per folder and a killed one is seen at once. What it knows
stands in the state file before anybody needs it.

Order of start: Postgres, Kafka and the paper exchange together; then schemas and topics; then the
services; then keys and accounts. Order of stop: services, paper exchange, Kafka, Postgres.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx
from filelock import FileLock, Timeout

from orderonce_cli.problems import Problem
from orderonce_cli.stack import children, kafka, ports, postgres, seed, services, state
from orderonce_cli.stack.children import Keeper, Spec, say
from orderonce_cli.stack.layout import Layout, disk_problem
from orderonce_cli.stack.services import Plan
from orderonce_cli.stack.state import Phase, Shape, State

READY_LIMIT_S = 90.0  # of each child, on a slow and busy machine
LOOK_AGAIN_S = 0.05
QUESTION_LIMIT_S = 2.0  # one look at a readyz
ONE_SHOT_LIMIT_S = 120.0  # migrations, topics, first key
MAX_EARLY_DEATHS = 4  # a child that dies this often before it was ready once will not come up
LOG_LOOK_S = 5.0
LOCK_LIMIT_S = 5.0  # `up` and `status` hold the lock for a moment to see whether it is free


class Supervisor:
    """One life of a stack, from leftovers to `stopped`."""

    def __init__(
        self, plan: Plan, report: Callable[[str], None], ready: Callable[[], object]
    ) -> None:
        self.plan = plan
        self.layout = plan.layout
        self.report = report  # one line per step done
        self.ready = ready  # called once, when everything is up
        self.keepers: dict[str, Keeper] = {}
        self.state = State(state="starting", shape=plan.shape)
        self.stopping = asyncio.Event()
        self.said: dict[str, str] = {}  # why a service was last not ready, in its own words

    async def run(self) -> State:
        """Start, watch until told to stop, stop. Gives the last state."""
        pid = os.getpid()
        before = state.read(self.layout).recorded()
        self.state.supervisor = (pid, children.start_time(pid) or time.time())
        self.state.children = {}
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        trimming = asyncio.create_task(self._trim_logs())
        phase: Phase = "stopped"
        try:
            if not await self._unless_stopped(self._start(before)):
                self._phase("ready")
                self.ready()
                await self.stopping.wait()
        except (Problem, OSError) as error:
            phase = "failed"
            told = error if isinstance(error, Problem) else disk_problem(error, self.layout.root)
            self.state.error = told.sentence
            say(f"failed: {told.sentence}")
        trimming.cancel()
        await self._stop()
        self._phase(phase)
        return self.state

    async def _unless_stopped(self, work: Awaitable[None]) -> bool:
        """Do the work; True when a stop was asked for before it was done."""
        task, stop = asyncio.ensure_future(work), asyncio.create_task(self.stopping.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            task.result()
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return True

    async def _start(self, before: list[tuple[int, float]]) -> None:
        plan = self.plan
        cleared = await asyncio.to_thread(children.clear, self.layout, before)
        if cleared:
            self._done(f"stopped {cleared} processes that an earlier run left")
        self._record()
        wanted = ports.names(plan.shape.apis, plan.shape.executors)
        await asyncio.to_thread(ports.check_free, plan.ports, wanted)
        await asyncio.to_thread(services.write_secrets, plan)
        first = [self._start_postgres(), self._start_kafka()]
        if plan.shape.infrastructure:
            await _all(first)
            self.state.view = services.view(plan, None)
            return
        await _all([*first, self._start_paper()])
        await _all([
            self._once(services.migrations(plan), "schemas and roles are up to date"),
            self._once(services.topics(plan), "topics are there"),
        ])  # fmt: skip
        services.write_credentials(plan)
        for spec in services.services(plan):
            self._keep(spec)
        await _all([self._first_key(), *self._services_ready()])
        place = services.place(plan)
        await asyncio.to_thread(seed.admit_accounts, place)
        await asyncio.to_thread(seed.make_demo_key, place)
        self._done("accounts and keys are there")
        await asyncio.to_thread(seed.wait_for_instruments, place, self.stopping.is_set)
        self._done("the order API lists instruments")
        await asyncio.to_thread(seed.wait_for_books, place, self.stopping.is_set)
        self.state.view = services.view(plan, seed.read_key(place.keys, "demo"))
        self._done("the ledger's books are open")

    async def _start_postgres(self) -> None:
        began, plan = time.monotonic(), self.plan
        await asyncio.to_thread(postgres.prepare, self.layout)
        port = plan.ports["postgres"]
        self._keep(postgres.spec(self.layout, port, {"PATH": os.defpath, "LC_ALL": "C"}))

        async def ready() -> bool:
            return await asyncio.to_thread(postgres.is_ready, self.layout, port)

        await self._until("postgres", ready)
        self._done("Postgres answers", began)

    async def _start_kafka(self) -> None:
        began, plan = time.monotonic(), self.plan
        class_path = await asyncio.to_thread(kafka.prepare, self.layout, plan.ports, self._done)
        self._keep(kafka.spec(self.layout, class_path, plan.base_env))
        await self._until("kafka", lambda: kafka.is_ready(plan.ports["kafka"]))
        self._done("Kafka answers", began)

    async def _start_paper(self) -> None:
        began = time.monotonic()
        self._keep(services.paper(self.plan))
        await self._until("paper", lambda: _answers(f"{self.plan.address('paper')}/api/v3/ping"))
        self._done("the paper exchange answers", began)

    def _services_ready(self) -> list[Awaitable[None]]:
        async def wait(name: str, url: str) -> None:
            began = time.monotonic()
            await self._until(name, lambda: _answers(url, self.said, name))
            self._done(f"{name} is ready", began)

        return [wait(name, url) for name, url in services.ready_urls(self.plan).items()]

    async def _first_key(self) -> None:
        if seed.read_key(self.layout.root, "admin") is None:
            said = await self._once(services.create_admin_key(self.plan), "admin key made")
            seed.keep_key(self.layout.root, "admin", json.loads(said.splitlines()[-1]))

    async def _once(self, spec: Spec, done: str) -> str:
        """Run a program to its end; gives what it printed. Its log tells why it failed."""
        began, log = time.monotonic(), self.layout.log(spec.name)
        children.trim_log(log)
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *children.launched(spec), env=children.marked(spec.env, self.layout),
                cwd=spec.cwd, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=out, start_new_session=True,
            )  # fmt: skip
            try:
                async with asyncio.timeout(ONE_SHOT_LIMIT_S):
                    said, _ = await process.communicate()
            except TimeoutError as error:
                raise Problem(f"{spec.name} did not end in {ONE_SHOT_LIMIT_S:.0f} s.") from error
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode != 0:
            raise Problem(f"{spec.name} failed: {_last_line(log)} (all of it in {log})")
        self._done(done, began)
        return said.decode()

    async def _until(self, name: str, ready: Callable[[], Awaitable[bool]]) -> None:
        """Wait until a child is ready, or it is clear that it will not be."""
        keeper, log = self.keepers[name], self.layout.log(name)
        deadline = time.monotonic() + READY_LIMIT_S
        while not await ready():
            if keeper.deaths >= MAX_EARLY_DEATHS:
                raise Problem(f"{name} does not start: {_last_line(log)} (all of it in {log})")
            if time.monotonic() > deadline:
                said = self.said.get(name, "it did not answer")
                raise Problem(f"{name} was not ready in {READY_LIMIT_S:.0f} s: {said}; see {log}")
            await asyncio.sleep(LOOK_AGAIN_S)

    def _keep(self, spec: Spec) -> None:
        keeper = self.keepers[spec.name] = Keeper(spec, self.layout, self._record)
        keeper.start()

    async def _stop(self) -> None:
        self._phase("stopping")
        last = ("paper", "kafka", "postgres")
        await asyncio.gather(*(k.stop() for n, k in self.keepers.items() if n not in last))
        for name in last:
            if name in self.keepers:
                await self.keepers[name].stop()
        self.keepers = {}

    async def _trim_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_LOOK_S)
            for log in self.layout.logs.glob("*.log"):
                children.trim_log(log)

    def _phase(self, phase: Phase) -> None:
        self.state.state = phase
        say(phase)
        self._record()

    def _done(self, step: str, began: float | None = None) -> None:
        line = step if began is None else f"{step} ({time.monotonic() - began:.1f} s)"
        self.state.steps.append(line)
        say(line)
        self._record()
        self.report(line)

    def _record(self) -> None:
        """Write the state; a full disk must not stop what runs."""
        self.state.children = {
            name: (keeper.process.pid, keeper.started)
            for name, keeper in self.keepers.items()
            if keeper.process is not None
        }
        try:
            state.write(self.layout, self.state)
        except OSError as error:
            say(f"the state file cannot be written: {error.strerror}")


def supervise(plan: Plan, report: Callable[[str], None], ready: Callable[[], object]) -> State:
    """Hold the folder's lock and run a stack to its end."""
    os.umask(0o077)
    lock = FileLock(plan.layout.supervisor_lock)
    try:
        lock.acquire(timeout=LOCK_LIMIT_S)
    except Timeout:
        raise Problem(f"A stack runs on {plan.layout.root} already.") from None
    with lock:
        return asyncio.run(_run(plan, report, ready))


async def _run(plan: Plan, report: Callable[[str], None], ready: Callable[[], object]) -> State:
    return await Supervisor(plan, report, ready).run()


async def _all(work: Sequence[Awaitable[object]]) -> None:
    """All at once; the first failure ends the others and is raised as it is."""
    tasks = [asyncio.ensure_future(part) for part in work]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _answers(url: str, said: dict[str, str] | None = None, name: str = "") -> bool:
    """Whether a GET gives 200 now; keeps what else it gave, for the sentence after the limit."""
    try:
        async with httpx.AsyncClient(timeout=QUESTION_LIMIT_S, trust_env=False) as client:
            answer = await client.get(url)
    except httpx.TransportError:
        return False
    if said is not None:
        said[name] = answer.text.strip()[:300]
    return answer.status_code == 200


def _last_line(log: Path) -> str:
    """The last thing that a program said."""
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        if lines:
            return lines[-1][:300]
    return "it said nothing"


def main() -> None:
    """The detached supervisor; `up` starts it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--apis", type=int, default=1)
    parser.add_argument("--executors", type=int, default=1)
    parser.add_argument("--infrastructure", action="store_true")
    parser.add_argument("--no-paper-limits", action="store_true")
    given = parser.parse_args()
    layout = Layout(given.data)
    shape = Shape(given.apis, given.executors, given.infrastructure, not given.no_paper_limits)
    plan = Plan(layout, shape, ports.kept(layout), services.environment())
    ended = supervise(plan, report=lambda _: None, ready=lambda: None)
    sys.exit(0 if ended.state == "stopped" else 1)


if __name__ == "__main__":
    main()
