"""What became of the orders: from `orders.events`, or page by page from the order API; and when
the ledger booked them.

Never one request per order: a page of 200 tells as many orders as it holds, and a consumer costs
nothing on the path that is measured.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import aiohttp
import orjson

from orderonce_cli.load.kafka import Reader
from orderonce_cli.load.tally import Outcome, Tally

Now = Callable[[], float]
PAGE = 200  # the services' own limit
LOOK_EVERY_S = 0.2
PAGES_AT_ONCE = 50  # of one look: beyond 10,000 orders without an end the oldest must wait
ANSWER_LIMIT_S = 10.0
CLOCK_QUESTIONS = 5


async def follow_events(reader: Reader, tally: Tally, now: Now) -> None:
    """Until cancelled: every record of `orders.events` to the tally. A record that is no event of
    ours, or none at all, is passed over: others write there too."""
    while True:
        for record in await reader.read():
            try:
                told = orjson.loads(record.value or b"")
                if told["schema"] == "order.v1":
                    tally.event(told, now())
            except (ValueError, KeyError, TypeError):
                continue


async def read_back(reader: Reader, tally: Tally, now: Now) -> None:
    """Until cancelled: our own records, found by the header `key`."""
    while True:
        for record in await reader.read():
            for name, value in record.headers:
                number = tally.number(value.decode("utf-8", "replace")) if name == "key" else None
                if number is not None:
                    tally.read_back(number, now())


class Pages:
    """Readers of pages, over HTTP with the run's key."""

    def __init__(self, key: str) -> None:
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"},
            timeout=aiohttp.ClientTimeout(total=ANSWER_LIMIT_S),
        )

    async def close(self) -> None:
        await self._session.close()

    async def follow_orders(self, url: str, tally: Tally, now: Now) -> None:
        """Until cancelled: the newest orders, back to the oldest one that has no end yet."""
        while True:
            oldest = tally.oldest_unfinished()
            if oldest is not None:
                await self._orders_back_to(url, oldest, tally, now)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _orders_back_to(self, url: str, oldest: int, tally: Tally, now: Now) -> None:
        """Newest first is by acceptance, and orders overtake each other by fractions of a second:
        one page more than needed is read."""
        cursor, enough = None, False
        for _ in range(PAGES_AT_ONCE):
            page = await self._page(f"{url}/v1/orders", cursor)
            if page is None:
                return
            heard = now()
            numbers = []
            for row in page["orders"]:
                tally.row(row, heard)
                number = tally.number(row["idempotency_key"])
                numbers.append(oldest if number is None else number)
            cursor = page["next_cursor"]
            if cursor is None or enough:
                return
            enough = bool(numbers) and max(numbers) < oldest

    async def book(self, ledger: str, accounts: Sequence[str], tally: Tally) -> None:
        """Once, after the run: `booked` of every fill, newest first, back to the run's start."""
        numbers = {id_: n for n, id_ in enumerate(tally.ids) if id_ is not None}
        first = tally.started_at
        for account in accounts:
            cursor = None
            while True:
                page = await self._page(f"{ledger}/v1/fills", cursor, account=account)
                if page is None:
                    return
                for fill in page["fills"]:
                    number = numbers.get(fill["order_id"])
                    if number is not None:
                        tally.booked(number, fill["booked_at"])
                cursor = page["next_cursor"]
                if cursor is None or _before(page["fills"][-1]["booked_at"], first):
                    break

    async def clock_offset(self, url: str) -> tuple[float, float] | None:
        """How far the services' clock (Postgres') is ahead of ours, and how sure that is: half of
        the quickest of some questions' round trips. None when it cannot be asked."""
        best: tuple[float, float] | None = None
        for _ in range(CLOCK_QUESTIONS):
            before = time.time()
            try:
                async with self._session.get(f"{url}/v1/time") as answer:
                    said = orjson.loads(await answer.read())
                after = time.time()
                told = datetime.fromisoformat(said["time"]).timestamp()
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError):
                return best
            half = (after - before) / 2
            if best is None or half < best[1]:
                best = told - (before + half), half
        return best

    async def _page(self, url: str, cursor: str | None, **more: str) -> Any | None:
        """One page; None when there was no usable answer, which the next look mends."""
        asked = {"limit": str(PAGE), **more}
        if cursor is not None:
            asked["cursor"] = cursor
        try:
            async with self._session.get(url, params=asked) as answer:
                said = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        return orjson.loads(said) if answer.status == 200 else None


def unbooked(tally: Tally) -> int:
    """Filled orders whose journal has not been seen."""
    times = tally.times["booked"]
    return sum(
        status == "filled" and outcome != Outcome.SCHEDULED and times[n] != times[n]
        for n, (status, outcome) in enumerate(zip(tally.status, tally.outcome, strict=True))
    )


def _before(moment: str, seconds: float) -> bool:
    return datetime.fromisoformat(moment).timestamp() < seconds
