"""PURE: rows of Postgres as nouns, and back."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from orderonce_shared.contracts.wire import render_time
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.money import render_amount
from orderonce_shared.domain.order import OrderTerms, OrderType, Side, TimeInForce

from orderonce_executor.core import Bar
from orderonce_executor.placement import Placement
from orderonce_executor.ports import CasResult, Letter, Posted
from orderonce_executor.words import fees_from_json, fees_to_json

Row = Any


def placement(row: Row) -> Placement:
    """One row as the noun. The same for every query that returns whole rows."""
    return Placement(
        order_id=row["order_id"],
        client=row["client"],
        key=row["key"],
        account=row["account"],
        venue=row["venue"],
        symbol=row["symbol"],
        client_order_id=row["client_order_id"],
        terms=_terms(row),
        expires_at=row["expires_at"],
        traceparent=row["traceparent"],
        timeline=row["timeline"],
        version=row["version"],
        state=State(row["state"]),
        attempt=row["attempt"],
        signed_at_ms=row["signed_at_ms"],
        window_ms=row["window_ms"],
        sent_at=row["sent_at"],
        cancel_requested=row["cancel_requested"],
        venue_order_id=row["venue_order_id"],
        filled_quantity=row["filled_quantity"],
        filled_cost=row["filled_cost"],
        fees=fees_from_json(row["fees"]),
        reason_code=row["reason_code"],
        reason_detail=row["reason_detail"],
        refusals=row["refusals"],
        last_refusal=row["last_refusal"],
        owner=row["owner"],
        next_at=row["next_at"],
        settled=row["settled"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        key_id=row["key_id"],
        payload_hash=row["payload_hash"],
    )


def _terms(row: Row) -> OrderTerms | None:
    if row["side"] is None:
        return None
    return OrderTerms(
        row["account"],
        row["symbol"],
        Side(row["side"]),
        OrderType(row["type"]),
        row["quantity"],
        row["price"],
        TimeInForce(row["time_in_force"]),
        row["post_only"],
        row["quote_quantity"],
    )


def with_fees_now(row: Row) -> Placement:
    return placement(row)._replace(fees=fees_from_json(row["fees_now"]))


def versioned(p: Placement, version: int, updated_at: datetime) -> Placement:
    return p._replace(version=version, updated_at=updated_at)


def cas_result(by_id: dict[UUID, Placement], found: Sequence[Row]) -> CasResult:
    result = CasResult()
    for row in found:
        p = by_id.pop(row["order_id"])
        outcome = row["outcome"]
        if outcome == "send" and row["attempt"] is not None:
            result.sent.append(
                p._replace(
                    state=State.SENDING,
                    attempt=row["attempt"],
                    version=row["version"],
                    signed_at_ms=row["signed_at_ms"],
                    window_ms=row["window_ms"],
                    sent_at=row["sent_at"],
                    updated_at=row["updated_at"],
                )
            )
        elif outcome == "waiting":
            result.waiting.append(p)
        elif outcome in ("send", "stale"):
            result.stale.append(p)
        else:
            result.barred.append((p, Bar(outcome)))
    result.stale.extend(by_id.values())
    return result


def dump(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()


def headers_to_text(letter: Letter) -> str:
    """JSON pairs of text; what is not text, or holds a NUL, which jsonb refuses (headers of a
    stranger's record), as base64 with a mark."""
    return dump([_header_in_json(name, value) for name, value in letter.headers])


def _header_in_json(name: str, value: bytes) -> tuple[str, ...]:
    name = name.replace("\0", "\\x00")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return name, base64.b64encode(value).decode(), "base64"
    return name, text


def posted_of(row: Row) -> Posted:
    headers = [
        (name, base64.b64decode(value) if coded else value.encode())
        for name, value, *coded in row["headers"]
    ]
    return Posted(row["id"], Letter(row["topic"], row["key"], row["value"], headers))


def save_columns(befores: Sequence[Placement], afters: Sequence[Placement]) -> list[list[Any]]:
    """The arrays of the query `save`: which rows in which version, and what they become. Amounts
    and times as text, which the driver writes in a fifth of the time; the server casts them.
    """
    return [
        [p.order_id for p in befores],
        [p.version for p in befores],
        [p.state.value for p in afters],
        [p.cancel_requested for p in afters],
        [p.venue_order_id for p in afters],
        [render_amount(p.filled_quantity) for p in afters],
        [render_amount(p.filled_cost) for p in afters],
        [dump(fees_to_json(p.fees)) for p in afters],
        [p.reason_code for p in afters],
        [p.reason_detail for p in afters],
        [p.refusals for p in afters],
        [p.last_refusal for p in afters],
        [render_time(p.next_at) for p in afters],
        [p.settled for p in afters],
    ]
