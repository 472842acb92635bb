"""Placements and venue orders for the executor's tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from orderonce_executor.breaker import Breaker, BreakerLimits
from orderonce_executor.placement import Placement
from orderonce_shared.domain.identity import client_order_id
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.order import OrderTerms, OrderType, Side, TimeInForce
from orderonce_shared.domain.venue import Fee, VenueFill, VenueOrder, VenueStatus

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
UNSENT = frozenset({State.CLAIMED, State.LAPSED, State.DENIED})
WITH_REASON = {
    State.UNKNOWN: "no-word-from-venue",
    State.CANCELED: "canceled-at-venue",
    State.REJECTED: "venue-rejected",
    State.LAPSED: "deadline-passed",
    State.DENIED: "key-revoked",
    State.NOT_PLACED: "proven-absent",
}


def breaker(failures: int = 3, unknowns: int = 10, pause_s: float = 5) -> Breaker:
    return Breaker(BreakerLimits(failures, unknowns, pause_s))


def terms(quantity: str = "1", account: str = "paper-1") -> OrderTerms:
    return OrderTerms(
        account,
        "BTC/USDT",
        Side.BUY,
        OrderType.LIMIT,
        Decimal(quantity),
        Decimal("50000"),
        TimeInForce.GTC,
        False,
    )


def placement(state: State = State.CLAIMED, **changes: Any) -> Placement:
    """One row in `state`, with what such a row has at least."""
    sent = state not in UNSENT
    base = Placement(
        order_id=UUID(int=7),
        client="bot",
        key="key-0123456789abcdef",
        account="paper-1",
        venue="paper",
        symbol="BTC/USDT",
        client_order_id=client_order_id("bot", "key-0123456789abcdef"),
        terms=terms(),
        expires_at=NOW + timedelta(seconds=30),
        traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01",
        timeline="1:00000001",
        version=1,
        state=state,
        attempt=1 if sent else 0,
        signed_at_ms=1_000_000 if sent else None,
        window_ms=5_000 if sent else None,
        sent_at=NOW if sent else None,
        cancel_requested=False,
        venue_order_id="17" if state in (State.OPEN, State.FILLED, State.CANCELED) else None,
        filled_quantity=Decimal(1) if state is State.FILLED else Decimal(0),
        filled_cost=Decimal(50_000) if state is State.FILLED else Decimal(0),
        fees=(),
        reason_code=WITH_REASON.get(state),
        reason_detail=WITH_REASON.get(state),
        refusals=0,
        last_refusal=None,
        owner=UUID(int=1),
        next_at=NOW,
        settled=False,
        created_at=NOW,
        updated_at=NOW,
        key_id=None,
        payload_hash="h",
    )
    return base._replace(**changes)


def venue_order(
    status: VenueStatus = VenueStatus.OPEN, filled: str = "0", order_id: str = "17", **changes: Any
) -> VenueOrder:
    order = VenueOrder(
        symbol="BTC/USDT",
        venue_order_id=order_id,
        client_order_id=client_order_id("bot", "key-0123456789abcdef"),
        status=status,
        filled_quantity=Decimal(filled),
        filled_cost=Decimal(filled) * 50_000,
        raw={"status": status.value},
    )
    return replace(order, **changes)


def fill(trade_id: str = "1", quantity: str = "1", order_id: str = "17") -> VenueFill:
    return VenueFill(
        symbol="BTC/USDT",
        trade_id=trade_id,
        venue_order_id=order_id,
        side=Side.BUY,
        quantity=Decimal(quantity),
        price=Decimal(50_000),
        cost=Decimal(quantity) * 50_000,
        fees=(Fee("USDT", Decimal("0.05")),),
        liquidity="taker",
        traded_at=NOW,
        raw={"tradeId": trade_id},
    )
