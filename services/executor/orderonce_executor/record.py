"""VERB: write down what was heard (R6): many words per transaction, and what queued meanwhile
shares the next one.

A word goes through `core.decide` on the row as its sender knew it, and is stored by CAS. When that
misses, somebody else has changed the row: the words are kept with their attempt, and `settle`
decides again on the row as it is now. So an OK is never thrown away. The process dies before the
transaction: the row says SENDING and R7 asks the venue; in it: the same; after: it is done, and the
letters wait in the outbox.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from orderonce_shared.domain.lifecycle import FINAL, State
from orderonce_shared.domain.venue import VenueFill
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.process import Process
from orderonce_shared.runtime.tracing import trace_id

from orderonce_executor.core import (
    Action,
    CancelAtVenue,
    Heard,
    Incident,
    LookUp,
    Replied,
    Seen,
    SendAgain,
    decide,
)
from orderonce_executor.events import event_letter
from orderonce_executor.known import Known
from orderonce_executor.lanes import Lanes
from orderonce_executor.metrics import Metrics
from orderonce_executor.placement import Placement
from orderonce_executor.ports import Change, Words
from orderonce_executor.relay import Relay
from orderonce_executor.store import DATABASE_TROUBLE, POISON, PgStore

BATCH = 200
RETRY_FIRST_S = 0.1
RETRY_LONGEST_S = 2.0
NOTICE_AFTER_S = 0.25  # an order on the wire for longer than venues take is shown as `sending`
MISS_TRIES = 5


@dataclass(frozen=True, slots=True)
class Hearing:
    """Something heard about a row, with the fills that came along, and how absence was proven where
    it was."""

    placement: Placement
    heard: Heard
    fills: tuple[VenueFill, ...] = ()
    absence: dict[str, object] | None = None


@dataclass(slots=True)
class _Job:
    hearing: Hearing
    done: "asyncio.Future[Placement | None]"

    def answer(self, row: Placement | None) -> None:
        if not self.done.done():
            self.done.set_result(row)


@dataclass(slots=True)
class Signals:
    """How one verb wakes another."""

    resolve: asyncio.Event = field(default_factory=asyncio.Event)
    track: asyncio.Event = field(default_factory=asyncio.Event)
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    clock: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Recorder:
    store: PgStore
    relay: Relay
    lanes: Lanes
    signals: Signals
    process: Process
    clock: Clock
    metrics: Metrics
    failpoints: Failpoints
    jobs: list[_Job] = field(default_factory=list)
    wire: dict[object, tuple[float, Placement]] = field(default_factory=dict)  # sending, unsaid
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    known: Known = field(default_factory=Known)
    in_hand: set[UUID] = field(default_factory=set)  # rows with a word that waits to be stored

    async def hear(self, hearing: Hearing) -> Placement | None:
        """Decides and stores; returns the row as stored, or None when the words were kept for
        `settle`. Waits as long as the database is away: an answer in hand is not given up."""
        done: asyncio.Future[Placement | None] = asyncio.get_running_loop().create_future()
        self.jobs.append(_Job(hearing, done))
        self.in_hand.add(hearing.placement.order_id)
        self.wake.set()
        return await done

    def on_the_wire(self, sent: Sequence[Placement]) -> None:
        now = self.clock.monotonic()
        if sent and not self.wire:
            self.wake.set()
        self.wire.update((p.order_id, (now, p)) for p in sent)
        for p in sent:
            self.known.note(p)

    def off_the_wire(self, placement: Placement) -> None:
        self.wire.pop(placement.order_id, None)

    async def run(self, ended: asyncio.Event) -> None:
        """Until `ended`, which main sets when nothing can be heard any more."""
        failures = 0
        while not (ended.is_set() and not self.jobs):
            if not self.jobs:
                await self._idle(ended)
            batch, self.jobs = self._distinct(self.jobs)
            try:
                await self._write(batch)
                await self._say_sending()
            except POISON as error:
                self.jobs = await self._one_by_one(batch, error) + self.jobs
            except DATABASE_TROUBLE as error:
                failures += 1
                self.jobs = [job for job in batch if not job.done.done()] + self.jobs
                self.process.health.trouble("recorder", f"{type(error).__name__}: {error}")
                self.process.log.warning("record-failed", failures=failures, waiting=len(self.jobs))
                await asyncio.sleep(min(RETRY_FIRST_S * 2**failures, RETRY_LONGEST_S))
            else:
                failures = 0
                self.process.health.fine("recorder")

    async def _idle(self, ended: asyncio.Event) -> None:
        waiters = [asyncio.ensure_future(self.wake.wait()), asyncio.ensure_future(ended.wait())]
        await asyncio.wait(
            waiters, timeout=NOTICE_AFTER_S if self.wire else None, return_when="FIRST_COMPLETED"
        )
        for waiter in waiters:
            waiter.cancel()
        self.wake.clear()

    def _distinct(self, jobs: list[_Job]) -> tuple[list[_Job], list[_Job]]:
        """At most one word per row and transaction; the next one sees what this one made of it."""
        batch: dict[object, _Job] = {}
        later: list[_Job] = []
        for job in jobs:
            name = job.hearing.placement.order_id
            if name in batch or len(batch) >= BATCH:
                later.append(job)
            else:
                batch[name] = job
        return list(batch.values()), later

    async def _write(self, batch: list[_Job]) -> None:
        now = self.clock.now()
        changes: list[Change] = []
        actions: list[tuple[Action, ...]] = []
        for job in batch:
            h = job.hearing
            after, todo = decide(h.placement, h.heard, now)
            words = (
                Words(h.heard.attempt, h.heard.verdict) if isinstance(h.heard, Replied) else None
            )
            seen = h.heard if isinstance(h.heard, Seen) else None
            changes.append(Change(h.placement, after, h.fills, words, seen, h.absence))
            actions.append(todo)
        if not changes:
            return
        begun = self.clock.monotonic()
        recorded = await self.store.record(changes)
        self.metrics.record_s.observe(self.clock.monotonic() - begun)
        await self.failpoints.hit("after_record")
        self.relay.take(recorded.posted)
        for job, change, row, todo in zip(batch, changes, recorded.rows, actions, strict=True):
            self.in_hand.discard(change.before.order_id)
            if row is not None:
                self.known.note(row)
            self._follow_up(change, row, todo)
            job.answer(row)

    async def _one_by_one(self, batch: list[_Job], error: Exception) -> list[_Job]:
        """One word that the database refuses must not hold up its neighbours. Its row stays as it
        is: R7 asks again. Returns what the database could not be asked about."""
        if len(batch) == 1:
            self.metrics.incidents.inc()
            self.process.log.error(
                "word-not-storable",
                order_id=str(batch[0].hearing.placement.order_id),
                exc_info=error,
            )
            batch[0].answer(None)
            return []
        left: list[_Job] = []
        for job in batch:
            try:
                await self._write([job])
            except POISON as poison:
                await self._one_by_one([job], poison)
            except DATABASE_TROUBLE:
                left.append(job)
        return left

    async def _say_sending(self) -> None:
        """`sending` is said of orders that are on the wire for longer than a moment: the others
        have moved on."""
        late = self.clock.monotonic() - NOTICE_AFTER_S
        due = [p for since, p in self.wire.values() if since < late]
        if not due:
            return
        for p in due:
            self.wire.pop(p.order_id, None)
        async with self.store.transaction() as connection:
            posted = await self.store.post(connection, [event_letter(p) for p in due])
        self.relay.take(posted)

    def _follow_up(self, change: Change, row: Placement | None, todo: tuple[Action, ...]) -> None:
        if row is None:
            self.metrics.record_misses.inc()
            self.signals.resolve.set()
            return
        if change.before.state is State.UNKNOWN and row.state is not State.UNKNOWN and row.sent_at:
            seconds = (row.updated_at - row.sent_at).total_seconds()
            self.metrics.resolve_s.labels(row.state.value).observe(seconds)
        if row.state in FINAL and change.before.state not in FINAL:
            self.metrics.endings.labels(row.state.value).inc()
            self.process.log.debug(
                "order-ended",
                order_id=row.order_id,
                state=row.state.value,
                reason=row.reason_code,
                trace_id=trace_id(row.traceparent),
            )
        for action in todo:
            match action:
                case SendAgain(pause_s, measure_clock):
                    if pause_s:
                        self.lanes.pause(row.account, pause_s)
                        self.metrics.pauses.labels(row.account).inc()
                    if measure_clock:
                        self.lanes.distrust_clock(row.account)
                        self.signals.clock.set()
                case LookUp():
                    event = self.signals.resolve
                    (self.signals.track if row.state is State.OPEN else event).set()
                case CancelAtVenue():
                    self.signals.cancel.set()
                case Incident(text):
                    self.metrics.incidents.inc()
                    self.process.log.error(
                        "incident",
                        order_id=str(row.order_id),
                        what=text,
                        trace_id=trace_id(row.traceparent),
                    )

    async def settle(self, limit: int = 100) -> int:
        """Applies words that missed their row, each on the row as it is now. Returns how many."""
        waiting = await self.store.waiting_words(limit)
        rows = {p.order_id: p for p in await self.store.load([id for id, _ in waiting])}
        for order_id, words in waiting:
            row = rows[order_id]
            order = getattr(words.verdict, "order", None)
            known = order is None or order.filled_quantity == 0 or bool(order.fills)
            heard = Replied(words.attempt, words.verdict, known)
            await self.hear(Hearing(row, heard, order.fills if order is not None else ()))
        return len(waiting)
