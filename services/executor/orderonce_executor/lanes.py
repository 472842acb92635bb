"""One lane per venue account: what is claimed waits here in memory until budget and connection are
ready for it.

The rows are in the database all the same; a lane is only their order and their hurry. Lanes know
nothing of each other, and nobody in a lane waits for the reply to another order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from orderonce_shared.domain.venue import PlaceRequest
from orderonce_shared.runtime.process import Process

from orderonce_executor.breaker import Breaker, Turn
from orderonce_executor.budget import Budget
from orderonce_executor.placement import Placement
from orderonce_executor.ports import Venue

MAX_HELD = 5_000  # rows in memory; more stay in the table until there is room
WAITING_S = 0.5  # halted accounts and unknown clocks are asked again this often


@dataclass(slots=True)
class Lane:
    """One account that is served: its door, its budget, its breaker, its queue."""

    account: str
    venue: str
    door: Venue
    budget: Budget
    breaker: Breaker
    queue: deque[Placement] = field(default_factory=deque)
    clock_trusted: bool = False
    stream_up: bool = False  # the venue tells of this account's orders by itself (R9)


@dataclass(slots=True)
class Lanes:
    """All lanes of this process. `held` are the rows that some task has in hand."""

    monotonic: Callable[[], float]
    served: dict[str, Lane] = field(default_factory=dict)
    held: set[UUID] = field(default_factory=set)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, placements: Iterable[Placement]) -> None:
        """Queues what is not in hand yet and has a lane. The rest is found by the sweep later."""
        for p in placements:
            lane = self.served.get(p.account)
            if lane is None or p.order_id in self.held or len(self.held) >= MAX_HELD:
                continue
            self.held.add(p.order_id)
            lane.queue.append(p)
        self.wake.set()

    def room(self) -> int:
        return MAX_HELD - len(self.held)

    def put_back(self, placements: Iterable[Placement], pause_s: float) -> None:
        """Not sent for a reason that concerns the account: to the end of its lane, which rests a
        moment."""
        now = self.monotonic()
        for p in placements:
            lane = self.served.get(p.account)
            if lane is None:
                self.release(p)
                continue
            lane.queue.append(p)
            lane.budget.pause(now, pause_s)

    def release(self, placement: Placement) -> None:
        self.held.discard(placement.order_id)

    def take(self, limit: int) -> list[Placement]:
        """Up to `limit` orders whose token and connection are held now, the lanes in turn."""
        now = self.monotonic()
        taken: list[Placement] = []
        ready = {
            name: count
            for name, lane in self.served.items()
            if lane.queue
            and lane.clock_trusted
            and (count := lane.breaker.ready(now, lane.budget.creates_ready(now)))
        }
        while ready and len(taken) < limit:
            for name in list(ready):
                lane = self.served[name]
                taken.append(lane.queue.popleft())
                lane.budget.take_create()
                lane.breaker.take(taken[-1].order_id)
                ready[name] -= 1
                if not ready[name] or not lane.queue:
                    del ready[name]
                if len(taken) == limit:
                    break
        return taken

    def next_take_in(self) -> float | None:
        """Seconds until some lane may be ready; None while all are empty."""
        now = self.monotonic()
        times = [
            max(lane.budget.next_create_at(now), lane.breaker.next_at())
            for lane in self.served.values()
            if lane.queue
        ]
        return max(0.001, min(times) - now) if times else None

    def give_back(self, placement: Placement, *, unused: bool = False) -> None:
        lane = self.served.get(placement.account)
        if lane is not None:
            lane.budget.give_back(unused=unused)
            lane.breaker.give_back(placement.order_id)

    def going_to_cas(self) -> list[UUID]:
        """What is in hand, but for what waits in a lane that rests: its breaker is open (R12), the
        venue has asked for a pause, or its clock is not known. There no CAS ends it."""
        now = self.monotonic()
        resting = {
            p.order_id
            for lane in self.served.values()
            if lane.breaker.is_open or now < lane.budget.paused_until or not lane.clock_trusted
            for p in lane.queue
        }
        return [order_id for order_id in self.held if order_id not in resting]

    def drop(self, ended: Sequence[Placement]) -> None:
        """Takes what ended while it waited out of the queues: it would fill the room of others."""
        ids = {p.order_id for p in ended} & self.held
        for account in {p.account for p in ended if p.order_id in ids}:
            if (lane := self.served.get(account)) is not None:
                gone = [p for p in lane.queue if p.order_id in ids]
                lane.queue = deque(p for p in lane.queue if p.order_id not in ids)
                for p in gone:
                    self.release(p)

    def adopted(self, accounts: Iterable[str]) -> None:
        """Orders of a dead process are UNKNOWN now: no sign of their venue's silence."""
        for account in accounts:
            if (lane := self.served.get(account)) is not None:
                lane.breaker.forgive()

    def pause(self, account: str, seconds: float) -> None:
        lane = self.served.get(account)
        if lane is not None:
            lane.budget.pause(self.monotonic(), seconds)

    def distrust_clock(self, account: str) -> None:
        """Nothing is sent before the offset has been measured again."""
        lane = self.served.get(account)
        if lane is not None:
            lane.clock_trusted = False

    def remove(self, account: str) -> None:
        lane = self.served.pop(account, None)
        if lane is not None:
            for p in lane.queue:
                self.release(p)


def say_turn(process: Process, account: str, turn: Turn | None) -> None:
    """One line of the log per change of an account's breaker."""
    if turn is not None:
        process.log.warning(
            turn.event, account=account, why=turn.why, failures=turn.failures,
            unknowns=turn.unknowns,
        )  # fmt: skip


def request_of(p: Placement) -> PlaceRequest:
    """What the CAS has stored, as the door takes it."""
    assert p.terms is not None
    assert p.signed_at_ms is not None
    assert p.window_ms is not None
    return PlaceRequest(p.account, p.terms, p.client_order_id, p.signed_at_ms, p.window_ms)
