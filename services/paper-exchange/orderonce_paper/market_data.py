"""Public routes: time, rules, depth, tickers, trades, and candles that are always current."""

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from orderonce_paper import shapes, wire
from orderonce_paper.lookups import market_of, row_limit
from orderonce_paper.market_views import INTERVALS_MS, best_row, candle, day_row, sides
from orderonce_paper.model import Market
from orderonce_paper.venue import Call, Venue
from orderonce_paper.wire import VenueError

Json = dict[str, Any]

DEPTH_DEFAULT, DEPTH_MOST = 100, 5000


def ping(venue: Venue, call: Call) -> Json:
    return {}


def server_time(venue: Venue, call: Call) -> Json:
    return {"serverTime": call.now_ms}


def exchange_info(venue: Venue, call: Call) -> Json:
    return {
        "timezone": "UTC",
        "serverTime": call.now_ms,
        "rateLimits": venue.limits.shown(),
        "exchangeFilters": [],
        "symbols": [
            shapes.symbol_row(market.symbol, venue.max_open_orders)
            for market in _asked_markets(venue, call)
        ],
    }


def no_symbols(venue: Venue, call: Call) -> Json:
    """Futures: asked for by clients with default options; this venue has none."""
    return {"symbols": []}


def depth(venue: Venue, call: Call) -> Json:
    market, limit = market_of(venue, call), row_limit(call, DEPTH_DEFAULT, DEPTH_MOST)
    bids, asks = sides(market)
    return {
        "lastUpdateId": market.update_id,
        "bids": [[shapes.money(price), shapes.money(size)] for price, size in bids[:limit]],
        "asks": [[shapes.money(price), shapes.money(size)] for price, size in asks[:limit]],
    }


def trades(venue: Venue, call: Call) -> list[Json]:
    market, limit = market_of(venue, call), row_limit(call)
    return [shapes.public_trade(trade) for trade in market.trades[-limit:]]


def average_price(venue: Venue, call: Call) -> Json:
    market = market_of(venue, call)
    return {"mins": 5, "price": shapes.money(market.last_price), "closeTime": call.now_ms}


def price(venue: Venue, call: Call) -> Any:
    return _one_or_many(venue, call, _price_row)


def book_ticker(venue: Venue, call: Call) -> Any:
    return _one_or_many(venue, call, best_row)


def day_ticker(venue: Venue, call: Call) -> Any:
    return _one_or_many(venue, call, lambda market: day_row(market, call.now_ms))


def klines(venue: Venue, call: Call) -> list[list[Any]]:
    market, limit = market_of(venue, call), row_limit(call)
    interval = call.params.get("interval")
    if not interval:
        raise wire.missing("interval")
    if interval not in INTERVALS_MS:
        raise VenueError(-1120, "Invalid interval.")
    step = INTERVALS_MS[interval]
    start, end = wire.integer(call.params, "startTime"), wire.integer(call.params, "endTime")
    last = min(end if end is not None else call.now_ms, call.now_ms) // step * step
    first = last - (limit - 1) * step
    if start is not None:
        first = -(-start // step) * step
        last = min(last, first + (limit - 1) * step)
    return [candle(venue.seed, market, at, step) for at in range(first, last + 1, step)]


def _price_row(market: Market) -> Json:
    return {"symbol": market.symbol.name, "price": shapes.money(market.last_price)}


def _asked_markets(venue: Venue, call: Call) -> Iterable[Market]:
    """All, one by `symbol`, or several by `symbols`, a JSON array of names."""
    if "symbol" in call.params:
        return [market_of(venue, call)]
    if "symbols" not in call.params:
        return venue.book.markets.values()
    try:
        names = orjson.loads(call.params["symbols"])
    except orjson.JSONDecodeError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise VenueError(-1135, "JSON sent for parameter 'symbols' is not valid")
    if len(set(names)) != len(names):
        raise VenueError(-1151, "Symbol is present multiple times in the list.")
    if not all(name in venue.book.markets for name in names):
        raise VenueError(-1121, "Invalid symbol.")
    return [venue.book.markets[name] for name in names]


def _one_or_many(venue: Venue, call: Call, row: Callable[[Market], Json]) -> Any:
    rows = [row(market) for market in _asked_markets(venue, call)]
    return rows[0] if "symbol" in call.params else rows
