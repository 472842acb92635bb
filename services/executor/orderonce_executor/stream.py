"""VERB: listen to what the venues tell of our orders by themselves (R9).

Every executor listens to every account that it serves, and acts on the rows in its own hands: no
two processes record the same report, and a process that dies leaves nothing behind but rows, which
their heir asks for by REST. The words go the way of all words: `core.decide`, then the CAS.

A report waits a moment before it is judged. As a rule the answer to the create comes with it, says
the same, and is recorded already: then the report costs no transaction. Where the answer is slow
(F24) or never comes, the report is recorded, and the answer changes nothing later.

What was told while nobody listened is lost: whenever a subscription begins or ends, each open order
of the account is looked at by REST (`store.look_again`).
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from orderonce_shared.domain.lifecycle import FINAL, State
from orderonce_shared.domain.venue import VenueStatus
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.process import Process
from orderonce_shared.runtime.tracing import trace_id
from orderonce_shared.venues.spot import Unreadable
from orderonce_shared.venues.stream import OrderStream, Report
from prometheus_client import Counter

from orderonce_executor.core import CancelAtVenue, Seen, Source, decide
from orderonce_executor.lanes import Lane, Lanes
from orderonce_executor.look import Looker
from orderonce_executor.metrics import Metrics
from orderonce_executor.placement import Placement
from orderonce_executor.record import Hearing, Recorder, Signals
from orderonce_executor.store import DATABASE_TROUBLE, PgStore
from orderonce_executor.tale import Tale

BURST_S = 0.01  # reports of one moment are judged together
ANSWER_S = 0.2  # an answer that is under way is let come first
GAP_S = 0.25  # a trade that is missing in the middle may only be late
TRIES = 3  # after so many missed comparisons REST asks
FINISH_S = 2.0
TALES_MAX = 50_000
FORGET_EVERY_S = 30.0

OpenStream = Callable[[Lane], OrderStream | None]


@dataclass(slots=True)
class _Told:
    """A tale with its place in the line."""

    unread: list[Report] = field(default_factory=list)
    tale: Tale | None = None
    waited_for_gap: bool = False
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Streams:
    store: PgStore
    lanes: Lanes
    recorder: Recorder
    looker: Looker
    signals: Signals
    process: Process
    clock: Clock
    metrics: Metrics
    open_stream: OpenStream
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    gaps: set[str] = field(default_factory=set)  # accounts whose orders REST has to look at
    told: dict[str, _Told] = field(default_factory=dict)  # by client order id
    forgot_at: float = 0.0  # monotonic
    foreign: Counter = field(init=False)
    waiting: Counter = field(init=False)
    words_known: Counter = field(init=False)
    ears: dict[str, "tuple[Lane, OrderStream | None, asyncio.Task[None] | None]"] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        self.foreign = self.metrics.stream_reports.labels("foreign")
        self.waiting = self.metrics.stream_reports.labels("waiting")
        self.words_known = self.metrics.stream_words.labels("known")

    async def step(self) -> None:
        """Listens to the lanes that there are now, and has REST look where nobody listened."""
        for account, (lane, _, task) in list(self.ears.items()):
            died = task is not None and task.done()
            if died or self.lanes.served.get(account) is not lane:
                await self._stop(account)
        for lane in list(self.lanes.served.values()):
            if lane.account not in self.ears:
                self.ears[lane.account] = self._listen(lane)
        self._forget_ended()
        for account in list(self.gaps):
            self.gaps.discard(account)  # first: one that begins meanwhile is a gap of its own
            try:
                await self.store.look_again(account)
            except DATABASE_TROUBLE:
                self.gaps.add(account)
                raise
            self.signals.track.set()
            self.signals.resolve.set()

    def _forget_ended(self) -> None:
        """Tales of orders whose end came by REST, so that no report of theirs comes any more."""
        now = self.clock.monotonic()
        if now - self.forgot_at < FORGET_EVERY_S:
            return
        self.forgot_at = now
        for name, told in list(self.told.items()):
            if told.timer is None and told.task is None and name not in self.recorder.known.live:
                del self.told[name]

    def _listen(self, lane: Lane) -> "tuple[Lane, OrderStream | None, asyncio.Task[None] | None]":
        stream = self.open_stream(lane)
        if stream is None:
            return lane, None, None
        self.metrics.stream_up.labels(lane.account).set(0)
        task = asyncio.create_task(stream.follow(_Ear(self, lane)), name=f"stream {lane.account}")
        return lane, stream, task

    async def _stop(self, account: str) -> None:
        lane, stream, task = self.ears.pop(account)
        if lane.stream_up:
            lane.stream_up = False
            self.gaps.add(account)
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=FINISH_S)
        if stream is not None:
            with contextlib.suppress(TimeoutError):  # a venue that is frozen says no goodbye
                await asyncio.wait_for(stream.close(), FINISH_S)
            self.metrics.stream_up.labels(account).set(0)

    def heard(self, report: Report) -> None:
        """One report. Puts its order in the line; read and judged a moment later."""
        row = self.recorder.known.get(report.client_order_id)
        if row is None:
            self.foreign.inc()
            return
        self.waiting.inc()
        told = self.told.get(report.client_order_id)
        if told is None:
            if len(self.told) >= TALES_MAX:
                return
            told = self.told[report.client_order_id] = _Told()
        told.unread.append(report)
        if told.timer is None and told.task is None:
            quiet = row.state is State.OPEN and not row.cancel_requested
            self._later(row, told, BURST_S if quiet else ANSWER_S)

    def _read(self, row: Placement, told: _Told) -> None:
        for report in told.unread:
            try:
                order = report.read(row.symbol)
                if order.status is VenueStatus.REJECTED:
                    # It does not say of which attempt; one of attempt 1 must not end attempt 2.
                    raise Unreadable("a rejection without its attempt")
            except Unreadable as error:
                self.unreadable(str(error))
                continue
            if told.tale is None:
                told.tale = Tale.begin(order)
            else:
                told.tale.hear(order)
        told.unread.clear()

    def unreadable(self, why: str) -> None:
        self.metrics.stream_reports.labels("unreadable").inc()
        self.process.log.warning("stream-unreadable", why=why)

    def _later(self, row: Placement, told: _Told, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        told.timer = loop.call_later(seconds, self._judge, row.client_order_id, told)

    def _judge(self, name: str, told: _Told) -> None:
        """The moment has passed: is there anything left to say?"""
        told.timer = None
        row = self.recorder.known.get(name)
        if row is None or self.process.stopping.is_set():
            self.told.pop(name, None)
            return
        if row.order_id in self.recorder.in_hand:
            self._later(row, told, BURST_S)
            return
        if row.state is State.FILLED:  # with every fill recorded: nothing can be added
            self.words_known.inc()
            del self.told[name]
            return
        self._read(row, told)
        tale = told.tale
        if tale is None:
            del self.told[name]
            return
        after, actions = decide(row, self._seen(tale), self.clock.now())
        # Cancelling again is the canceller's business, which goes by the mark.
        if after is row and all(isinstance(action, CancelAtVenue) for action in actions):
            self.words_known.inc()
            self._leave(row, told)
        elif not tale.whole and not told.waited_for_gap:
            told.waited_for_gap = True
            self._later(row, told, GAP_S)
        else:
            told.task = asyncio.create_task(self._record(row, told, tale))

    def _seen(self, tale: Tale) -> Seen:
        return Seen(tale.word, tale.whole, Source.STREAM)

    def _leave(self, row: Placement, told: _Told) -> None:
        """The tale of an open order with fills goes on; an ended one's is over."""
        told.waited_for_gap = False
        if row.state in FINAL or told.tale is None or not told.tale.fills:
            self.told.pop(row.client_order_id, None)

    async def _record(self, row: Placement, told: _Told, tale: Tale) -> None:
        about = {"order_id": str(row.order_id), "trace_id": trace_id(row.traceparent)}
        # After an error the row is as it was, and REST asks.
        well = await self.process.attempt("stream-failed", self._hear(row, tale), **about)
        told.task = None
        now = self.recorder.known.get(row.client_order_id)
        if not well or now is None:
            self.told.pop(row.client_order_id, None)
        elif told.unread:
            self._later(now, told, BURST_S)  # more was told meanwhile
        else:
            self._leave(now, told)

    async def _hear(self, row: Placement, tale: Tale) -> None:
        if not tale.whole:
            self.metrics.stream_words.labels("gap").inc()
            lane = self.lanes.served.get(row.account)
            if lane is None:
                return
            await self.looker.take_turn(row)
            tale.learn(tuple(await lane.door.order_fills(row.symbol, tale.word.venue_order_id)))
        now: Placement | None = row
        for _ in range(TRIES):
            assert now is not None
            self.recorder.off_the_wire(now)
            fills = tale.fresh()
            heard = await self.recorder.hear(Hearing(now, self._seen(tale), fills))
            tale.handed_on(fills)  # fills are stored whether the row's comparison hit or missed
            if heard is not None:
                self.metrics.stream_words.labels("recorded").inc()
                return
            (now,) = await self.store.load([row.order_id]) or (None,)
            if now is None:
                break
        self.metrics.stream_words.labels("missed").inc()
        await self.store.postpone([row.order_id], [0.0])

    async def finish(self) -> None:
        """Hangs up; what is being recorded is let finish, since the recorder still runs."""
        await asyncio.gather(*(self._stop(account) for account in list(self.ears)))
        tasks = [told.task for told in self.told.values() if told.task is not None]
        for told in self.told.values():
            if told.timer is not None:
                told.timer.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=FINISH_S)


@dataclass(frozen=True, slots=True)
class _Ear:
    """What one account's stream tells."""

    streams: Streams
    lane: Lane

    def on_up(self) -> None:
        self._turned(up=True)
        self.streams.metrics.stream_starts.labels(self.lane.account).inc()
        self.streams.process.log.info("stream-up", account=self.lane.account)

    def on_down(self, why: str) -> None:
        if self.lane.stream_up:
            self.streams.process.log.warning("stream-down", account=self.lane.account, why=why)
            self._turned(up=False)

    def _turned(self, *, up: bool) -> None:
        """Either way REST looks now: at what was missed, or because it is alone from here on."""
        self.lane.stream_up = up
        self.streams.metrics.stream_up.labels(self.lane.account).set(int(up))
        self.streams.gaps.add(self.lane.account)
        self.streams.wake.set()

    def on_report(self, report: Report) -> None:
        self.streams.heard(report)

    def on_garbage(self, why: str) -> None:
        self.streams.unreadable(why)
