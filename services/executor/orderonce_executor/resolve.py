"""VERB: what became of an attempt that nobody has word of (R7). Find first; absence only by three
steps.

Theory of operation. An UNKNOWN order is looked up at once and then with growing pauses. Found: its
state is recorded. Absent counts only when, in this order,
  1. the venue's own time is past signed_at + window + step allowance: the venue refuses the attempt
     from now on;
  2. its late-visibility bound has then passed on our own monotonic clock: whatever it took can be
     seen by now;
  3. a look-up begun after that answers on every rung with nothing. "Cannot ask" is never "not
     found".
Steps live in this process's memory: who dies in between loses time, never an order, since another
begins at step 1. What the steps showed is stored with the attempt.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.venue import Absent, CannotAsk, FindVerdict, Found
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.process import Process
from orderonce_shared.runtime.tracing import trace_id
from orderonce_shared.venues.errors import VenueUnreachable
from orderonce_shared.venues.evidence import evidence_for

from orderonce_executor.core import Heard, ProvenAbsent, SenderLost, look_up_pause_s
from orderonce_executor.lanes import Lanes
from orderonce_executor.look import Looker
from orderonce_executor.placement import Placement
from orderonce_executor.ports import Due
from orderonce_executor.record import Hearing, Recorder, Signals
from orderonce_executor.store import PgStore

AT_ONCE = 16  # look-ups at the same time in this process
ROWS = 200
SETTLE_ROWS = 100


@dataclass(frozen=True, slots=True)
class Bounds:
    """A venue's two numbers of R7."""

    step_allowance_ms: int
    late_visibility_ms: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Step 1 is done: the window of this attempt was seen to be closed."""

    attempt: int
    venue_time_ms: int
    at: float  # our monotonic clock, read after the venue had answered


class Asking(Protocol):
    """What the three steps need of the world."""

    async def venue_time_ms(self) -> int:
        """Raises VenueUnreachable."""
        ...

    async def find(self) -> FindVerdict: ...

    def monotonic(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Steps:
    """Where a proof of absence stands: `proven` with its evidence, else when it is worth going
    on."""

    closed: Closed | None
    proven: dict[str, object] | None = None
    found: Found | None = None
    wait_s: float | None = None


async def prove_absence(
    asking: Asking, placement: Placement, bounds: Bounds, closed: Closed | None
) -> Steps:
    """One round: takes the proof as far as the clocks allow now. Never waits."""
    assert placement.signed_at_ms is not None
    assert placement.window_ms is not None
    if closed is not None and closed.attempt != placement.attempt:
        closed = None
    if closed is None:
        ends_ms = placement.signed_at_ms + placement.window_ms + bounds.step_allowance_ms
        try:
            venue_ms = await asking.venue_time_ms()
        except VenueUnreachable:
            return Steps(None)
        if venue_ms <= ends_ms:
            return Steps(None, wait_s=(ends_ms - venue_ms + 1) / 1000)
        closed = Closed(placement.attempt, venue_ms, asking.monotonic())
    begun = asking.monotonic()
    waited_s = begun - closed.at
    if waited_s <= bounds.late_visibility_ms / 1000:
        return Steps(closed, wait_s=bounds.late_visibility_ms / 1000 - waited_s + 0.001)
    verdict = await asking.find()
    match verdict:
        case Found():
            return Steps(closed, found=verdict)
        case CannotAsk():
            return Steps(closed)
        case Absent(raw):
            evidence: dict[str, object] = {
                "venue_time_ms": closed.venue_time_ms,
                "waited_s": round(waited_s, 3),
                "look_up": raw,
            }
            return Steps(closed, proven=evidence)


@dataclass(slots=True)
class Resolver:
    store: PgStore
    looker: Looker
    recorder: Recorder
    lanes: Lanes
    signals: Signals
    process: Process
    clock: Clock
    lost_after_s: float
    closed: dict[UUID, Closed] = field(default_factory=dict)
    busy: dict[UUID, asyncio.Task[None]] = field(default_factory=dict)

    async def step(self) -> None:
        """Applies words that missed, declares lost senders, begins a task per due UNKNOWN order."""
        await self.recorder.settle(SETTLE_ROWS)
        held = list(self.lanes.held)
        for row in await self.store.lost_senders(self.lost_after_s, held, ROWS):
            await self.hear_lost(row, SenderLost("no word within the time-out"))
        room = AT_ONCE - len(self.busy)
        if room <= 0:
            return
        for row in await self.store.due(Due((State.UNKNOWN,), list(self.busy), room)):
            task = asyncio.create_task(self._resolve(row))
            self.busy[row.order_id] = task

    async def hear_lost(self, placement: Placement, heard: Heard) -> None:
        """SENDING to UNKNOWN, said to readers before anybody asks the venue."""
        await self.recorder.hear(Hearing(placement, heard))
        self.signals.resolve.set()

    async def _resolve(self, placement: Placement) -> None:
        # After an error the row stays due: the next step asks again. Nothing was concluded.
        try:
            work = self._ask_and_wait(placement)
            about = {
                "order_id": str(placement.order_id),
                "trace_id": trace_id(placement.traceparent),
            }
            await self.process.attempt("resolve-failed", work, **about)
        finally:
            self.busy.pop(placement.order_id, None)
            self.signals.resolve.set()

    async def _ask_and_wait(self, placement: Placement) -> None:
        wait_s = await self._round(placement)
        if wait_s is not None:
            await self.store.postpone([placement.order_id], [wait_s])

    async def _round(self, placement: Placement) -> float | None:
        """One round for one order; how long to leave it alone, or None when it is settled."""
        age_s = (self.clock.now() - placement.updated_at).total_seconds()
        pause = look_up_pause_s(age_s)
        door = self.looker.door(placement)
        if door is None:
            return pause
        verdict, _ = await self.looker.look(placement)
        if isinstance(verdict, Found):
            self.closed.pop(placement.order_id, None)
            return None
        evidence = evidence_for(placement.venue)
        bounds = Bounds(evidence.step_allowance_ms, evidence.late_visibility_ms)
        asking = _AskDoor(self.looker, placement)
        steps = await prove_absence(asking, placement, bounds, self.closed.get(placement.order_id))
        if steps.found is not None:
            await self.looker.show(placement, steps.found.order)
            self.closed.pop(placement.order_id, None)
            return None
        if steps.proven is not None:
            self.closed.pop(placement.order_id, None)
            heard = ProvenAbsent(placement.attempt)
            await self.recorder.hear(Hearing(placement, heard, absence=steps.proven))
            return None
        if steps.closed is not None:
            self.closed[placement.order_id] = steps.closed
        return pause if steps.wait_s is None else min(pause, steps.wait_s)

    async def finish(self) -> None:
        if self.busy:
            await asyncio.wait(list(self.busy.values()))


@dataclass(frozen=True, slots=True)
class _AskDoor:
    looker: Looker
    placement: Placement

    async def venue_time_ms(self) -> int:
        door = self.looker.door(self.placement)
        if door is None:
            raise VenueUnreachable("the account is not served here", {})
        await self.looker.take_turn(self.placement)
        return await door.time_ms()

    async def find(self) -> FindVerdict:
        return await self.looker.find(self.placement)

    def monotonic(self) -> float:
        return self.looker.clock.monotonic()
