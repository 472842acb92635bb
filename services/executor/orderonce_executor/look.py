"""VERB: ask the venue for one order and record what it shows. Used by all who wonder: resolver,
follower, canceller."""

from dataclasses import dataclass

from orderonce_shared.domain.venue import (
    Absent,
    CannotAsk,
    FindVerdict,
    Found,
    VenueFill,
    VenueOrder,
)
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.process import Process
from orderonce_shared.venues.errors import VenueUnreachable

from orderonce_executor.core import Seen
from orderonce_executor.lanes import Lanes
from orderonce_executor.metrics import Metrics
from orderonce_executor.placement import Placement
from orderonce_executor.ports import Venue
from orderonce_executor.record import Hearing, Recorder


@dataclass(slots=True)
class Looker:
    lanes: Lanes
    recorder: Recorder
    process: Process
    clock: Clock
    metrics: Metrics

    def door(self, placement: Placement) -> Venue | None:
        lane = self.lanes.served.get(placement.account)
        return lane.door if lane is not None else None

    async def take_turn(self, placement: Placement, weight: float = 1.0) -> None:
        """Waits for the budget, which keeps a reserve for this."""
        lane = self.lanes.served.get(placement.account)
        if lane is not None:
            wait = lane.budget.take_question(self.clock.monotonic(), weight)
            if wait:
                await self.process.pause(wait)

    async def find(self, placement: Placement) -> FindVerdict:
        """The ladder, from the last attempt's stamp on."""
        door = self.door(placement)
        if door is None:
            return CannotAsk("the account is not served here", {})
        assert placement.signed_at_ms is not None
        await self.take_turn(placement)
        span = self.process.tracing.begin(
            "look up at venue", placement.traceparent, "client", venue=placement.venue,
            order_id=placement.order_id, state=placement.state.value,
        )  # fmt: skip
        verdict = await door.find(
            placement.symbol, placement.client_order_id, signed_at_ms=placement.signed_at_ms
        )
        span.end(verdict=type(verdict).__name__.lower())
        self.metrics.look_ups.labels(type(verdict).__name__.lower()).inc()
        return verdict

    async def look(self, placement: Placement) -> tuple[FindVerdict, Placement | None]:
        """Asks, and records what was found. Returns the verdict and the row as it is then."""
        verdict = await self.find(placement)
        match verdict:
            case Found(order):
                return verdict, await self.show(placement, order)
            case Absent() | CannotAsk():
                return verdict, placement

    async def show(self, placement: Placement, order: VenueOrder) -> Placement | None:
        """Records an order as the venue shows it, with its fills."""
        fills, known = await self._fills(placement, order)
        return await self.recorder.hear(Hearing(placement, Seen(order, known), fills))

    async def _fills(
        self, placement: Placement, order: VenueOrder
    ) -> tuple[tuple[VenueFill, ...], bool]:
        """(fills, whether they are all that the order counts)."""
        if order.filled_quantity == 0 or order.fills:
            return order.fills, True
        door = self.door(placement)
        if door is None:
            return (), False
        await self.take_turn(placement)
        try:
            fills = await door.order_fills(order.symbol, order.venue_order_id)
        except VenueUnreachable:
            return (), False
        return tuple(fills), sum(fill.quantity for fill in fills) == order.filled_quantity
