"""PURE: what goes out about an order: its snapshot for `orders.events`, its trades for
`orders.fills`."""

from uuid import UUID

import orjson
from orderonce_shared.contracts.events import FeeTotal, OrderEvent, Reason
from orderonce_shared.contracts.topics import EVENTS, FILLS, Headers
from orderonce_shared.contracts.wire import render_time
from orderonce_shared.domain.lifecycle import is_final, status_of
from orderonce_shared.domain.money import render_amount
from orderonce_shared.domain.venue import Fee, VenueFill

from orderonce_executor.placement import Placement
from orderonce_executor.ports import Letter


def order_event(
    p: Placement, *, claimed_keys: tuple[str, ...] = (), asked_order_id: UUID | None = None
) -> OrderEvent:
    """The snapshot of this row. `at` is the row's last change, so that repeating it is byte for
    byte the same."""
    reason = (
        None
        if p.reason_code is None
        else Reason(code=p.reason_code, detail=p.reason_detail or p.reason_code)
    )
    return OrderEvent(
        order_id=p.order_id,
        client=p.client,
        key=p.key,
        account=p.account,
        venue=p.venue,
        symbol=p.symbol,
        client_order_id=p.client_order_id,
        status=status_of(p.state),
        final=is_final(p.state),
        reason=reason,
        venue_order_id=p.venue_order_id,
        filled_quantity=p.filled_quantity,
        filled_cost=p.filled_cost,
        fees=_totals(p.fees),
        attempt=p.attempt,
        cancel_requested=p.cancel_requested,
        sent_at=p.sent_at,
        at=p.updated_at,
        timeline=p.timeline,
        version=p.version,
        claimed_keys=claimed_keys,
        asked_order_id=asked_order_id,
    )


def event_letter(
    p: Placement, *, claimed_keys: tuple[str, ...] = (), asked_order_id: UUID | None = None
) -> Letter:
    """The event as a letter. Written without pydantic, which would take 25 us of each order's
    budget; a test holds the bytes to those of `order_event(..).encode()`."""
    body = {
        "schema": "order.v1",
        "order_id": str(p.order_id),
        "client": p.client,
        "key": p.key,
        "account": p.account,
        "venue": p.venue,
        "symbol": p.symbol,
        "client_order_id": p.client_order_id,
        "status": status_of(p.state),
        "final": is_final(p.state),
        "reason": None
        if p.reason_code is None
        else {"code": p.reason_code, "detail": p.reason_detail or p.reason_code},
        "venue_order_id": p.venue_order_id,
        "filled_quantity": render_amount(p.filled_quantity),
        "filled_cost": render_amount(p.filled_cost),
        "fees": _fees(p.fees),
        "attempt": p.attempt,
        "cancel_requested": p.cancel_requested,
        "sent_at": None if p.sent_at is None else render_time(p.sent_at),
        "at": render_time(p.updated_at),
        "timeline": p.timeline,
        "version": p.version,
        "claimed_keys": claimed_keys,
        "asked_order_id": None if asked_order_id is None else str(asked_order_id),
    }
    return Letter(EVENTS, p.account, orjson.dumps(body), _headers(b"order.v1", p))


def fill_letter(p: Placement, fill: VenueFill) -> Letter:
    """fill.v1 of one trade; the bytes are those of `FillRecord`, as a test holds."""
    body = {
        "schema": "fill.v1",
        "venue": p.venue,
        "account": p.account,
        "symbol": fill.symbol,
        "trade_id": fill.trade_id,
        "venue_order_id": fill.venue_order_id,
        "client_order_id": p.client_order_id,
        "order_id": str(p.order_id),
        "client": p.client,
        "side": fill.side,
        "quantity": render_amount(fill.quantity),
        "price": render_amount(fill.price),
        "cost": render_amount(fill.cost),
        "fees": _fees(fill.fees),
        "liquidity": fill.liquidity,
        "traded_at": render_time(fill.traded_at),
        "raw": fill.raw,
    }
    return Letter(FILLS, p.account, orjson.dumps(body), _headers(b"fill.v1", p))


def _fees(fees: tuple[Fee, ...]) -> list[dict[str, str]]:
    return [{"asset": fee.asset, "amount": render_amount(fee.amount)} for fee in fees]


def _totals(fees: tuple[Fee, ...]) -> tuple[FeeTotal, ...]:
    return tuple(FeeTotal(asset=fee.asset, amount=fee.amount) for fee in fees)


def _headers(schema: bytes, p: Placement) -> Headers:
    return [
        ("schema", schema),
        ("order_id", str(p.order_id).encode()),
        ("traceparent", p.traceparent.encode()),
    ]
