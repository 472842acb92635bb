"""Commands on `orders.commands`: place.v1 and cancel.v1. One key space per client over all
commands.

A producer of its own (a load test) may write place.v1 directly: the executor gives it the same
guarantee by (client, key) and by order id. `timeline` and `accept_seq` may then be null.
"""

import hashlib
import json
import re
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, StrictBool, StrictInt, StringConstraints, model_validator

from orderonce_shared.contracts.topics import Headers
from orderonce_shared.contracts.wire import (
    Amount,
    Count,
    Record,
    Text,
    Timestamp,
    loads_strict,
    render_time,
)
from orderonce_shared.domain.money import canonical_amount
from orderonce_shared.domain.order import OrderTerms, OrderType, Side, TimeInForce

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:\-]{16,64}$")]
Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{1,20}/[A-Z0-9]{1,20}$")]

PLACE_SCHEMA = "place.v1"
CANCEL_SCHEMA = "cancel.v1"
_SCHEMA_NAME = re.compile(r"[a-z_-]+\.v[0-9]+", re.ASCII)


class PlaceCommand(Record):
    """Place one order. `expires_at` is the last moment at which it may be sent. `seq` is 1: the
    first on its order.
    """

    schema_: Literal["place.v1"] = Field(default="place.v1", alias="schema")
    order_id: UUID
    client: Name
    key: Key
    key_id: Text | None = None
    account: Name
    venue: Name
    symbol: Symbol
    side: Side
    type: OrderType
    quantity: Amount
    price: Amount | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: StrictBool = False
    client_tag: Text | None = None
    accept_seq: Count | None = None
    seq: Literal[1] = 1
    accepted_at: Timestamp
    expires_at: Timestamp
    timeline: Text | None = None

    @model_validator(mode="after")
    def _terms_fit(self) -> Self:
        """What the order API refuses too (http.PlaceBody), and the executor's table with it."""
        if self.quantity <= 0 or (self.price is not None and self.price <= 0):
            raise ValueError("quantity and price are above zero")
        if (self.type is OrderType.LIMIT) != (self.price is not None):
            raise ValueError("a limit order has a price, a market order none")
        waits = self.time_in_force is TimeInForce.GTC
        if self.type is OrderType.MARKET and (self.post_only or not waits):
            raise ValueError("a market order is gtc and not post-only")
        if self.post_only and not waits:
            raise ValueError("a post-only order is gtc")
        return self

    def terms(self) -> OrderTerms:
        return OrderTerms(
            self.account,
            self.symbol,
            self.side,
            self.type,
            self.quantity,
            self.price,
            self.time_in_force,
            self.post_only,
        )

    def payload_hash(self) -> str:
        """SHA-256 (hex) of what was asked for: equal for a repeated command, different for another
        payload (F9).
        """
        price = None if self.price is None else canonical_amount(self.price)
        return _hash(
            self.schema_,
            self.client,
            self.key,
            self.account,
            self.venue,
            self.symbol,
            self.side.value,
            self.type.value,
            canonical_amount(self.quantity),
            price,
            self.time_in_force.value,
            self.post_only,
            self.client_tag,
            render_time(self.expires_at),
        )


class CancelCommand(Record):
    """Cancel one order. It names the place's key too: a cancel that arrives first makes the order's
    row (R10).
    """

    schema_: Literal["cancel.v1"] = Field(default="cancel.v1", alias="schema")
    order_id: UUID
    client: Name
    key: Key
    key_id: Text | None = None
    account: Name
    venue: Name
    symbol: Symbol
    place_key: Key
    accept_seq: Count | None = None
    seq: Annotated[StrictInt, Field(ge=2, le=2**31 - 1)]
    accepted_at: Timestamp
    timeline: Text | None = None

    def payload_hash(self) -> str:
        return _hash(self.schema_, self.client, self.key, self.account, str(self.order_id))


Command = PlaceCommand | CancelCommand


_compact = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps makes one a call


def _hash(*parts: object) -> str:
    """JSON array, so that no separator can be ambiguous."""
    return hashlib.sha256(_compact(parts).encode()).hexdigest()


def command_headers(command: Command, traceparent: str) -> Headers:
    """The headers of topics.COMMAND_HEADERS; an absent value is an empty string."""
    deadline = render_time(command.expires_at) if isinstance(command, PlaceCommand) else ""
    values: dict[str, object] = {
        "schema": command.schema_,
        "order_id": command.order_id,
        "account": command.account,
        "venue": command.venue,
        "client": command.client,
        "key": command.key,
        "key_id": command.key_id or "",
        "accept_seq": "" if command.accept_seq is None else command.accept_seq,
        "seq": command.seq,
        "deadline": deadline,
        "timeline": command.timeline or "",
        "payload_hash": command.payload_hash(),
        "traceparent": traceparent,
    }
    return [(name, str(value).encode()) for name, value in values.items()]


class UnknownSchemaError(ValueError):
    """A schema name or version that this build does not know: a rolling upgrade must not discard
    good orders.
    """


def decode_command(schema: str | None, raw: bytes) -> Command:
    """Bytes of one record to a command. `schema` is the header; without one the body's member
    counts.

    Raises UnknownSchemaError for the name of a schema not listed here, ValueError for bytes that
    are not such a record: whoever can write JSON could stop a partition for good otherwise.
    """
    body = loads_strict(raw)
    if not isinstance(body, dict):
        raise ValueError("a command is a JSON object")
    match schema or body.get("schema"):
        case "place.v1":
            return PlaceCommand.model_validate(body)
        case "cancel.v1":
            return CancelCommand.model_validate(body)
        case str(other) if _SCHEMA_NAME.fullmatch(other):
            raise UnknownSchemaError(f"unknown command schema {other!r}")
        case _:
            raise ValueError("a command names its schema, like place.v1")
