"""PURE: what the public streams say of a market. Names and letters are the venue's."""

from typing import Any

from orderonce_paper.market_views import INTERVALS_MS, best_row, candle, day_row, sides
from orderonce_paper.model import Market, Traded
from orderonce_paper.shapes import money

Json = dict[str, Any]

DEPTHS = frozenset({"depth5", "depth10", "depth20"})
DAY_LETTERS = {
    "priceChange": "p", "priceChangePercent": "P", "weightedAvgPrice": "w",
    "prevClosePrice": "x", "lastPrice": "c", "lastQty": "Q", "bidPrice": "b", "bidQty": "B",
    "askPrice": "a", "askQty": "A", "openPrice": "o", "highPrice": "h", "lowPrice": "l",
    "volume": "v", "quoteVolume": "q", "openTime": "O", "closeTime": "C", "firstId": "F",
    "lastId": "L", "count": "n",
}  # fmt: skip
MINI = ("c", "o", "h", "l", "v", "q")


def told_every_second(name: str) -> bool:
    """Whether a stream of this name repeats its state (and does not only tell of changes)."""
    return name in ("ticker", "miniTicker", "bookTicker") or name in DEPTHS or _interval(name) != ""


def state(market: Market, name: str, seed: int, now_ms: int) -> Json | None:
    """The present payload of SYMBOL@name; None for a stream that has no state or is not there."""
    match name:
        case "bookTicker":
            return book_ticker(market)
        case "ticker" | "miniTicker":
            return _ticker(market, name, now_ms)
        case _ if name in DEPTHS:
            bids, asks = sides(market)
            most = int(name.removeprefix("depth"))
            return {
                "lastUpdateId": market.update_id,
                "bids": [[money(price), money(size)] for price, size in bids[:most]],
                "asks": [[money(price), money(size)] for price, size in asks[:most]],
            }
        case _ if _interval(name):
            return _kline(market, _interval(name), seed, now_ms, False)
        case _:
            return None


def book_ticker(market: Market) -> Json:
    best = best_row(market)
    return {
        "u": market.update_id,
        "s": market.symbol.name,
        "b": best["bidPrice"],
        "B": best["bidQty"],
        "a": best["askPrice"],
        "A": best["askQty"],
    }


def trade(made: Traded, now_ms: int) -> Json:
    """SYMBOL@trade. A side that is the synthetic market's has order id 0."""
    taker, maker = (leg.order_id if leg else 0 for leg in (made.taker, made.maker))
    buyer, seller = (taker, maker) if made.taker_side == "BUY" else (maker, taker)
    return {
        "e": "trade",
        "E": now_ms,
        "s": made.symbol,
        "t": made.trade_id,
        "p": money(made.price),
        "q": money(made.quantity),
        "b": buyer,
        "a": seller,
        "T": made.time,
        "m": made.taker_side == "SELL",
        "M": True,
    }


def _interval(name: str) -> str:
    interval = name.removeprefix("kline_")
    return interval if interval != name and interval in INTERVALS_MS else ""


def _ticker(market: Market, name: str, now_ms: int) -> Json:
    row = day_row(market, now_ms)
    letters = {short: row[long] for long, short in DAY_LETTERS.items()}
    if name == "miniTicker":
        letters = {short: letters[short] for short in MINI}
    kind = "24hrTicker" if name == "ticker" else "24hrMiniTicker"
    return {"e": kind, "E": now_ms, "s": market.symbol.name, **letters}


def ended_candle(market: Market, name: str, seed: int, since_ms: int, now_ms: int) -> Json | None:
    """The last word on the candle of `since_ms` if it has ended by now."""
    step = INTERVALS_MS.get(_interval(name))
    if step is None or since_ms // step == now_ms // step:
        return None
    return _kline(market, _interval(name), seed, since_ms, True)


def _kline(market: Market, interval: str, seed: int, now_ms: int, ended: bool) -> Json:
    """The candle that `now_ms` is in."""
    step = INTERVALS_MS[interval]
    row = candle(seed, market, now_ms // step * step, step)
    return {
        "e": "kline",
        "E": now_ms,
        "s": market.symbol.name,
        "k": {
            "t": row[0],
            "T": row[6],
            "s": market.symbol.name,
            "i": interval,
            "f": -1,
            "L": -1,
            "o": row[1],
            "c": row[4],
            "h": row[2],
            "l": row[3],
            "v": row[5],
            "n": row[8],
            "x": ended,
            "q": row[7],
            "V": row[9],
            "Q": row[10],
            "B": "0",
        },
    }
