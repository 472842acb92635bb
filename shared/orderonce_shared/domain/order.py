"""What an order is: the terms that a client asked for, fixed at acceptance and never changed
afterwards.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    """How long the venue keeps an order: until canceled, or only what fills at once, or all at once
    or nothing.
    """

    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"


@dataclass(frozen=True, slots=True)
class Instrument:
    """The rules of one symbol at one venue. Amounts are exact; `reference_price` is a mid price
    with its time. `quote_step` is the smallest part of the quote asset that the venue takes; None
    while it is not known, and then the venue is the judge.
    """

    venue: str
    symbol: str
    base: str
    quote: str
    tick_size: Decimal
    step_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    min_notional: Decimal
    reference_price: Decimal | None = None
    reference_at: datetime | None = None
    quote_step: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """The economics of one order. `price` is None for a market order, `post_only` is for limit GTC
    alone. A market buy says how much in one of two ways: `quantity` of the base asset, or
    `quote_quantity`, what it spends of the quote asset; the other one is None.
    """

    account: str
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal | None
    price: Decimal | None
    time_in_force: TimeInForce
    post_only: bool
    quote_quantity: Decimal | None = None

    @property
    def may_rest(self) -> bool:
        """Whether the venue may keep it in its book; the others end as soon as they arrive."""
        return self.type is OrderType.LIMIT and self.time_in_force is TimeInForce.GTC
