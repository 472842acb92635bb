"""VERB: follow an open order to its end (R9), by REST with overlap. The stream (`stream.py`) is
faster; this is what makes sure, at a slower pace while the account's stream is up.

One sweep of the account's trades per symbol tells which orders have moved, and only those are asked
for; every order is asked for on its own as well, less and less often, since an end without a fill
shows in no trade. Ended orders are looked at once more after a while: a late fill corrects the
state and is an incident. A process that dies loses only its place in the sweep: its heir asks for
each order once.
"""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from orderonce_shared.domain.lifecycle import FINAL, State
from orderonce_shared.domain.venue import Absent, Found
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.process import Process
from orderonce_shared.runtime.tracing import trace_id
from orderonce_shared.venues.errors import VenueUnreachable

from orderonce_executor.core import WatchEnded
from orderonce_executor.lanes import Lane, Lanes
from orderonce_executor.look import Looker
from orderonce_executor.placement import Placement
from orderonce_executor.ports import Due
from orderonce_executor.record import Hearing, Recorder
from orderonce_executor.store import PgStore

AT_ONCE = 16
ROWS = 500
OVERLAP_MS = 10_000  # trades may become visible late; what was seen already is skipped by id
ASK_FIRST_S = 0.5
ASK_LONGEST_S = 5.0
# Behind a stream that tells by itself, REST only looks for what it might have missed.
SWEEP_BEHIND_S = 5.0  # well inside the overlap
ASK_BEHIND_FIRST_S = 2.0
ASK_BEHIND_LONGEST_S = 30.0
FOLLOWED_MAX = 50_000  # orders remembered for the sweep; the others are asked for one by one
SWEEP_WEIGHT = 4.0

Market = tuple[str, str]  # (account, symbol)


@dataclass(slots=True)
class Followed:
    """The open orders of one account and symbol that the sweep knows, by the venue's id."""

    orders: dict[str, UUID] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)  # trade ids of the overlap, with their time
    swept_at: float = 0.0  # monotonic


@dataclass(slots=True)
class Tracker:
    store: PgStore
    looker: Looker
    recorder: Recorder
    lanes: Lanes
    process: Process
    clock: Clock
    markets: dict[Market, Followed] = field(default_factory=dict)
    busy: dict[UUID, asyncio.Task[None]] = field(default_factory=dict)
    asked: dict[UUID, int] = field(default_factory=dict)

    async def step(self) -> None:
        """Sweeps the markets with open orders, then asks for the orders that are due."""
        for market, followed in list(self.markets.items()):
            if followed.orders:
                await self._sweep(market, followed)
            else:
                del self.markets[market]
        room = AT_ONCE - len(self.busy)
        if room > 0:
            states = (State.OPEN, *FINAL)
            for row in await self.store.due(Due(states, list(self.busy), room)):
                self.busy[row.order_id] = asyncio.create_task(self._ask(row))

    async def _sweep(self, market: Market, followed: Followed) -> None:
        lane = self.lanes.served.get(market[0])
        now = self.clock.monotonic()
        if lane is None or not lane.budget.may_poll(now):
            return
        if lane.stream_up and now - followed.swept_at < SWEEP_BEHIND_S:
            return
        followed.swept_at = now
        lane.budget.take_question(now, SWEEP_WEIGHT)
        try:
            moved = await self._moved(lane, market[1], followed)
        except VenueUnreachable as error:
            self.process.health.trouble(f"follow {market[0]}", str(error))
            return
        self.process.health.fine(f"follow {market[0]}")
        if moved:
            await self.store.postpone(moved, [0.0] * len(moved))

    async def _moved(self, lane: Lane, symbol: str, followed: Followed) -> list[UUID]:
        """Orders of which a trade was seen for the first time."""
        newest = max(followed.seen.values(), default=0)
        since = (newest or await lane.door.time_ms()) - OVERLAP_MS
        trades = await lane.door.trades(symbol, since_ms=since)
        moved: dict[UUID, None] = {}
        for trade in trades:
            order_id = followed.orders.get(trade.venue_order_id)
            if trade.trade_id not in followed.seen and order_id is not None:
                moved[order_id] = None
            followed.seen[trade.trade_id] = int(trade.traded_at.timestamp() * 1000)
        newest = max(followed.seen.values(), default=0)
        for trade_id, at in list(followed.seen.items()):
            if at < newest - 2 * OVERLAP_MS:
                del followed.seen[trade_id]
        return list(moved)

    async def _ask(self, placement: Placement) -> None:
        ask = self._ask_open if placement.state is State.OPEN else self._ask_ended
        # After an error the row stays due: the next step asks again.
        try:
            about = {
                "order_id": str(placement.order_id),
                "trace_id": trace_id(placement.traceparent),
            }
            await self.process.attempt("follow-failed", ask(placement), **about)
        finally:
            self.busy.pop(placement.order_id, None)

    async def _ask_open(self, placement: Placement) -> None:
        _, row = await self.looker.look(placement)
        if row is not None and row.state is State.OPEN:
            self._follow(row)
            await self._rest(row)
        else:
            self._forget(placement)

    async def _ask_ended(self, placement: Placement) -> None:
        """Once more after the end. Found: what it shows is merged. Then the row is settled for
        good."""
        if placement.attempt == 0:
            await self.recorder.hear(Hearing(placement, WatchEnded()))
            return
        verdict, row = await self.looker.look(placement)
        if row is None or not isinstance(verdict, Found | Absent):
            await self.store.postpone([placement.order_id], [ASK_LONGEST_S])
        elif row.version == placement.version:
            await self.recorder.hear(Hearing(row, WatchEnded()))

    async def _rest(self, row: Placement) -> None:
        count = self.asked.get(row.order_id, 0)
        self.asked[row.order_id] = count + 1
        lane = self.lanes.served.get(row.account)
        behind = lane is not None and lane.stream_up
        first = ASK_BEHIND_FIRST_S if behind else ASK_FIRST_S
        longest = ASK_BEHIND_LONGEST_S if behind else ASK_LONGEST_S
        pause = min(first * 1.5 ** min(count, 10), longest)
        await self.store.postpone([row.order_id], [pause])

    def _follow(self, row: Placement) -> None:
        assert row.venue_order_id is not None
        if len(self.asked) < FOLLOWED_MAX:
            market = self.markets.setdefault((row.account, row.symbol), Followed())
            market.orders[row.venue_order_id] = row.order_id

    def _forget(self, row: Placement) -> None:
        self.asked.pop(row.order_id, None)
        market = self.markets.get((row.account, row.symbol))
        if market is not None and row.venue_order_id is not None:
            market.orders.pop(row.venue_order_id, None)

    async def finish(self) -> None:
        if self.busy:
            await asyncio.wait(list(self.busy.values()))
