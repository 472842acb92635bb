"""Commands on `orders.commands`: place.v1, place.v2 and cancel.v1. One key space per client over
all commands.

place.v2 is place.v1 with `quote_quantity` in the place of `quantity`, and only an order that has
one is written as such: an executor that does not know it parks its partition until it is upgraded,
where an unknown member of place.v1 would have made a dead letter of a good order.

A producer of its own (a load test) may write places directly: the executor gives it the same
guarantee by (client, key) and by order id. `timeline` and `accept_seq` may then be null.
"""

import hashlib
import json
import re
from decimal import Decimal
from typing import Annotated, Final, Literal, Self
from uuid import UUID

import orjson
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

PLACE_SCHEMA: Final = "place.v1"
QUOTE_SCHEMA: Final = "place.v2"
CANCEL_SCHEMA = "cancel.v1"
_SCHEMA_NAME = re.compile(r"[a-z_-]+\.v[0-9]+", re.ASCII)


def place_schema(quote_quantity: Decimal | None) -> Literal["place.v1", "place.v2"]:
    """The lowest schema that can say it."""
    return PLACE_SCHEMA if quote_quantity is None else QUOTE_SCHEMA


class PlaceCommand(Record):
    """Place one order. `expires_at` is the last moment at which it may be sent. `seq` is 1: the
    first on its order. `quantity` (place.v1) or, for a market buy, `quote_quantity` (place.v2).
    """

    schema_: Literal["place.v1", "place.v2"] = Field(default="place.v1", alias="schema")
    order_id: UUID
    client: Name
    key: Key
    key_id: Text | None = None
    account: Name
    venue: Name
    symbol: Symbol
    side: Side
    type: OrderType
    quantity: Amount | None = None
    quote_quantity: Amount | None = None
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
        by_quote = self.quote_quantity is not None
        if by_quote == (self.quantity is not None):
            raise ValueError("an order has a quantity or a quote_quantity")
        if by_quote != (self.schema_ == QUOTE_SCHEMA):
            raise ValueError("place.v1 has a quantity, place.v2 a quote_quantity")
        if by_quote and (self.type is not OrderType.MARKET or self.side is not Side.BUY):
            raise ValueError("only a market buy has a quote_quantity")
        amounts = (self.quantity, self.quote_quantity, self.price)
        if any(amount is not None and amount <= 0 for amount in amounts):
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
            self.quote_quantity,
        )

    def encode(self) -> bytes:
        """Without the amount that this schema does not have: a reader refuses unknown members."""
        other = "quantity" if self.schema_ == QUOTE_SCHEMA else "quote_quantity"
        return self.model_dump_json(by_alias=True, exclude={other}).encode()

    def payload_hash(self) -> str:
        """SHA-256 (hex) of what was asked for: equal for a repeated command, different for another
        payload (F9).
        """
        amount = self.quantity if self.quote_quantity is None else self.quote_quantity
        assert amount is not None, "the validator wants one of them"
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
            canonical_amount(amount),
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
COMMANDS_BY_NAME: dict[str, type[PlaceCommand] | type[CancelCommand]] = {
    PLACE_SCHEMA: PlaceCommand,
    QUOTE_SCHEMA: PlaceCommand,
    CANCEL_SCHEMA: CancelCommand,
}


_compact = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps makes one a call


def _hash(*parts: object) -> str:
    """JSON array, so that no separator can be ambiguous. In ASCII: orjson, which is five times as
    fast, writes the same bytes as long as no character has to be escaped for that."""
    text = orjson.dumps(parts)
    if not text.isascii() or b"\x7f" in text:
        text = _compact(parts).encode()
    return hashlib.sha256(text).hexdigest()


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
        case str(name) if name in COMMANDS_BY_NAME:
            return COMMANDS_BY_NAME[name].model_validate(body)
        case str(other) if _SCHEMA_NAME.fullmatch(other):
            raise UnknownSchemaError(f"unknown command schema {other!r}")
        case _:
            raise ValueError("a command names its schema, like place.v1")
