"""PURE: what the stream has told of one order so far, as one word.

Reports of an order come in bursts, sometimes twice or out of order. They are added up before they
are judged, so that a burst costs one transaction: the most that was filled, the most final status,
each trade once. `core.decide` judges the word like any other.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal

from orderonce_shared.domain.money import add
from orderonce_shared.domain.venue import VenueFill, VenueOrder, VenueStatus

# Of two words about one order the one with the higher rank is newer: nothing leaves an end.
_RANK = {
    VenueStatus.OPEN: 0,
    VenueStatus.REJECTED: 1,
    VenueStatus.EXPIRED: 1,
    VenueStatus.CANCELED: 1,
    VenueStatus.FILLED: 2,
}


@dataclass(slots=True)
class Tale:
    """One order's reports. `word` is all of them together, without fills."""

    word: VenueOrder
    fills: dict[str, VenueFill] = field(default_factory=dict)  # by trade id; a repeat adds nothing
    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    recorded: set[str] = field(default_factory=set)  # trade ids that were handed on

    @classmethod
    def begin(cls, order: VenueOrder) -> "Tale":
        tale = cls(replace(order, fills=()))
        tale.hear(order)
        return tale

    def hear(self, order: VenueOrder) -> None:
        """One report more."""
        self.learn(order.fills)
        word = self.word
        more = order.filled_quantity > word.filled_quantity
        ahead = _RANK[order.status] > _RANK[word.status]
        if more or ahead:
            self.word = replace(
                word,
                status=order.status if ahead else word.status,
                filled_quantity=order.filled_quantity if more else word.filled_quantity,
                filled_cost=order.filled_cost if more else word.filled_cost,
                raw=order.raw,
            )

    def learn(self, fills: tuple[VenueFill, ...]) -> None:
        """Trades of this order, from a report or asked for."""
        for fill in fills:
            if fill.trade_id not in self.fills:
                self.fills[fill.trade_id] = fill
                self.quantity, self.cost = (
                    add(self.quantity, fill.quantity),
                    add(self.cost, fill.cost),
                )

    @property
    def whole(self) -> bool:
        """Whether these trades are all that the order counts."""
        word = self.word
        return (self.quantity, self.cost) == (word.filled_quantity, word.filled_cost)

    def fresh(self) -> tuple[VenueFill, ...]:
        """Trades that were not handed on yet."""
        return tuple(f for name, f in self.fills.items() if name not in self.recorded)

    def handed_on(self, fills: tuple[VenueFill, ...]) -> None:
        self.recorded.update(fill.trade_id for fill in fills)
