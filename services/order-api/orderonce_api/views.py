"""Rows to the JSON that clients see: amounts as text, times in RFC 3339, every member always
there.
"""

import base64
from datetime import datetime
from decimal import Decimal
from typing import Any

from orderonce_shared.contracts.topics import Headers
from orderonce_shared.contracts.wire import render_time
from orderonce_shared.domain.money import average_price, render_amount
from orderonce_shared.runtime.bearer import Caller

Json = dict[str, Any]
MAX_HEADERS = 64  # of a dead letter that are shown; ours have some twenty
MAX_HEADER_BYTES = 1_024


def _amount(value: Decimal | None) -> str | None:
    return None if value is None else render_amount(value)


def time(value: datetime) -> str:
    return render_time(value)


def _time(value: datetime | None) -> str | None:
    return None if value is None else render_time(value)


def _reason(row: Any) -> Json | None:
    if row["reason_code"] is None:
        return None
    return {"code": row["reason_code"], "detail": row["reason_detail"]}


def order(row: Any) -> Json:
    return {
        "order_id": str(row["order_id"]),
        "client_order_id": row["client_order_id"],
        "idempotency_key": row["key"],
        "account": row["account"],
        "venue": row["venue"],
        "symbol": row["symbol"],
        "side": row["side"],
        "type": row["type"],
        "quantity": _amount(row["quantity"]),
        "quote_quantity": _amount(row["quote_quantity"]),
        "price": _amount(row["price"]),
        "time_in_force": None if row["type"] == "market" else row["time_in_force"],
        "post_only": row["post_only"],
        "client_tag": row["client_tag"],
        "status": row["status"],
        "parked": row["parked"],
        "final": row["final"],
        "reason": _reason(row),
        "cancel_requested": row["cancel_requested"],
        "venue_order_id": row["venue_order_id"],
        "filled_quantity": _amount(row["filled_quantity"]),
        "average_price": _amount(average_price(row["filled_cost"], row["filled_quantity"])),
        "fees": row["fees"],
        "accepted_at": _time(row["accepted_at"]),
        "sent_at": _time(row["sent_at"]),
        "updated_at": _time(row["updated_at"]),
        "expires_at": _time(row["deadline"]),
        "version": row["version"],
    }


def accepted_event(row: Any) -> Json:
    """The first event of every order is its acceptance, which the API made itself."""
    denied = row["status"] == "denied" and row["version"] == 0
    return {
        "version": 0,
        "status": "denied" if denied else "accepted",
        "final": denied,
        "reason": _reason(row) if denied else None,
        "filled_quantity": "0",
        "attempt": 0,
        "cancel_requested": False,
        "at": _time(row["accepted_at"]),
    }


def event(row: Any) -> Json:
    return {
        "version": row["version"],
        "status": row["status"],
        "final": row["final"],
        "reason": _reason(row),
        "filled_quantity": _amount(row["filled_quantity"]),
        "attempt": row["attempt"],
        "cancel_requested": row["cancel_requested"],
        "at": _time(row["at"]),
    }


def fill(row: Any) -> Json:
    return {
        "trade_id": row["trade_id"],
        "venue_order_id": row["venue_order_id"],
        "side": row["side"],
        "quantity": _amount(row["quantity"]),
        "price": _amount(row["price"]),
        "cost": _amount(row["cost"]),
        "fees": row["fees"],
        "liquidity": row["liquidity"],
        "traded_at": _time(row["traded_at"]),
    }


def account(row: Any) -> Json:
    return {
        "account": row["account"],
        "venue": row["venue"],
        "halted": row["halted"],
        "halt_reason": row["halt_reason"],
        "halted_at": _time(row["halted_at"]),
    }


def admin_account(row: Any) -> Json:
    return {
        **account(row),
        "venue_uid": row["venue_uid"],
        "created_at": _time(row["created_at"]),
    }


