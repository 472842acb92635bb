"""Signed routes that read: account, orders, trades, commission, counts, and the sapi stubs.

While `not_found_lag` is armed these do not see orders younger than its seconds; `balance_lag` shows
balances of that long ago, `fill_late` hides single trades.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, TypeVar

from orderonce_paper import shapes, wire
from orderonce_paper.limits import DAY_ORDERS
from orderonce_paper.model import ZERO, Account, Market, Order, Traded
from orderonce_paper.symbols import MAKER_FEE, TAKER_FEE
from orderonce_paper.venue import Call, Venue
from orderonce_paper.wire import VenueError

Json = dict[str, Any]
Row = TypeVar("Row")

DAY_MS = 86_400_000
ARCHIVE_AFTER_MS = 90 * DAY_MS
DEFAULT_ROWS = 500
MAX_ROWS = 1000
BAD_COMBINATION = "Combination of optional parameters invalid."


def market_of(venue: Venue, call: Call, name: str = "symbol") -> Market:
    given = call.params.get(name)
    if not given:
        raise wire.missing(name)
    if not wire.SYMBOL.fullmatch(given):
        raise wire.illegal(name, "^[A-Z0-9-_.]{1,20}$")
    market = venue.book.markets.get(given)
    if market is None:
        raise VenueError(-1121, "Invalid symbol.")
    return market


def order_asked_for(
    venue: Venue, call: Call, market: Market, names: tuple[str, str], seen_before_ms: float = 0
) -> Order | None:
    """By order id, and by client id the latest; where both are given both must fit."""
    order_id = wire.integer(call.params, names[0])
    client_id = wire.client_id(call.params, names[1])
    if order_id is None and client_id is None:
        raise VenueError(
            -1102,
            f"Param '{names[1]}' or '{names[0]}' must be sent, but both were empty/null!",
        )
    account = venue.book.accounts[call.signer.account]
    order: Order | None
    if order_id is None:
        order = account.by_client_id.get((market.symbol.name, client_id or ""))
        if order is not None and seen_before_ms and order.made.time > seen_before_ms:
            mine = reversed(account.orders[market.symbol.name])
            order = next(
                (
                    o
                    for o in mine
                    if o.made.client_id == client_id and o.made.time <= seen_before_ms
                ),
                None,
            )
        return order
    order = market.orders[order_id - 1] if 1 <= order_id <= len(market.orders) else None
    if order is None or order.made.account != call.signer.account:
        return None
    if client_id is not None and order.made.client_id != client_id:
        return None
    if seen_before_ms and order.made.time > seen_before_ms:
        return None
    return order


def order(venue: Venue, call: Call) -> Json:
    market = market_of(venue, call)
    found = order_asked_for(
        venue, call, market, ("orderId", "origClientOrderId"), _seen_before_ms(venue, call)
    )
    if found is None:
        raise VenueError(-2013, "Order does not exist.")
    if _archived(found, call.now_ms):
        raise VenueError(
            -2026,
            "Order was canceled or expired with no executed qty over 90 days ago and has been "
            "archived.",
        )
    return shapes.order_row(found)


def open_orders(venue: Venue, call: Call) -> list[Json]:
    account, seen_before = _account(venue, call), _seen_before_ms(venue, call)
    names = [market_of(venue, call).symbol.name] if "symbol" in call.params else list(account.open)
    found = [order for name in names for order in account.open.get(name, {}).values()]
    return [shapes.order_row(o) for o in found if not seen_before or o.made.time <= seen_before]


def all_orders(venue: Venue, call: Call) -> list[Json]:
    market, limit = market_of(venue, call), row_limit(call)
    start, end = time_window(call)
    from_id = wire.integer(call.params, "orderId")
    seen_before = _seen_before_ms(venue, call)
    orders: Iterable[Order] = _account(venue, call).orders.get(market.symbol.name, [])
    found = [
        o
        for o in orders
        if (from_id is None or o.made.order_id >= from_id)
        and (start is None or o.made.time >= start)
        and (end is None or o.made.time <= end)
        and (not seen_before or o.made.time <= seen_before)
        and not _archived(o, call.now_ms)
    ]
    oldest_first = from_id is not None or start is not None
    return [shapes.order_row(o) for o in _page(found, limit, oldest_first)]


def my_trades(venue: Venue, call: Call) -> list[Json]:
    market, limit = market_of(venue, call), row_limit(call)
    start, end = time_window(call)
    order_id, from_id = wire.integer(call.params, "orderId"), wire.integer(call.params, "fromId")
    if (start is not None or end is not None) and (order_id is not None or from_id is not None):
        raise VenueError(-1128, BAD_COMBINATION)
    account, name = _account(venue, call), market.symbol.name
    trades = account.trades.get(name, [])
    if from_id is not None:
        trades = trades[bisect_left(trades, from_id, key=lambda trade: trade.trade_id) :]
    elif start is not None:
        trades = trades[_first_at(trades, start) :]
    if order_id is None and end is None:
        oldest_first = from_id is not None or start is not None
        trades = trades[:limit] if oldest_first else trades[-limit:]
    seen_before, unseen = _seen_before_ms(venue, call), venue.feed.unseen  # fill_late
    rows = []
    for trade in trades:
        if end is not None and trade.time > end:
            continue
        for leg, side, is_maker in trade.legs():
            if leg.account != call.signer.account or order_id not in (None, leg.order_id):
                continue
            if unseen and (leg.account, name, trade.trade_id) in unseen:
                continue
            if seen_before and market.orders[leg.order_id - 1].made.time > seen_before:
                continue
            rows.append(shapes.my_trade(trade, leg, side, is_maker))
    return _page(rows, limit, from_id is not None or start is not None)


def account(venue: Venue, call: Call) -> Json:
    found, signer = _account(venue, call), call.signer
    balances = found.balances
    if venue.faults.armed and (lag_ms := venue.faults.lag_ms("balance_lag", call.seen())):
        balances = venue.lag.seen(signer.account, found, call.now_ms - lag_ms)
    fees = (MAKER_FEE, TAKER_FEE)
    row = shapes.account(balances, found.update_time, (signer.uid, signer.may_trade), fees)
    if call.params.get("omitZeroBalances", "").lower() == "true":
        zero = shapes.money(ZERO)
        row["balances"] = [b for b in row["balances"] if b["free"] != zero or b["locked"] != zero]
    return row


def commission(venue: Venue, call: Call) -> Json:
    symbol, none = market_of(venue, call).symbol, shapes.money(ZERO)
    zeros = {"maker": none, "taker": none, "buyer": none, "seller": none}
    standard = {
        "maker": shapes.money(symbol.maker_fee),
        "taker": shapes.money(symbol.taker_fee),
        "buyer": none,
        "seller": none,
    }
    return {
        "symbol": symbol.name,
        "standardCommission": standard,
        "specialCommission": zeros,
        "taxCommission": zeros,
        "discount": {
            "enabledForAccount": False,
            "enabledForSymbol": False,
            "discountAsset": "BNB",
            "discount": none,
        },
    }


def order_counts(venue: Venue, call: Call) -> list[Json]:
    name, limits = call.signer.account, venue.limits
    return [
        {
            "rateLimitType": "ORDERS",
            "interval": "SECOND",
            "intervalNum": 10,
            "limit": limits.orders_per_10s,
            "count": limits.orders_10s.read(name, call.now_ms),
        },
        {
            "rateLimitType": "ORDERS",
            "interval": "DAY",
            "intervalNum": 1,
            "limit": DAY_ORDERS,
            "count": limits.orders_day.read(name, call.now_ms),
        },
    ]


def trade_fee(venue: Venue, call: Call) -> list[Json]:
    if "symbol" in call.params:
        markets = [market_of(venue, call)]
    else:
        markets = list(venue.book.markets.values())
    return [
        {
            "symbol": market.symbol.name,
            "makerCommission": format(market.symbol.maker_fee, "f"),
            "takerCommission": format(market.symbol.taker_fee, "f"),
        }
        for market in markets
    ]


def empty_list(venue: Venue, call: Call) -> list[Json]:
    """Margin pairs, wallets: this venue has none, and clients that ask by default may go on."""
    return []


def row_limit(call: Call, default: int = DEFAULT_ROWS, most: int = MAX_ROWS) -> int:
    given = wire.integer(call.params, "limit")
    if given is None:
        return default
    if given < 1:
        raise VenueError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(given, most)


def time_window(call: Call) -> tuple[int | None, int | None]:
    """startTime and endTime; together they may span 24 hours."""
    start, end = wire.integer(call.params, "startTime"), wire.integer(call.params, "endTime")
    if start is not None and end is not None:
        if end < start:
            raise VenueError(-1128, BAD_COMBINATION)
        if end - start > DAY_MS:
            raise VenueError(-1127, "More than 24 hours between startTime and endTime.")
    return start, end


def _account(venue: Venue, call: Call) -> Account:
    return venue.book.accounts[call.signer.account]


def _seen_before_ms(venue: Venue, call: Call) -> float:
    """Orders made after this are not seen; 0 where nothing is hidden."""
    if not venue.faults.armed:
        return 0
    lag_ms = venue.faults.lag_ms("not_found_lag", call.seen())
    return call.now_ms - lag_ms if lag_ms else 0


def _archived(order: Order, now_ms: int) -> bool:
    return (
        not order.is_open and not order.executed and now_ms - order.update_time > ARCHIVE_AFTER_MS
    )


def _first_at(trades: list[Traded], start: int) -> int:
    """Index of the first trade at or after `start`. The clock may have been stepped back."""
    return next((n for n, trade in enumerate(trades) if trade.time >= start), len(trades))


def _page(rows: list[Row], limit: int, oldest_first: bool) -> list[Row]:
    return rows[:limit] if oldest_first else rows[-limit:]
