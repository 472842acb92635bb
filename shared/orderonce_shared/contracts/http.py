"""What bots and operators say to the order API over HTTP, and what it answers. One model per body.

An amount is a string, and no member is unknown. reading.py makes a model of a request's bytes.
"""

import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    model_validator,
)

from orderonce_shared.contracts.commands import Name, Symbol
from orderonce_shared.contracts.wire import Amount as WireAmount
from orderonce_shared.contracts.wire import Timestamp as WireTimestamp
from orderonce_shared.domain.order import OrderType, Side, TimeInForce

MAX_TAG = 64
MAX_NAME = 100
FIRST_YEAR, LAST_YEAR = 2000, 2100  # keeps every zone's arithmetic inside datetime's range

_AMOUNT_SCHEMA = {
    "type": "string",
    "pattern": r"^[0-9]{1,20}(\.[0-9]{1,18})?$",
    "examples": ["0.00100"],
    "description": "plain decimal notation, as a string",
}
_TIME_SCHEMA = {"type": "string", "format": "date-time", "examples": ["2026-11-22T10:00:05Z"]}


def _sensible(moment: datetime) -> datetime:
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"a time lies between the years {FIRST_YEAR} and {LAST_YEAR}")
    return moment.astimezone(UTC)


def _above_zero(amount: Decimal) -> Decimal:
    if amount == 0:
        raise ValueError("an amount here is above zero")
    return amount


def _printable(text: str) -> str:
    """No control, format, surrogate, private or unassigned characters: fit for logs and screens."""
    if text.isascii() and text.isprintable():  # nearly every one; no look at single characters
        return text
    if any(unicodedata.category(char).startswith("C") for char in text):
        raise ValueError("control and invisible characters are refused")
    return text


Amount = Annotated[WireAmount, WithJsonSchema(_AMOUNT_SCHEMA)]
PositiveAmount = Annotated[WireAmount, AfterValidator(_above_zero), WithJsonSchema(_AMOUNT_SCHEMA)]
SignedAmount = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
Moment = Annotated[WireTimestamp, AfterValidator(_sensible), WithJsonSchema(_TIME_SCHEMA)]
ShownTime = Annotated[str, WithJsonSchema(_TIME_SCHEMA)]
Tag = Annotated[StrictStr, Field(min_length=1, max_length=MAX_TAG), AfterValidator(_printable)]
Title = Annotated[StrictStr, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_printable)]
Scope = Literal["orders:read", "orders:write", "orders:cancel", "ledger:read", "admin"]


class Body(BaseModel):
    """A request's body: frozen, unknown members refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlaceBody(Body):
    """One order. `expires_at` is the last moment at which it may be sent to the venue. A market
    buy may give `quote_quantity`, what it spends of the quote asset, instead of `quantity`.
    """

    account: Name
    symbol: Symbol
    side: Side
    type: OrderType
    quantity: PositiveAmount | None = None
    quote_quantity: PositiveAmount | None = None
    price: PositiveAmount | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: StrictBool = False
    expires_at: Moment | None = None
    client_tag: Tag | None = None

    @model_validator(mode="after")
    def _says_how_much(self) -> "PlaceBody":
        if self.quote_quantity is not None:
            if self.type is not OrderType.MARKET or self.side is not Side.BUY:
                raise ValueError("quote_quantity: only a market buy takes one; give quantity")
            if self.quantity is not None:
                raise ValueError("quote_quantity: not beside quantity; give one of them")
        elif self.quantity is None:
            raise ValueError("quantity: needed (a market buy may give quote_quantity instead)")
        return self

    @model_validator(mode="after")
    def _fits_its_type(self) -> "PlaceBody":
        if self.type is OrderType.LIMIT and self.price is None:
            raise ValueError("price: a limit order needs one")
        if self.type is OrderType.MARKET:
            if self.price is not None:
                raise ValueError("price: a market order has none")
            if self.time_in_force is not TimeInForce.GTC:
                raise ValueError("time_in_force: a market order has none")
            if self.post_only:
                raise ValueError("post_only: a market order cannot be post-only")
        if self.post_only and self.time_in_force is not TimeInForce.GTC:
            raise ValueError("post_only: needs time_in_force gtc")
        return self


class CancelBody(Body):
    """Nothing is needed to cancel; an empty body or `{}`."""


class CreateKeyBody(Body):
    """A new API key. `accounts` of ["*"] means every account; a cap of null is no cap."""

    client: Name
    name: Title = "unnamed"
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=5)]
    accounts: Annotated[list[Name | Literal["*"]], Field(max_length=100)]
    max_quantity: PositiveAmount | None = None
    max_notional: PositiveAmount | None = None
    orders_per_second: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = None
    expires_at: Moment | None = None


class RevokeBody(Body):
    reason: Title | None = None


class AdmitAccountBody(Body):
    """One account at one venue, by our name. `venue_uid` is the venue's own id of its user."""

    account: Name
    venue: Name
    venue_uid: Title


