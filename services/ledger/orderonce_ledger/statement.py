"""VERB: read what the venue itself says of an account, with a key that can only read.

A balance means something only together with the trades that it contains. So it is read between two
readings of the trades cursor, and counts only if nothing moved between them; else it is read again,
a few times. A page that fails is an error of the whole reading, never "no trades".
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from orderonce_shared.domain.venue import VenueFill
from orderonce_shared.venues.errors import VenueUnreachable

from orderonce_ledger.core import EPOCH, Amounts, trade_number
from orderonce_ledger.ports import Venue

PAGE_ROWS = 1000
MAX_PAGES = 10_000  # ten million trades of one symbol: more is an endless loop of somebody's
AT_ONCE = 8  # requests under way per account: reading must not eat the executor's rate budget

Answer = TypeVar("Answer")

NOT_QUIET = "trades went on while the balances were read"


class NotQuiet(Exception):
    """Trades went on while the balances were read, each time."""


@dataclass(frozen=True, slots=True)
class Statement:
    """`at`: the venue's clock just before the reading. `balances`: None when the account was never
    quiet."""

    at: datetime
    trades: Mapping[str, list[VenueFill]]
    balances: Amounts | None


@dataclass(frozen=True, slots=True)
class Opening:
    """Balances, and the last trade of each symbol that they contain (0: none yet)."""

    at: datetime
    balances: Amounts
    cursors: dict[str, int]


async def read_statement(venue: Venue, first: Mapping[str, int], tries: int) -> Statement:
    """All trades from a trade number on per symbol, and the balances that belong to them. Raises
    VenueUnreachable."""
    gate = asyncio.Semaphore(AT_ONCE)
    at = _moment(await venue.time_ms())
    trades = await _each(first, lambda symbol: _trades_from(venue, symbol, first[symbol], gate))
    for _ in range(tries):
        balances = await venue.balances()
        tails = await _each(
            first,
            lambda symbol: _trades_from(venue, symbol, _last(trades[symbol], first[symbol]), gate),
        )
        moved = [_extend(trades[symbol], tail) for symbol, tail in tails.items()]
        if not any(moved):
            return Statement(at, trades, balances)
    return Statement(at, trades, None)


async def read_opening(venue: Venue, symbols: Iterable[str], tries: int) -> Opening:
    """Raises VenueUnreachable, NotQuiet."""
    wanted = sorted(symbols)
    before = await last_trades(venue, wanted)
    for _ in range(tries):
        at = _moment(await venue.time_ms())
        balances = await venue.balances()
        after = await last_trades(venue, wanted)
        if after == before:
            return Opening(at, balances, after)
        before = after
    raise NotQuiet(NOT_QUIET)


async def last_trades(venue: Venue, symbols: Iterable[str]) -> dict[str, int]:
    """The newest trade number per symbol; 0 where there is none."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def newest(symbol: str) -> int:
        async with gate:
            page = await venue.trades(symbol, limit=1)
        return max((trade_number(fill) for fill in page), default=0)

    return await _each(symbols, newest)


async def last_trade_before(venue: Venue, symbol: str, moment: datetime) -> int:
    """The last trade of a symbol at or before a moment of the venue's clock; 0 where there is none.
    For a symbol that came after the opening: what it traded before is inside the opening
    balances."""
    fills = await _trades_from(venue, symbol, 0, asyncio.Semaphore(1))
    return max((trade_number(fill) for fill in fills if fill.traded_at <= moment), default=0)


async def _trades_from(
    venue: Venue, symbol: str, number: int, gate: asyncio.Semaphore
) -> list[VenueFill]:
    """Pages overlap by the last id: two trades may share one (both halves of a self-trade), and a
    page may end between them. What the venue lists twice on one page is kept twice."""
    rows: list[VenueFill] = []
    for _ in range(MAX_PAGES):
        async with gate:
            page = await venue.trades(symbol, from_id=str(number), limit=PAGE_ROWS)
        if any(trade_number(fill) < number or fill.symbol != symbol for fill in page):
            raise VenueUnreachable(f"trades of {symbol}: not what was asked for", {})
        if len(page) < PAGE_ROWS:
            return rows + page
        last = trade_number(page[-1])
        if last == number:
            raise VenueUnreachable(f"trades of {symbol}: a whole page under one id", {})
        rows += [fill for fill in page if trade_number(fill) < last]
        number = last
    raise VenueUnreachable(f"trades of {symbol}: more than {MAX_PAGES} pages", {})


def _last(rows: list[VenueFill], otherwise: int) -> int:
    return trade_number(rows[-1]) if rows else otherwise


def _extend(rows: list[VenueFill], tail: list[VenueFill]) -> bool:
    """Puts a reading from the last id on in the place of what was known of it; whether anything was
    new."""
    first = trade_number(rows[-1]) if rows else 0
    known = [fill for fill in rows if trade_number(fill) >= first]
    if tail == known:
        return False
    rows[:] = [fill for fill in rows if trade_number(fill) < first] + tail
    return True


async def _each(
    symbols: Iterable[str], ask: Callable[[str], Coroutine[None, None, Answer]]
) -> dict[str, Answer]:
    """symbol -> answer, asked side by side; the first failure ends all and is raised as itself."""
    names = list(symbols)
    tasks = [asyncio.create_task(ask(name)) for name in names]
    try:
        answers = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return dict(zip(names, answers, strict=True))


def _moment(milliseconds: int) -> datetime:
    return EPOCH + timedelta(milliseconds=milliseconds)
