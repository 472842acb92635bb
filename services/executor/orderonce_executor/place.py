"""VERB: CAS to SENDING, send, hear (R4, R5). The only place that asks a venue to open an order.

Theory of operation. `Sender.run` takes what the lanes have ready (token and connection held), and
lets one autocommitted statement decide for all of them: what queued while the previous statement
ran shares the next one. Each row that came back as SENDING then leaves in a task of its own; no
order waits for the reply to another.

Where a kill -9 leaves an order: before the CAS it is CLAIMED and another process sends it. After
the CAS, before a byte, or after the reply and before the record, it is SENDING with stamp and
window stored; nobody sends it again, R7 asks the venue and, when the window has closed on the
venue's clock, may prove that it never got there. A process that only froze wakes with an old stamp:
the door refuses to send it after half of the window, and the venue after all of it.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

from orderonce_shared.domain.venue import (
    Acknowledged,
    PlaceVerdict,
    Silence,
    Unsent,
    VenueFill,
)
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.process import Process
from orderonce_shared.runtime.tracing import Span
from orderonce_shared.venues.errors import VenueUnreachable

from orderonce_executor.core import Bar, Barred, Replied
from orderonce_executor.lanes import WAITING_S, Lane, Lanes, request_of, say_turn
from orderonce_executor.metrics import Metrics
from orderonce_executor.owners import Owner
from orderonce_executor.placement import Placement
from orderonce_executor.ports import CasResult, SendLimits
from orderonce_executor.record import Hearing, Recorder
from orderonce_executor.store import DATABASE_TROUBLE, PgStore
from orderonce_executor.words import verdict_name

CAS_ROWS = 64  # what one statement may lock; at 4 ms each that is 16,000 orders/s
UNRECORDED_MAX = 200  # answers that wait to be stored: one transaction of the recorder
IDLE_S = 0.5
HALF_WINDOW = 0.5


@dataclass(slots=True)
class Sender:
    store: PgStore
    lanes: Lanes
    recorder: Recorder
    owner: Owner
    limits: SendLimits
    process: Process
    clock: Clock
    metrics: Metrics
    failpoints: Failpoints
    in_flight: dict[UUID, asyncio.Task[None]] = field(default_factory=dict)
    endings: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        while not self.process.stopping.is_set():
            batch = self.lanes.take(CAS_ROWS) if self.owner.alive else []
            if batch:
                await self._send_batch(batch)
                continue
            ready_in = self.lanes.next_take_in() if self.owner.alive else None
            await self.process.pause(min(ready_in or IDLE_S, IDLE_S), self.lanes.wake)
        while left := [*self.in_flight.values(), *self.endings]:
            await asyncio.wait(left)  # a call on the wire is heard to its end, and recorded

    async def _send_batch(self, batch: list[Placement]) -> None:
        since_ns = self.process.tracing.now_ns()
        try:
            result = await self.store.cas_sending(batch, self.limits)
        except DATABASE_TROUBLE as error:
            # Whether it was committed is not known. CLAIMED rows are found by the sweep, SENDING
            # ones by R7.
            self.process.log.warning("cas-failed", rows=len(batch), error=type(error).__name__)
            for p in batch:
                self.lanes.give_back(p, unused=True)
                self.lanes.release(p)
            await self.process.pause(IDLE_S)
            return
        returned_at = self.clock.monotonic()
        self._count(batch, result)
        await self.failpoints.hit("after_cas")
        self.recorder.on_the_wire(result.sent)
        for p in result.sent:
            span = self._begin(p, since_ns, len(batch))
            task = asyncio.create_task(self._send(p, returned_at, span))
            self.in_flight[p.order_id] = task
        for p in [*result.waiting, *result.stale, *(p for p, _ in result.barred)]:
            self.lanes.give_back(p, unused=True)
        self.lanes.put_back(result.waiting, WAITING_S)
        for p in result.stale:
            self.lanes.release(p)
        for p, bar in result.barred:
            task = asyncio.create_task(self._end_unsent(p, bar))
            self.endings.add(task)
            task.add_done_callback(self.endings.discard)

    def _begin(self, p: Placement, since_ns: int, rows: int) -> Span:
        """One span from the CAS to the record, with the CAS inside: an order's own, however many
        shared the statement."""
        begin = self.process.tracing.begin
        span = begin(
            "place", p.traceparent, since_ns=since_ns, order_id=p.order_id, account=p.account,
            venue=p.venue, attempt=p.attempt,
        )  # fmt: skip
        begin("cas to sending", span.traceparent, since_ns=since_ns, batch=rows).end()
        return span

    def _count(self, batch: list[Placement], result: CasResult) -> None:
        self.metrics.cas_size.observe(len(batch))
        misses = Counter(bar.value for _, bar in result.barred)
        misses["stale"], misses["waiting"] = len(result.stale), len(result.waiting)
        for why, rows in misses.items():
            if rows:
                self.metrics.cas_misses.labels(why).inc(rows)
        for p in result.sent:
            if p.sent_at is not None:
                self.metrics.queue_s.observe((p.sent_at - p.created_at).total_seconds())

    async def _end_unsent(self, placement: Placement, bar: Bar) -> None:
        """Lapsed, denied or canceled: stored in a transaction of its own. Dies before it: the next
        CAS says so again."""
        await self.recorder.hear(Hearing(placement, Barred(bar)))
        self.lanes.release(placement)

    async def _send(self, placement: Placement, returned_at: float, span: Span) -> None:
        lane = self.lanes.served.get(placement.account)
        begin = self.process.tracing.begin
        unused = True
        holds_connection = True
        try:
            verdict: PlaceVerdict = Unsent("the account is no longer served")
            if lane is not None:
                call = begin("create at venue", span.traceparent, "client", venue=lane.venue)
                verdict = await self._call(lane, placement, returned_at)
                call.end(error=_trouble(verdict), verdict=verdict_name(verdict))
                await self.failpoints.hit("after_reply")
            unused = isinstance(verdict, Unsent)
            self.metrics.verdicts.labels(verdict_name(verdict)).inc()
            if lane is not None:
                turn = lane.breaker.heard(placement.order_id, verdict, self.clock.monotonic())
                say_turn(self.process, placement.account, turn)
            fills, known = await self._fills(lane, placement, verdict)
            self.recorder.off_the_wire(placement)
            # Placed: the next order may have the connection while this one is recorded. Not after
            # a refusal, whose pause comes with its record, nor when records have fallen behind.
            if isinstance(verdict, Acknowledged) and len(self.recorder.jobs) < UNRECORDED_MAX:
                holds_connection = False
                self._free_connection(placement, unused=False)
            record = begin("record", span.traceparent, fills=len(fills))
            row = await self.recorder.hear(
                Hearing(placement, Replied(placement.attempt, verdict, known), fills)
            )
            record.end()
            span.end(state="kept" if row is None else row.state.value)
        finally:
            self.recorder.off_the_wire(placement)
            if holds_connection:
                self._free_connection(placement, unused=unused)
            self.lanes.release(placement)
            self.in_flight.pop(placement.order_id, None)

    def _free_connection(self, placement: Placement, *, unused: bool) -> None:
        self.lanes.give_back(placement, unused=unused)
        self.lanes.wake.set()

    async def _call(self, lane: Lane, placement: Placement, returned_at: float) -> PlaceVerdict:
        """The only line that writes an order to a venue, after R5's local check. The door has the
        time-out, and says whether a byte may have left."""
        assert placement.window_ms is not None
        late = self.clock.monotonic() - returned_at
        if late > HALF_WINDOW * placement.window_ms / 1000:
            return Unsent(f"{late:.3f} s after the CAS more than half of the window has passed")
        if not self.owner.alive:
            return Unsent("this process lost its lock between CAS and send")
        self.metrics.sends.inc()
        begun = self.clock.monotonic()
        try:
            return await lane.door.place(request_of(placement))
        finally:
            self.metrics.send_s.observe(self.clock.monotonic() - begun)

    async def _fills(
        self, lane: Lane | None, placement: Placement, verdict: PlaceVerdict
    ) -> tuple[tuple[VenueFill, ...], bool]:
        """The fills of an acknowledged order: with the reply, else asked for; (fills, whether these
        are all)."""
        if not isinstance(verdict, Acknowledged) or lane is None:
            return (), True
        order = verdict.order
        if order.filled_quantity == 0 or order.fills:
            return order.fills, True
        try:
            fills = await lane.door.order_fills(order.symbol, order.venue_order_id)
        except VenueUnreachable:
            return (), False  # the follower asks again; until then the order is shown as open
        total = sum(fill.quantity for fill in fills)
        return tuple(fills), total == order.filled_quantity


def _trouble(verdict: PlaceVerdict) -> str | None:
    """What a trace shows in red: only what proves nothing."""
    return verdict.detail if isinstance(verdict, Silence) else None
