"""What can be heard from a venue. Closed unions: whoever matches on them ends in `assert_never`.

A verdict says what the words prove, not how they arrived. Only `Refused`, `RefusedUnprocessed` and
`Unsent` prove that an attempt left nothing at the venue; `Silence` proves nothing, whatever
exception or HTTP status came with it.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from orderonce_shared.domain.order import OrderTerms, Side

Raw = dict[str, Any]  # the venue's own words, kept as evidence; amounts in it are strings


class VenueStatus(StrEnum):
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"  # ended by the venue's own rule: an IOC remainder, a FOK that did not fit
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Fee:
    """A positive amount was paid; a negative one is a rebate."""

    asset: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class VenueFill:
    """One trade at the venue. Natural key: (venue, account, symbol, trade_id, venue_order_id,
    side).
    """

    symbol: str
    trade_id: str
    venue_order_id: str
    side: Side
    quantity: Decimal
    price: Decimal
    cost: Decimal  # price * quantity as the venue states it (quote asset)
    fees: tuple[Fee, ...]
    liquidity: str  # "maker" | "taker"
    traded_at: datetime
    raw: Raw = field(compare=False, default_factory=dict)


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order as the venue shows it. `filled_cost` is cumulative, in the quote asset."""

    symbol: str
    venue_order_id: str
    client_order_id: str
    status: VenueStatus
    filled_quantity: Decimal
    filled_cost: Decimal
    raw: Raw = field(compare=False, default_factory=dict)
    # The fills that came with this answer: all of them (they sum up to the cumulative numbers) or
    # none.
    fills: tuple[VenueFill, ...] = ()


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """One signed attempt: what goes out, with the stamp and window that were stored before (rule
    R4).
    """

    account: str
    terms: OrderTerms
    client_order_id: str
    signed_at_ms: int  # on the venue's clock
    window_ms: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The venue has the order, and this is how it stands."""

    order: VenueOrder


@dataclass(frozen=True, slots=True)
class Refused:
    """A parsed refusal that is final: this attempt left nothing at the venue."""

    code: str
    detail: str
    raw: Raw


@dataclass(frozen=True, slots=True)
class RefusedUnprocessed:
    """A parsed refusal from before processing (429, -1021, -1008 and their kin): send again
    later.
    """

    code: str
    detail: str
    raw: Raw
    pause_ms: int
    clock_is_off: bool = (
        False  # the stamp was outside the window: measure the offset before the next send
    )


@dataclass(frozen=True, slots=True)
class Unsent:
    """No byte of the request was written."""

    detail: str
    unreachable: bool = field(default=False, compare=False)  # no connection came to stand


@dataclass(frozen=True, slots=True)
class DuplicateId:
    """The venue says that this client id is in use: look it up before any conclusion."""

    detail: str
    raw: Raw


@dataclass(frozen=True, slots=True)
class Silence:
    """Anything that proves nothing: a time-out, 5xx, a cut connection, half a body, 200 without an
    id.
    """

    detail: str
    raw: Raw


PlaceVerdict = Acknowledged | Refused | RefusedUnprocessed | Unsent | DuplicateId | Silence


@dataclass(frozen=True, slots=True)
class Found:
    order: VenueOrder


@dataclass(frozen=True, slots=True)
class Absent:
    """Every rung of the ladder answered, and none knew the order. Whether that counts is rule R7's
    business.
    """

    raw: Raw


@dataclass(frozen=True, slots=True)
class CannotAsk:
    """At least one rung gave no answer: never to be read as "not found"."""

    detail: str
    raw: Raw


FindVerdict = Found | Absent | CannotAsk


@dataclass(frozen=True, slots=True)
class NoSuchOrder:
    """The venue knows no open order of that id: never placed, not visible yet, or already ended."""

    raw: Raw


CancelVerdict = Found | NoSuchOrder | CannotAsk
