"""One run from the first connection to the last account: connect, follow, pace, drain, tidy up.

Ctrl-C (`stopping`) ends the sending; everything after it happens all the same, so that a run that
was cut short still leaves nothing open and says what it has seen.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from secrets import token_hex

from orderonce_cli.load import arrivals, records
from orderonce_cli.load.doors import Door, HttpDoor, KafkaDoor, Patience
from orderonce_cli.load.follow import Pages, follow_events, read_back, unbooked
from orderonce_cli.load.kafka import Cluster, KafkaError, connected
from orderonce_cli.load.orders import Spread
from orderonce_cli.load.pace import pace
from orderonce_cli.load.plan import Plan, Target
from orderonce_cli.load.tally import Outcome, Tally
from orderonce_cli.problems import Problem

LIVE = ("open", "sending")
LEAD_S = 0.1  # between "everything is connected" and the first order's moment
LOOK_S = 0.05
SAMPLE_S = 1.0
BOOK_LIMIT_S = 15.0  # the ledger is on nobody's path: it may take its time
BOOK_LOOK_S = 0.5
TIDY_LIMIT_S = 10.0

Now = Callable[[], float]


@dataclass(frozen=True)
class Sample:
    """How things stood at one moment of the run. `lag` is None where it is not known."""

    at: float  # seconds since the run's start
    started: int
    in_flight: int
    unfinished: int
    lag: int | None
    dropped: int = 0  # of the started


@dataclass
class Run:
    """Everything that one run has measured."""

    plan: Plan
    tally: Tally
    come: int = 0  # moments of orders that had come when the sending ended
    sending_s: float = 0.0
    whole_s: float = 0.0
    cpu_s: float = 0.0  # of this process, while it was sending
    drained: bool = False
    canceled: int = 0
    unbooked: int | None = None  # None: nobody asked a ledger
    offset_s: tuple[float, float] | None = None  # the services' clock against ours, and +/-
    samples: list[Sample] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    interrupted: bool = False


Watch = Callable[[Run], None]


async def run(plan: Plan, target: Target, watch: Watch, stopping: asyncio.Event) -> Run:
    """Raises Problem when the run cannot begin; whatever happens later is part of its result."""
    async with AsyncExitStack() as stack:
        cluster = await _cluster(target, stack)
        schedule = arrivals.schedule(plan.arrivals, plan.rate, plan.seconds, plan.seed)
        started_mono = time.monotonic() + LEAD_S
        tally = Tally(
            f"load-{token_hex(4)}", schedule, time.time() + LEAD_S, plan.measured == "line"
        )

        def now() -> float:
            return time.monotonic() - started_mono

        result = Run(plan, tally)
        runner = _Runner(plan, target, result, now, watch, stopping)
        await runner.connect(cluster, stack)
        # Connecting took its time: the run begins now.
        started_mono = time.monotonic() + LEAD_S
        tally.started_at = time.time() + LEAD_S
        await runner.measure()
        return result


async def _cluster(target: Target, stack: AsyncExitStack) -> Cluster | None:
    if target.kafka is None:
        return None
    return await stack.enter_async_context(connected(target.kafka))


class _Runner:
    """The parts of one run, while it lasts."""

    def __init__(
        self, plan: Plan, target: Target, result: Run, now: Now, watch: Watch,
        stopping: asyncio.Event,
    ) -> None:  # fmt: skip
        self.plan, self.target, self.result = plan, target, result
        self.tally, self.now, self.watch, self.stopping = result.tally, now, watch, stopping
        self.door: Door
        self.pages: Pages | None = None
        self.lag: Callable[[], Awaitable[int]] | None = None
        self.followers: list[Callable[[], Awaitable[None]]] = []
        self.flying: set[asyncio.Task[None]] = set()

    async def connect(self, cluster: Cluster | None, stack: AsyncExitStack) -> None:
        target, tally = self.target, self.tally
        if target.key:
            self.pages = Pages(target.key)
            stack.push_async_callback(self.pages.close)
        if cluster is not None:
            await self._listen(cluster)
        elif self.pages is not None:
            pages, url = self.pages, target.api[0]
            self.followers.append(lambda: pages.follow_orders(url, tally, self.now))
        spread = Spread(target.accounts, target.markets, self.plan.kind)
        if self.plan.via == "http":
            patience = Patience(self.plan.retry, self.plan.drain_s)
            self.door = HttpDoor(
                target.api, target.key, self.plan.connections, tally, spread, self.now, patience
            )
        else:
            assert cluster is not None, "the command line asked for a bootstrap address"
            sender = records.Sender(tally.run, target.venue)
            producer = await cluster.producer()
            self.door = KafkaDoor(producer, target.commands, sender, tally, spread, self.now)
        stack.push_async_callback(self.door.close)
        if self.pages is not None and target.api:
            self.result.offset_s = await self.pages.clock_offset(target.api[0])

    async def _listen(self, cluster: Cluster) -> None:
        """Before the first send: what happens from now on must not be missed."""
        target, tally = self.target, self.tally
        for topic in (target.commands, target.events)[: 2 if self.plan.measured == "line" else 1]:
            if not await cluster.partitions(topic):
                raise Problem(
                    f"The cluster has no topic {topic}. Name its prefix with --topic-prefix, or "
                    "let this command make the topics with --make-topics."
                )
        if self.plan.measured == "kafka":
            reader = await cluster.reader(target.commands)
            self.followers.append(lambda: read_back(reader, tally, self.now))
            return
        reader = await cluster.reader(target.events)
        self.followers.append(lambda: follow_events(reader, tally, self.now))
        self.lag = await cluster.lag_of(target.consumers, target.commands)

    async def measure(self) -> None:
        """Send, wait, tidy up."""
        result = self.result
        tasks = {asyncio.ensure_future(follower()) for follower in self.followers}
        sampling = asyncio.ensure_future(self._sample_every_second())
        try:
            cpu = time.process_time()
            result.come = await pace(self.tally.intended, self.now, self._start, self.stopping)
            if not self.stopping.is_set():  # the last order's second belongs to the run
                await self._pause(self.plan.seconds - self.now())
            result.sending_s = min(self.now(), self.plan.seconds)
            result.cpu_s = time.process_time() - cpu
            result.interrupted = self.stopping.is_set()
            await self._drain(tasks)
            sampling.cancel()
            await self._sample()
            await self._tidy()
            result.whole_s = self.now()
        finally:
            left = {*tasks, *self.flying, sampling}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _start(self, number: int) -> None:
        if len(self.flying) >= self.plan.in_flight:
            self.tally.dropped(number)
            return
        task = asyncio.ensure_future(self.door.place(number))
        self.flying.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: "asyncio.Task[None]") -> None:
        self.flying.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._trouble(f"a send failed: {type(error).__name__}: {error}")

    def _trouble(self, words: str) -> None:
        if words not in self.result.troubles:
            self.result.troubles.append(words)

    async def _drain(self, tasks: "set[asyncio.Task[None]]") -> None:
        """Until every order has its end, or the limit. A second Ctrl-C does not shorten it: the
        limit does."""
        deadline = self.now() + self.plan.drain_s
        while self.flying or self.tally.unfinished(self.result.come):
            for task in tasks:
                if task.done() and (error := task.exception()) is not None:
                    self._trouble(f"following stopped: {type(error).__name__}: {error}")
                    return
            if self.now() > deadline:
                return
            await asyncio.sleep(LOOK_S)
        self.result.drained = True

    async def _tidy(self) -> None:
        """Take back what is still open, and ask the ledger what it has booked."""
        tally = self.tally
        left = [n for n in range(self.result.come) if tally.status[n] in LIVE]
        if left and self.plan.measured == "line":
            self.result.canceled = len(left)
            try:
                async with asyncio.timeout(TIDY_LIMIT_S):
                    await self.door.cancel(left)
                    await self._until(lambda: not any(tally.status[n] in LIVE for n in left))
            except (TimeoutError, OSError, KafkaError):
                self._trouble(f"of {len(left)} orders left open some could not be taken back")
        if self.pages is None or self.target.ledger is None:
            return
        deadline = self.now() + BOOK_LIMIT_S
        while True:
            await self.pages.book(self.target.ledger, self.target.accounts, tally)
            self.result.unbooked = unbooked(tally)
            if not self.result.unbooked or self.now() > deadline:
                return
            await asyncio.sleep(BOOK_LOOK_S)

    async def _sample_every_second(self) -> None:
        while True:
            await self._pause(SAMPLE_S - self.now() % SAMPLE_S)
            await self._sample()

    async def _sample(self) -> None:
        """For the live line and the plots. Asking for the lag may fail, which is a gap in its
        curve."""
        lag: int | None = None
        if self.lag is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                lag = await self.lag()
        tally = self.tally
        started = len(tally) - tally.outcome.count(Outcome.SCHEDULED)
        unfinished = tally.unfinished(started)
        dropped = tally.outcome.count(Outcome.DROPPED)
        self.result.samples.append(
            Sample(self.now(), started, len(self.flying), unfinished, lag, dropped)
        )
        self.watch(self.result)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while True:
            if holds():
                return
            await asyncio.sleep(LOOK_S)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
