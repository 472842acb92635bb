"""PURE. What the API answered, as typed values. Members that this version does not know are let
pass: a newer API must not break an older bot.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply as far as it matters here."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def members(self) -> dict[str, Any]:
        """The JSON object of the body; empty when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an order ended without a fill; `code` is of the closed list in docs/reasons.md."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Fee:
    """What the venue took; negative for a rebate."""

    asset: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    """One order as it stands. `final` tells whether its status can still change; `unknown` is not
    final and must not be sent again under another key.
    """

    order_id: str
    client_order_id: str
    idempotency_key: str
    account: str
    symbol: str
    side: str
    type: str
    status: str
    final: bool
    reason: Reason | None
    quantity: Decimal | None
    quote_quantity: Decimal | None
    price: Decimal | None
    filled_quantity: Decimal
    average_price: Decimal | None
    fees: tuple[Fee, ...]
    venue_order_id: str | None
    client_tag: str | None
    parked: bool
    accepted_at: datetime
    sent_at: datetime | None
    updated_at: datetime
    expires_at: datetime
    version: int


@dataclass(frozen=True, slots=True)
class Placed:
    """The acceptance. `replayed`: it was given before, to the same key. `order` is there when the
    reply waited and the order had settled.
    """

    order_id: str
    client_order_id: str
    accepted_at: datetime
    expires_at: datetime
    replayed: bool
    order: Order | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """A cancel that was accepted; the order itself tells whether it still filled."""

    order_id: str
    replayed: bool


@dataclass(frozen=True, slots=True)
class Event:
    """One change of an order's state."""

    version: int
    status: str
    final: bool
    reason: Reason | None
    filled_quantity: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class Fill:
    """One trade at the venue; `cost` in the quote asset."""

    trade_id: str
    quantity: Decimal
    price: Decimal
    cost: Decimal
    fees: tuple[Fee, ...]
    liquidity: str
    traded_at: datetime


@dataclass(frozen=True, slots=True)
class Instrument:
    """What may be traded and in which steps."""

    symbol: str
    base: str
    quote: str
    tick_size: Decimal
    step_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    min_notional: Decimal
    reference_price: Decimal | None


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of a list; `next_cursor` is None on the last page."""

    items: tuple[Item, ...]
    next_cursor: str | None


def read_placed(reply: Reply) -> Placed:
    """A 200 shows the order, a 202 its acceptance."""
    members = reply.members()
    return Placed(
        members["order_id"],
        members["client_order_id"],
        _time(members["accepted_at"]),
        _time(members["expires_at"]),
        replayed(reply),
        read_order(members) if reply.status == 200 else None,
    )


def replayed(reply: Reply) -> bool:
    return reply.headers.get("idempotent-replayed") == "true"


def read_order(members: Mapping[str, Any]) -> Order:
    """An order as every route shows it."""
    return Order(
        members["order_id"],
        members["client_order_id"],
        members["idempotency_key"],
        members["account"],
        members["symbol"],
        members["side"],
        members["type"],
        members["status"],
        members["final"],
        _reason(members["reason"]),
        _amount(members.get("quantity")),
        _amount(members.get("quote_quantity")),
        _amount(members["price"]),
        Decimal(members["filled_quantity"]),
        _amount(members["average_price"]),
        _fees(members["fees"]),
        members["venue_order_id"],
        members["client_tag"],
        members.get("parked", False),
        _time(members["accepted_at"]),
        _time(members["sent_at"]) if members["sent_at"] else None,
        _time(members["updated_at"]),
        _time(members["expires_at"]),
        members["version"],
    )


def read_event(members: Mapping[str, Any]) -> Event:
    return Event(
        members["version"],
        members["status"],
        members["final"],
        _reason(members["reason"]),
        Decimal(members["filled_quantity"]),
        _time(members["at"]),
    )


def read_fill(members: Mapping[str, Any]) -> Fill:
    return Fill(
        members["trade_id"],
        Decimal(members["quantity"]),
        Decimal(members["price"]),
        Decimal(members["cost"]),
        _fees(members["fees"]),
        members["liquidity"],
        _time(members["traded_at"]),
    )


def read_instrument(members: Mapping[str, Any]) -> Instrument:
    return Instrument(
        members["symbol"],
        members["base"],
        members["quote"],
        Decimal(members["tick_size"]),
        Decimal(members["step_size"]),
        Decimal(members["min_quantity"]),
        Decimal(members["max_quantity"]),
        Decimal(members["min_notional"]),
        _amount(members["reference_price"]),
    )


def _reason(members: Mapping[str, str] | None) -> Reason | None:
    return None if members is None else Reason(members["code"], members["detail"])


def _fees(rows: list[Mapping[str, str]]) -> tuple[Fee, ...]:
    return tuple(Fee(row["asset"], Decimal(row["amount"])) for row in rows)


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
