"""PURE: the records that a producer of its own writes to `orders.commands`, by the documented
contract (api.md's place.v1 and cancel.v1; docs/load.md shows one).

Written without the house's models, as any other program would: a test holds every record against
the executor's decoder.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from orderonce_cli.load.orders import Asked

COMMANDS, EVENTS, DLQ = "orders.commands", "orders.events", "orders.dlq"
TOPICS = (COMMANDS, EVENTS, "orders.fills", DLQ)

_compact: Callable[[object], str] = json.JSONEncoder(separators=(",", ":")).encode
Headers = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Command:
    """One record: Kafka's key is the account, so that an account's orders keep their order."""

    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True)
class Sender:
    """Who places: the client's name spans the space of keys."""

    client: str
    venue: str


def place(
    sender: Sender, order_id: str, key: str, asked: Asked, accepted_at: str, expires_at: str
) -> Command:
    """place.v1. Times are RFC 3339 in UTC with microseconds; `expires_at` is the last moment at
    which the order may be sent."""
    body: dict[str, Any] = {
        "schema": "place.v1",
        "order_id": order_id,
        "client": sender.client,
        "key": key,
        "account": asked.account,
        "venue": sender.venue,
        "symbol": asked.symbol,
        "side": asked.side,
        "type": asked.type,
        "quantity": asked.quantity,
        "price": asked.price,
        "time_in_force": asked.time_in_force,
        "post_only": False,
        "client_tag": None,
        "seq": 1,
        "accepted_at": accepted_at,
        "expires_at": expires_at,
    }
    return _command(body, _place_hash(body), deadline=expires_at)


def cancel(
    sender: Sender, order_id: str, key: str, placed: tuple[str, Asked], accepted_at: str
) -> Command:
    """cancel.v1 of an order; `placed` is the idempotency key and the terms of its place."""
    place_key, asked = placed
    body: dict[str, Any] = {
        "schema": "cancel.v1",
        "order_id": order_id,
        "client": sender.client,
        "key": key,
        "account": asked.account,
        "venue": sender.venue,
        "symbol": asked.symbol,
        "place_key": place_key,
        "seq": 2,
        "accepted_at": accepted_at,
    }
    digest = _hash("cancel.v1", sender.client, key, asked.account, order_id)
    return _command(body, digest, deadline="")


def _command(body: dict[str, Any], payload_hash: str, deadline: str) -> Command:
    values = {
        "schema": body["schema"],
        "order_id": body["order_id"],
        "account": body["account"],
        "venue": body["venue"],
        "client": body["client"],
        "key": body["key"],
        "key_id": "",  # no API key asked for it
        "accept_seq": "",  # nor does the order API know it
        "seq": str(body["seq"]),
        "deadline": deadline,
        "timeline": "",
        "payload_hash": payload_hash,
        "traceparent": _traceparent(body["order_id"]),
    }
    headers = [(name, value.encode()) for name, value in values.items()]
    return Command(body["account"].encode(), _compact(body).encode(), headers)


def _place_hash(body: dict[str, Any]) -> str:
    """SHA-256 over what was asked for, amounts without trailing zeros."""
    price = None if body["price"] is None else _canonical(body["price"])
    return _hash(
        body["schema"], body["client"], body["key"], body["account"], body["venue"],
        body["symbol"], body["side"], body["type"], _canonical(body["quantity"]), price,
        body["time_in_force"], body["post_only"], body["client_tag"], body["expires_at"],
    )  # fmt: skip


def _hash(*parts: object) -> str:
    return hashlib.sha256(_compact(parts).encode()).hexdigest()


def _canonical(amount: str) -> str:
    plain = format(Decimal(amount), "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _traceparent(order_id: str) -> str:
    """A W3C trace of the order's own: its id is the trace's."""
    trace = order_id.replace("-", "")
    return f"00-{trace}-{trace[:15]}1-00"