class ReplayBody(Body):
    """Nothing is needed to replay; an empty body or `{}`."""


class DiscardBody(Body):
    reason: Title | None = None


class HaltBody(Body):
    reason: Title | None = None


class Shown(BaseModel):
    """An answer, as the documents describe it; the code renders answers from rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Acceptance(Shown):
    """The answer to a first accept, and byte for byte to every retry of it."""

    order_id: str
    client_order_id: str
    status: Literal["accepted"]
    accepted_at: ShownTime
    expires_at: ShownTime


class CancelAcceptance(Shown):
    order_id: str
    command: Literal["cancel"]
    status: Literal["accepted"]
    accepted_at: ShownTime


class ReasonShown(Shown):
    code: str
    detail: str


class FeeShown(Shown):
    asset: str
    amount: SignedAmount


Status = Literal[
    "accepted",
    "sending",
    "open",
    "filled",
    "canceled",
    "rejected",
    "lapsed",
    "denied",
    "not_placed",
    "unknown",
]


class OrderShown(Shown):
    """One order. Of `quantity` and `quote_quantity` (market buys alone) one is null: the order as
    it was asked for; what it came to stands in `filled_quantity`. A market order has no
    `time_in_force`. `parked`: accepted, and its record lies in the dead letters.
    """

    order_id: str
    client_order_id: str
    idempotency_key: str
    account: str
    venue: str
    symbol: str
    side: Side
    type: OrderType
    quantity: Amount | None
    quote_quantity: Amount | None
    price: Amount | None
    time_in_force: TimeInForce | None
    post_only: bool
    client_tag: str | None
    status: Status
    parked: bool
    final: bool
    reason: ReasonShown | None
    cancel_requested: bool
    venue_order_id: str | None
    filled_quantity: Amount
    average_price: Amount | None
    fees: list[FeeShown]
    accepted_at: ShownTime
    sent_at: ShownTime | None
    updated_at: ShownTime
    expires_at: ShownTime
    version: int


class OrderPage(Shown):
    orders: list[OrderShown]
    next_cursor: str | None


class EventShown(Shown):
    version: int
    status: Status
    final: bool
    reason: ReasonShown | None
    filled_quantity: Amount
    attempt: int
    cancel_requested: bool
    at: ShownTime


class EventPage(Shown):
    order_id: str
    events: list[EventShown]


class FillShown(Shown):
    trade_id: str
    venue_order_id: str
    side: Side
    quantity: Amount
    price: Amount
    cost: Amount
    fees: list[FeeShown]
    liquidity: Literal["maker", "taker"]
    traded_at: ShownTime


class FillPage(Shown):
    order_id: str
    fills: list[FillShown]


class AccountShown(Shown):
    account: str
    venue: str
    halted: bool
    halt_reason: str | None
    halted_at: ShownTime | None


class AccountPage(Shown):
    accounts: list[AccountShown]


class AdminAccountShown(AccountShown):
    venue_uid: str
    created_at: ShownTime


class AdminAccountPage(Shown):
    accounts: list[AdminAccountShown]


class HaltShown(AdminAccountShown):
    """`on_the_wire`: orders whose request may be at the venue already, as far as the API knows."""

    on_the_wire: list[str]


class InstrumentShown(Shown):
    symbol: str
    base: str
    quote: str
    tick_size: Amount
    step_size: Amount
    min_quantity: Amount
    max_quantity: Amount
    min_notional: Amount
    quote_step: Amount | None
    reference_price: Amount | None
    reference_at: ShownTime | None


class InstrumentPage(Shown):
    account: str
    venue: str
    instruments: list[InstrumentShown]


class WhoAmI(Shown):
    client: str
    kid: str
    scopes: list[Scope]
    accounts: list[str]
    max_quantity: Amount | None
    max_notional: Amount | None
    orders_per_second: int | None
    expires_at: ShownTime | None


class TimeShown(Shown):
    time: ShownTime


class KeyShown(Shown):
    kid: str
    client: str
    name: str
    env: str
    scopes: list[Scope]
    accounts: list[str]
    max_quantity: Amount | None
    max_notional: Amount | None
    orders_per_second: int | None
    status: Literal["active", "revoked"]
    created_at: ShownTime
    expires_at: ShownTime | None
    revoked_at: ShownTime | None
    revoked_reason: str | None


class KeyCreated(KeyShown):
    """`key` is shown this once."""

    key: str


class KeyPage(Shown):
    keys: list[KeyShown]


class FieldError(Shown):
    """Where in the body (a JSON pointer) or which parameter, and what is wrong with it."""

    pointer: str
    message: str


class Problem(BaseModel):
    """RFC 9457. Clients key on `type`; each type has a page at its own path."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    order_id: str | None = None
    code: str | None = None
    differs: list[str] | None = None
    errors: list[FieldError] | None = None
    transient: bool | None = None