def instrument(row: Any) -> Json:
    amounts = (
        "tick_size",
        "step_size",
        "min_quantity",
        "max_quantity",
        "min_notional",
        "quote_step",
    )
    return {
        "symbol": row["symbol"],
        "base": row["base"],
        "quote": row["quote"],
        **{name: _amount(row[name]) for name in amounts},
        "reference_price": _amount(row["reference_price"]),
        "reference_at": _time(row["reference_at"]),
    }


def idempotency(client: str, since: datetime, counts: Any, conflicts: list[Any]) -> Json:
    names = ("first_accepts", "denials", "replays", "conflicts", "expired")
    return {
        "client": client,
        "since": render_time(since),
        **{name: counts[name] for name in names},
        "last_conflicts": [
            {
                "at": render_time(row["at"]),
                "idempotency_key": row["key"],
                "order_id": str(row["order_id"]),
                "differs": row["differs"],
                "kid": row["key_id"],
            }
            for row in conflicts
        ],
    }


def _blob(value: bytes, whole: int) -> Json:
    """Any bytes, safe for a screen: text where every character can be shown, else base64. `whole`
    is the length of what this is the beginning of.
    """
    cut = len(value) < whole
    for trim in range(4 if cut else 1):  # a cut may go through a character
        try:
            text = value[: len(value) - trim].decode()
        except UnicodeDecodeError:
            continue
        if all(char.isprintable() or char in "\n\t" for char in text):
            return {"encoding": "utf-8", "text": text, "bytes": whole, "whole": not cut}
        break
    text = base64.b64encode(value).decode()
    return {"encoding": "base64", "text": text, "bytes": whole, "whole": not cut}


def letter(row: Any, *, replayable: bool) -> Json:
    """A dead letter as a list shows it: only the beginning of its value."""
    return {
        "letter_id": str(row["letter_id"]),
        "state": row["state"],
        "replayable": replayable,
        "topic": row["topic"],
        "partition": row["partition"],
        "offset": row["record_offset"],
        "error": row["error"],
        "order_id": None if row["order_id"] is None else str(row["order_id"]),
        "client": row["client"],
        "first_seen": render_time(row["first_seen"]),
        "last_seen": render_time(row["last_seen"]),
        "times": row["times"],
        "replays": row["replays"],
        "changed_at": _time(row["changed_at"]),
        "changed_by": row["changed_by"],
        "reason": row["reason"],
        "value": _blob(row["preview"], row["bytes"]),
    }


def whole_letter(row: Any, headers: Headers, *, replayable: bool) -> Json:
    """With its key and headers; of these the first MAX_HEADERS, each cut like a value."""
    key = row["record_key"]
    return {
        **letter(row, replayable=replayable),
        "key": None if key is None else _blob(key[:MAX_HEADER_BYTES], len(key)),
        "headers": [
            {"name": _printable(name), "value": _blob(value[:MAX_HEADER_BYTES], len(value))}
            for name, value in headers[:MAX_HEADERS]
        ],
        "header_count": len(headers),
    }


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)[:MAX_HEADER_BYTES]


def caller(who: Caller) -> Json:
    return {
        "client": who.client,
        "kid": who.kid,
        "scopes": sorted(who.scopes),
        "accounts": sorted(who.accounts),
        "max_quantity": _amount(who.max_quantity),
        "max_notional": _amount(who.max_notional),
        "orders_per_second": who.orders_per_second,
        "expires_at": _time(who.expires_at),
    }


def key(row: Any) -> Json:
    return {
        "kid": row["kid"],
        "client": row["client"],
        "name": row["name"],
        "env": row["env"],
        "scopes": row["scopes"],
        "accounts": row["accounts"],
        "max_quantity": _amount(row["max_quantity"]),
        "max_notional": _amount(row["max_notional"]),
        "orders_per_second": row["orders_per_second"],
        "status": row["status"],
        "created_at": _time(row["created_at"]),
        "expires_at": _time(row["expires_at"]),
        "revoked_at": _time(row["revoked_at"]),
        "revoked_reason": row["revoked_reason"],
    }
