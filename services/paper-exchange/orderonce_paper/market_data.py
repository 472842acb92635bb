"""Public routes: time, rules, depth, tickers, trades, and candles that are always current.

Candles are drawn around the present price from the seed, since nothing trades here by itself.
"""

import random
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import orjson

from orderonce_paper import shapes, wire
from orderonce_paper.lookups import market_of, row_limit
from orderonce_paper.matching import liquidity
from orderonce_paper.model import ZERO, Level, Market
from orderonce_paper.venue import Call, Venue
from orderonce_paper.wire import VenueError

Json = dict[str, Any]

DAY_MS = 86_400_000
MINUTE_MS = 60_000
INTERVALS_MS = {
    "1s": 1000,
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "2h": 120 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
    "6h": 360 * MINUTE_MS,
    "8h": 480 * MINUTE_MS,
    "12h": 720 * MINUTE_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": 7 * DAY_MS,
    "1M": 30 * DAY_MS,
}
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
    bids, asks = _sides(market)
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
    return _one_or_many(venue, call, lambda market: shapes.best(market, *_sides(market)))


def day_ticker(venue: Venue, call: Call) -> Any:
    return _one_or_many(venue, call, lambda market: _day_row(market, call.now_ms))


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
    return [_candle(venue.seed, market, at, step) for at in range(first, last + 1, step)]


def _candle(seed: int, market: Market, open_time: int, step: int) -> list[Any]:
    source, symbol = random.Random(f"{seed}:{market.symbol.name}:{open_time}"), market.symbol  # noqa: S311 - a seed, not a secret
    ticks = [source.randint(0, 8) * symbol.tick for _ in range(4)]
    low = max(symbol.tick, market.last_price - max(ticks))
    high = market.last_price + max(ticks)
    opened, closed = low + ticks[0] / 2 // symbol.tick * symbol.tick, market.last_price
    volume = symbol.top_size * source.randint(1, 100)
    money = shapes.money
    return [
        open_time,
        money(min(opened, high)),
        money(high),
        money(low),
        money(closed),
        money(volume),
        open_time + step - 1,
        money(volume * closed),
        source.randint(1, 500),
        money(volume / 2),
        money(volume * closed / 2),
        "0",
    ]


def _sides(market: Market) -> tuple[list[Level], list[Level]]:
    """Aggregated by price, best first: what a seller and what a buyer would meet."""
    return _aggregated(market, "SELL"), _aggregated(market, "BUY")


def _aggregated(market: Market, taker_side: str) -> list[Level]:
    found: dict[Decimal, Decimal] = {}
    for level_price, size, _ in liquidity(market, taker_side):
        found[level_price] = found.get(level_price, ZERO) + size
    return list(found.items())


def _price_row(market: Market) -> Json:
    return {"symbol": market.symbol.name, "price": shapes.money(market.last_price)}


def _day_row(market: Market, now_ms: int) -> Json:
    since = now_ms - DAY_MS
    # Newest first and no further than a page: a day may hold a million trades of a load test.
    recent = [trade for trade in market.trades[-1000:] if trade.time >= since]
    prices = [trade.price for trade in recent] or [market.last_price]
    volume = sum((trade.quantity for trade in recent), ZERO)
    quote_volume = sum((trade.quote for trade in recent), ZERO)
    bids, asks = _sides(market)
    money = shapes.money
    row = shapes.best(market, bids, asks)
    change = prices[-1] - prices[0]
    percent = (change * 100 / prices[0]).quantize(Decimal("0.001"))
    average = quote_volume / volume if volume else market.last_price
    return row | {
        "priceChange": money(change),
        "priceChangePercent": format(percent, "f"),
        "weightedAvgPrice": money(average.quantize(Decimal("0.00000001"))),
        "prevClosePrice": money(prices[0]),
        "lastPrice": money(market.last_price),
        "lastQty": money(recent[-1].quantity if recent else ZERO),
        "openPrice": money(prices[0]),
        "highPrice": money(max(prices)),
        "lowPrice": money(min(prices)),
        "volume": money(volume),
        "quoteVolume": money(quote_volume),
        "openTime": since,
        "closeTime": now_ms,
        "firstId": recent[0].trade_id if recent else -1,
        "lastId": recent[-1].trade_id if recent else -1,
        "count": len(recent),
    }


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
