"""The look-up ladder: every place where an order could be seen, asked one after the other.

Theory (rule R7): a look-up that finds ends the question; one that does not find proves something
only if every rung answered. "Cannot ask" is never "not found". Whether an absence counts (window
closed, late visibility passed) is not decided here.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from orderonce_shared.domain.venue import (
    Absent,
    CannotAsk,
    FindVerdict,
    Found,
    Raw,
    VenueFill,
    VenueOrder,
)
from orderonce_shared.venues.errors import VenueUnreachable
from orderonce_shared.venues.evidence import Rung, VenueEvidence
from orderonce_shared.venues.spot import (
    Unreadable,
    read_order,
    read_trade,
    sums_up,
    venue_symbol,
)

# A question to the venue: ccxt's implicit endpoint and its parameters -> the parsed body; raises
# VenueUnreachable.
Ask = Callable[[str, dict[str, Any]], Awaitable[Any]]

# of one search: 200,000 rows in one day of one symbol is beyond any venue's order limit
MAX_PAGES = 200
SPAN_MARGIN_MS = 60_000  # a search stays this much below the longest stretch that the venue allows


def as_rows(data: Any) -> list[dict[str, Any]]:
    """A list of objects, or VenueUnreachable: a list that cannot be read is not an empty one."""
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise VenueUnreachable("the answer is not a list of rows", {"body": str(type(data))})
    return data


async def climb(
    ask: Ask, evidence: VenueEvidence, symbol: str, client_order_id: str, signed_at_ms: int
) -> FindVerdict:
    """Asks rung by rung until one knows the order. Found carries its fills if they could be read
    and sum up.
    """
    seen: Raw = {}
    rung = evidence.ladder[0]
    try:
        for rung in evidence.ladder:
            if rung is Rung.BY_CLIENT_ID:
                row = await _by_client_id(ask, evidence, symbol, client_order_id, seen)
            elif rung is Rung.OPEN_ORDERS:
                parameters = {"symbol": venue_symbol(symbol)}
                row = _pick(
                    as_rows(await ask("private_get_openorders", parameters)), client_order_id
                )
            elif rung is Rung.ALL_ORDERS:
                row = await _all_orders(ask, evidence, symbol, client_order_id, signed_at_ms)
            else:
                continue  # TRADES belongs to an order that was found
            seen.setdefault(rung.value, "not there")
            if row is not None:
                order = read_order(row, symbol, client_order_id, "clientOrderId")
                return Found(await _with_fills(ask, evidence, order))
    except VenueUnreachable as error:
        return CannotAsk(f"{rung.value}: {error.detail}", {**seen, rung.value: error.raw})
    except Unreadable as error:
        return CannotAsk(f"{rung.value}: {error}", seen)
    return Absent(seen)


async def _by_client_id(
    ask: Ask, evidence: VenueEvidence, symbol: str, client_order_id: str, seen: Raw
) -> dict[str, Any] | None:
    try:
        data = await ask(
            "private_get_order",
            {"symbol": venue_symbol(symbol), "origClientOrderId": client_order_id},
        )
    except VenueUnreachable as error:
        if error.code != evidence.not_found_code:
            raise
        seen[Rung.BY_CLIENT_ID.value] = error.raw
        return None
    if not isinstance(data, dict):
        raise Unreadable("not an order")
    return data


def _pick(rows: list[dict[str, Any]], client_order_id: str) -> dict[str, Any] | None:
    """The row with our id; the latest one, should the venue have several."""
    mine = [row for row in rows if row.get("clientOrderId") == client_order_id]
    return max(mine, key=lambda row: _order_id(row), default=None)


def _order_id(row: dict[str, Any]) -> int:
    value = row.get("orderId")
    if not isinstance(value, int):
        raise Unreadable("an order without its number")
    return value


async def _all_orders(
    ask: Ask, evidence: VenueEvidence, symbol: str, client_order_id: str, signed_at_ms: int
) -> dict[str, Any] | None:
    """Pages through what was ordered around the stamp: from one step allowance before it, for the
    longest span.

    A create is accepted inside its window, so that its order's own time cannot be further away than
    that.
    """
    start_ms = max(0, signed_at_ms - evidence.step_allowance_ms - evidence.ahead_tolerance_ms)
    end_ms = start_ms + evidence.search_span_ms - SPAN_MARGIN_MS
    parameters: dict[str, Any] = {"startTime": start_ms, "endTime": end_ms}
    for _ in range(MAX_PAGES):
        rows = as_rows(
            await ask(
                "private_get_allorders",
                {"symbol": venue_symbol(symbol), "limit": evidence.page_rows, **parameters},
            )
        )
        row = _pick(rows, client_order_id)
        if row is not None:
            return row
        past_the_end = any(isinstance(r.get("time"), int) and r["time"] > end_ms for r in rows)
        if len(rows) < evidence.page_rows or past_the_end:
            return None
        parameters = {"orderId": max(map(_order_id, rows)) + 1}
    raise VenueUnreachable(f"more than {MAX_PAGES} pages of orders", {})


async def fills_of_order(
    ask: Ask, evidence: VenueEvidence, symbol: str, venue_order_id: str
) -> list[VenueFill]:
    """All trades of one order, by trade id; raises VenueUnreachable."""
    fills: list[VenueFill] = []
    parameters: dict[str, Any] = {}
    for _ in range(MAX_PAGES):
        page = await read_trades(
            ask,
            symbol,
            {"orderId": int(venue_order_id), "limit": evidence.page_rows, **parameters},
        )
        fills += [fill for fill in page if fill.venue_order_id == venue_order_id]
        if len(page) < evidence.page_rows:
            return fills
        parameters = {"fromId": int(page[-1].trade_id) + 1}
    raise VenueUnreachable(f"more than {MAX_PAGES} pages of trades", {})


async def read_trades(ask: Ask, symbol: str, parameters: dict[str, Any]) -> list[VenueFill]:
    """One page of myTrades, ordered by trade id; raises VenueUnreachable."""
    rows = as_rows(
        await ask("private_get_mytrades", {"symbol": venue_symbol(symbol), **parameters})
    )
    try:
        fills = [read_trade(row, symbol) for row in rows]
    except Unreadable as error:
        raise VenueUnreachable(f"trades of {symbol}: {error}", {}) from None
    return sorted(fills, key=lambda fill: int(fill.trade_id))


async def _with_fills(ask: Ask, evidence: VenueEvidence, order: VenueOrder) -> VenueOrder:
    if Rung.TRADES not in evidence.ladder or order.filled_quantity == 0:
        return order
    try:
        fills = tuple(await fills_of_order(ask, evidence, order.symbol, order.venue_order_id))
    except VenueUnreachable:
        # the order is found all the same; its fills are asked for again by its follower
        return order
    return replace(order, fills=fills) if sums_up(order, fills) else order
