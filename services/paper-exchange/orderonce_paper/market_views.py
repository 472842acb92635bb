"""PURE: how a market looks: levels, day statistics, candles. REST and the streams show the same.

Candles are drawn around the present price from the seed, since nothing trades here by itself.
"""

import random
from decimal import Decimal
from typing import Any

from orderonce_paper import shapes
from orderonce_paper.matching import liquidity
from orderonce_paper.model import ZERO, Level, Market

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


def best_row(market: Market) -> Json:
    return shapes.best(market, *sides(market))


def sides(market: Market) -> tuple[list[Level], list[Level]]:
    """Aggregated by price, best first: what a seller and what a buyer would meet."""
    return _aggregated(market, "SELL"), _aggregated(market, "BUY")


def _aggregated(market: Market, taker_side: str) -> list[Level]:
    found: dict[Decimal, Decimal] = {}
    for level_price, size, _ in liquidity(market, taker_side):
        found[level_price] = found.get(level_price, ZERO) + size
    return list(found.items())


def day_row(market: Market, now_ms: int) -> Json:
    since = now_ms - DAY_MS
    # Newest first and no further than a page: a day may hold a million trades of a load test.
    recent = [trade for trade in market.trades[-1000:] if trade.time >= since]
    prices = [trade.price for trade in recent] or [market.last_price]
    volume = sum((trade.quantity for trade in recent), ZERO)
    quote_volume = sum((trade.quote for trade in recent), ZERO)
    money = shapes.money
    change = prices[-1] - prices[0]
    percent = (change * 100 / prices[0]).quantize(Decimal("0.001"))
    average = quote_volume / volume if volume else market.last_price
    return best_row(market) | {
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


def candle(seed: int, market: Market, open_time: int, step: int) -> list[Any]:
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
