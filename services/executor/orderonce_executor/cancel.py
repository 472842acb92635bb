"""VERB: cancel at the venue what its owner wants gone (R10). It never waits, not for the place and
not behind it.

The claim has written the durable mark before anything here runs. From then on the mark alone drives
it: a row that might be live and carries it is cancelled by client id at once, again whenever it is
found live, and after a crash by whoever adopts it. "No such order" proves nothing: the create may
still be on its way, so only R7 ends such a row.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.venue import CannotAsk, Found, NoSuchOrder
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.process import Process
from orderonce_shared.runtime.tracing import trace_id
from orderonce_shared.venues.evidence import evidence_for

from orderonce_executor.look import Looker
from orderonce_executor.metrics import Metrics
from orderonce_executor.placement import Placement
from orderonce_executor.record import Signals
from orderonce_executor.store import PgStore

AT_ONCE = 32
ROWS = 200
FIRST_PAUSE_S = 0.25
MOST_DOUBLINGS = 10  # past the longest pause; 2.0 ** 1024 is an error
LONGEST_PAUSE_S = 5.0


@dataclass(slots=True)
class _Tried:
    times: int
    not_before: float
    state: State


@dataclass(slots=True)
class Canceller:
    store: PgStore
    looker: Looker
    signals: Signals
    process: Process
    clock: Clock
    metrics: Metrics
    busy: dict[UUID, asyncio.Task[None]] = field(default_factory=dict)
    tried: dict[UUID, _Tried] = field(default_factory=dict)

    def at_once(self, placements: Iterable[Placement]) -> None:
        """Straight after the claim that wrote the mark."""
        for placement in placements:
            self._begin(placement)

    async def step(self) -> None:
        """Every marked row that might be live, whoever had marked it."""
        rows = await self.store.marked(ROWS)
        now = self.clock.monotonic()
        for row in rows:
            tried = self.tried.get(row.order_id)
            # a row that became OPEN after "no such order" is cancelled again at once
            if tried is None or now >= tried.not_before or tried.state is not row.state:
                self._begin(row)
        live = {row.order_id for row in rows}
        if len(rows) < ROWS:
            self.tried = {id: t for id, t in self.tried.items() if id in live or id in self.busy}

    def _begin(self, placement: Placement) -> None:
        if placement.order_id not in self.busy and len(self.busy) < AT_ONCE:
            self.busy[placement.order_id] = asyncio.create_task(self._cancel(placement))

    async def _cancel(self, placement: Placement) -> None:
        before = self.tried.get(placement.order_id)
        times = before.times if before is not None and before.state is placement.state else 0
        pause = min(FIRST_PAUSE_S * 2.0 ** min(times, MOST_DOUBLINGS), LONGEST_PAUSE_S)
        self.tried[placement.order_id] = _Tried(
            times + 1, self.clock.monotonic() + pause, placement.state
        )
        # After an error: the mark is durable, so the next step tries again.
        try:
            about = {
                "order_id": str(placement.order_id),
                "trace_id": trace_id(placement.traceparent),
            }
            await self.process.attempt("cancel-failed", self._ask(placement), **about)
        finally:
            self.busy.pop(placement.order_id, None)

    async def _ask(self, placement: Placement) -> None:
        door = self.looker.door(placement)
        if door is None:
            return
        await self.looker.take_turn(placement)
        span = self.looker.process.tracing.begin(
            "cancel at venue", placement.traceparent, "client", venue=placement.venue,
            order_id=placement.order_id, state=placement.state.value,
        )  # fmt: skip
        verdict = await door.cancel(placement.symbol, placement.client_order_id)
        span.end(verdict=type(verdict).__name__.lower())
        self.metrics.cancels.labels(type(verdict).__name__.lower()).inc()
        match verdict:
            case Found(order):
                if evidence_for(placement.venue).cancel_is_final:
                    await self.looker.show(placement, order)
                else:
                    await self.looker.look(placement)
            case NoSuchOrder():
                if placement.state is State.OPEN:
                    await self.looker.look(placement)  # it has ended already: how?
                else:
                    self.signals.resolve.set()
            case CannotAsk():
                pass

    async def finish(self) -> None:
        if self.busy:
            await asyncio.wait(list(self.busy.values()))
