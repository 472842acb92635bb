"""Rows to the JSON that clients see: amounts as text, times in RFC 3339, every member always
there.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from orderonce_shared.contracts.wire import render_time
from orderonce_shared.domain.money import average_price, render_amount
from orderonce_shared.runtime.bearer import Caller

Json = dict[str, Any]


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
        "price": _amount(row["price"]),
        "time_in_force": row["time_in_force"],
        "post_only": row["post_only"],
        "client_tag": row["client_tag"],
        "status": row["status"],
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
    amounts = ("tick_size", "step_size", "min_quantity", "max_quantity", "min_notional")
    return {
        "symbol": row["symbol"],
        "base": row["base"],
        "quote": row["quote"],
        **{name: _amount(row[name]) for name in amounts},
        "reference_price": _amount(row["reference_price"]),
        "reference_at": _time(row["reference_at"]),
    }


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
