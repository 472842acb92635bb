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
    with its time.
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


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """The economics of one order. `price` is None for a market order, `post_only` is for limit GTC
    alone.
    """

    account: str
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    price: Decimal | None
    time_in_force: TimeInForce
    post_only: bool
