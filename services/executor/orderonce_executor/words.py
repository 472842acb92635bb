"""PURE: a venue's verdict as the JSON that is kept as evidence, and back. What is kept must be
enough to decide again.

Why: a process that was too late to record its answer leaves the words behind; another one applies
them (R6).
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never

from orderonce_shared.domain.money import render_amount
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import (
    Acknowledged,
    DuplicateId,
    Fee,
    PlaceVerdict,
    Refused,
    RefusedUnprocessed,
    Silence,
    Unsent,
    VenueFill,
    VenueOrder,
    VenueStatus,
)

Json = dict[str, Any]

VERDICT_NAMES: dict[type, str] = {
    Acknowledged: "acknowledged",
    Refused: "refused",
    RefusedUnprocessed: "refused-unprocessed",
    Unsent: "unsent",
    DuplicateId: "duplicate-id",
    Silence: "silence",
}


def verdict_name(verdict: PlaceVerdict) -> str:
    return VERDICT_NAMES[type(verdict)]


def bytes_left(verdict: PlaceVerdict) -> bool:
    """Whether the request may have reached the venue."""
    return not isinstance(verdict, Unsent)


def verdict_to_json(verdict: PlaceVerdict) -> Json:
    match verdict:
        case Acknowledged(order):
            return {"order": order_to_json(order)}
        case Refused(code, detail, raw):
            return {"code": code, "detail": detail, "raw": raw}
        case RefusedUnprocessed(code, detail, raw, pause_ms, clock_is_off):
            return {
                "code": code,
                "detail": detail,
                "raw": raw,
                "pause_ms": pause_ms,
                "clock_is_off": clock_is_off,
            }
        case Unsent(detail):
            return {"detail": detail}
        case DuplicateId(detail, raw) | Silence(detail, raw):
            return {"detail": detail, "raw": raw}
        case _:
            assert_never(verdict)


def verdict_from_json(name: str, word: Json) -> PlaceVerdict:
    """Raises ValueError for a name that is not a verdict's."""
    match name:
        case "acknowledged":
            return Acknowledged(order_from_json(word["order"]))
        case "refused":
            return Refused(word["code"], word["detail"], word["raw"])
        case "refused-unprocessed":
            return RefusedUnprocessed(
                word["code"], word["detail"], word["raw"], word["pause_ms"], word["clock_is_off"]
            )
        case "unsent":
            return Unsent(word["detail"])
        case "duplicate-id":
            return DuplicateId(word["detail"], word["raw"])
        case "silence":
            return Silence(word["detail"], word["raw"])
        case _:
            raise ValueError(f"not a verdict: {name!r}")


def order_to_json(order: VenueOrder) -> Json:
    return {
        "symbol": order.symbol,
        "venue_order_id": order.venue_order_id,
        "client_order_id": order.client_order_id,
        "status": order.status.value,
        "filled_quantity": render_amount(order.filled_quantity),
        "filled_cost": render_amount(order.filled_cost),
        "raw": order.raw,
        "fills": [fill_to_json(fill) for fill in order.fills],
    }


def order_from_json(word: Json) -> VenueOrder:
    return VenueOrder(
        symbol=word["symbol"],
        venue_order_id=word["venue_order_id"],
        client_order_id=word["client_order_id"],
        status=VenueStatus(word["status"]),
        filled_quantity=Decimal(word["filled_quantity"]),
        filled_cost=Decimal(word["filled_cost"]),
        raw=word["raw"],
        fills=tuple(fill_from_json(fill, word["symbol"]) for fill in word["fills"]),
    )


def fill_to_json(fill: VenueFill) -> Json:
    return {
        "trade_id": fill.trade_id,
        "venue_order_id": fill.venue_order_id,
        "side": fill.side.value,
        "quantity": render_amount(fill.quantity),
        "price": render_amount(fill.price),
        "cost": render_amount(fill.cost),
        "fees": fees_to_json(fill.fees),
        "liquidity": fill.liquidity,
        "traded_at": fill.traded_at.isoformat(),
        "raw": fill.raw,
    }


def fill_from_json(word: Json, symbol: str) -> VenueFill:
    return VenueFill(
        symbol=symbol,
        trade_id=word["trade_id"],
        venue_order_id=word["venue_order_id"],
        side=Side(word["side"]),
        quantity=Decimal(word["quantity"]),
        price=Decimal(word["price"]),
        cost=Decimal(word["cost"]),
        fees=fees_from_json(word["fees"]),
        liquidity=word["liquidity"],
        traded_at=datetime.fromisoformat(word["traded_at"]),
        raw=word["raw"],
    )


def fees_to_json(fees: tuple[Fee, ...]) -> list[Json]:
    return [{"asset": fee.asset, "amount": render_amount(fee.amount)} for fee in fees]


def fees_from_json(words: list[Json]) -> tuple[Fee, ...]:
    return tuple(Fee(word["asset"], Decimal(word["amount"])) for word in words)
