"""The stream door against the paper exchange: it tells one by one, and comes back by itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import pytest
from orderonce_shared.domain.order import OrderTerms, OrderType, Side, TimeInForce
from orderonce_shared.domain.venue import Acknowledged, PlaceRequest, VenueStatus
from orderonce_shared.venues.adapter import Door
from orderonce_shared.venues.credentials import Secret
from orderonce_shared.venues.evidence import PAPER
from orderonce_shared.venues.stream import Report, open_stream, stream_url

from tests.contract.test_venue_paper import Paper, running_paper
from tests.stacks.program import until

LIMIT_S = 15.0


@dataclass
class Heard:
    """Writes down what it is told."""

    ups: int = 0
    downs: list[str] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    garbage: list[str] = field(default_factory=list)

    def on_up(self) -> None:
        self.ups += 1

    def on_report(self, report: Report) -> None:
        self.reports.append(report)

    def on_garbage(self, why: str) -> None:
        self.garbage.append(why)

    def on_down(self, why: str) -> None:
        self.downs.append(why)

    def of(self, client_order_id: str) -> list[Report]:
        return [one for one in self.reports if one.client_order_id == client_order_id]


@asynccontextmanager
async def opened(paper: Paper) -> AsyncIterator[Door]:
    door = await Door.open(
        "paper", "paper-1", paper.credential(), base_url=paper.rest, monotonic=time.monotonic
    )
    try:
        yield door
    finally:
        await door.close()


@asynccontextmanager
async def following(paper: Paper, door: Door, secret: str | None = None) -> AsyncIterator[Heard]:
    credential = paper.credential()
    if secret is not None:
        credential = replace(credential, secret=Secret(secret))
    url = stream_url(PAPER, paper.rest, None)
    stream = open_stream(credential, url, door.time_ms, time.monotonic)
    assert stream is not None
    heard = Heard()
    task = asyncio.create_task(stream.follow(heard))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stream.close()


@pytest.fixture
async def paper(tmp_path: Path) -> AsyncIterator[Paper]:
    async with running_paper(tmp_path) as started:
        yield started


def limit(price: str, quantity: str = "0.01") -> OrderTerms:
    return OrderTerms(
        "paper-1", "BTC/USDT", Side.BUY, OrderType.LIMIT, Decimal(quantity), Decimal(price),
        TimeInForce.GTC, False,
    )  # fmt: skip


Place = Callable[[str, OrderTerms], Awaitable[None]]


async def place(door: Door, client_id: str, terms: OrderTerms) -> None:
    request = PlaceRequest("paper-1", terms, client_id, await door.time_ms(), 5_000)
    assert isinstance(await door.place(request), Acknowledged)


async def test_an_orders_life_is_told_one_by_one(paper: Paper) -> None:
    async with opened(paper) as door, following(paper, door) as heard:
        await until(lambda: heard.ups == 1, LIMIT_S, "subscribed")
        await place(door, "taken-1", limit("60001"))
        await place(door, "rests-1", limit("50000"))
        await door.cancel("BTC/USDT", "rests-1")
        await until(lambda: len(heard.of("rests-1")) == 2, LIMIT_S, "NEW and CANCELED of one id")
        ((new, told), (_, ended)) = (
            [one.read("BTC/USDT") for one in heard.of(name)] for name in ("taken-1", "rests-1")
        )
        assert (new.status, new.fills) == (VenueStatus.OPEN, ())
        assert (told.status, told.filled_quantity) == (VenueStatus.FILLED, Decimal("0.01"))
        assert ended.status is VenueStatus.CANCELED
        assert ended.raw["c"] != ended.raw["C"] == "rests-1"
        by_rest = await door.order_fills("BTC/USDT", told.venue_order_id)
        assert list(told.fills) == by_rest, "the stream's trade is REST's, to the last digit"
        assert not heard.garbage


async def test_a_cut_connection_comes_back_and_tells_again(paper: Paper) -> None:
    async with opened(paper) as door, following(paper, door) as heard:
        await until(lambda: heard.ups == 1, LIMIT_S, "subscribed")
        await paper.fault("ws_drop", seconds=1)
        await until(lambda: heard.ups == 2, LIMIT_S, "subscribed again")
        assert len(heard.downs) >= 2, "the cut, and at least one try that was not let in"
        await place(door, "after-1", limit("60001"))
        await until(lambda: len(heard.of("after-1")) == 2, LIMIT_S, "the new connection tells")


async def test_a_wrong_key_is_tried_again_after_growing_pauses(paper: Paper) -> None:
    """Neither a busy loop nor an end; the reason names no key and no signature."""
    async with opened(paper) as door, following(paper, door, secret="wrong") as heard:
        await until(lambda: len(heard.downs) == 3, LIMIT_S, "refused three times")
        assert heard.ups == 0
        assert all(why.isidentifier() for why in heard.downs)


async def test_a_venue_that_is_away_is_waited_for(paper: Paper, tmp_path: Path) -> None:
    async with opened(paper) as door:
        stream = open_stream(
            paper.credential(), "ws://127.0.0.1:9/ws-api/v3", door.time_ms, time.monotonic
        )
        assert stream is not None
        heard = Heard()
        task = asyncio.create_task(stream.follow(heard))
        await until(lambda: len(heard.downs) == 2, LIMIT_S, "refused twice")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stream.close()
        assert not heard.ups
