"""The door against the paper exchange as a process of its own, with its faults."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from orderonce_shared.domain.identity import client_order_id
from orderonce_shared.domain.order import OrderTerms, OrderType, Side, TimeInForce
from orderonce_shared.domain.venue import (
    Absent,
    Acknowledged,
    CannotAsk,
    DuplicateId,
    Found,
    NoSuchOrder,
    PlaceRequest,
    Refused,
    RefusedUnprocessed,
    Silence,
    VenueStatus,
)
from orderonce_shared.venues.adapter import Door, VenueUnreachable
from orderonce_shared.venues.credentials import Credential, Secret

READY_S = 20
_numbers = count(1)


@dataclass
class Paper:
    """The running exchange and its control door."""

    rest: str
    keys: dict[str, Any]
    control: Callable[..., Awaitable[Any]]

    def credential(self, scope: str = "trade") -> Credential:
        pair = self.keys["accounts"]["paper-1"][scope]
        return Credential("paper-1", "paper", Secret(pair["api_key"]), Secret(pair["secret"]))

    async def fault(self, name: str, **fields: Any) -> None:
        await self.control("POST", "/control/faults", {"name": name, **fields})

    async def creates(self, client_id: str) -> list[dict[str, Any]]:
        rows = (await self.control("GET", "/control/requests?method=POST&limit=100000"))["requests"]
        return [row for row in rows if row["client_order_id"] == client_id]


@asynccontextmanager
async def running_paper(folder: Path) -> AsyncIterator[Paper]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orderonce_paper", "--data", str(folder)),
        *("--port", "0", "--control-port", "0", "--log-level", "error"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_S):
            ready = json.loads(await process.stdout.readline())
        keys = json.loads((folder / "keys.json").read_text())
        async with aiohttp.ClientSession(ready["control"]) as session:

            async def control(method: str, path: str, body: Any = None) -> Any:
                async with session.request(method, path, json=body) as answer:
                    assert answer.status == 200, await answer.text()
                    return await answer.json()

            yield Paper(ready["rest"], keys, control)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture(scope="module")
async def exchange(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Paper]:
    async with running_paper(tmp_path_factory.mktemp("paper")) as paper:
        yield paper


@pytest.fixture
async def paper(exchange: Paper) -> AsyncIterator[Paper]:
    """The module's exchange, without faults before and after."""
    await exchange.control("DELETE", "/control/faults")
    yield exchange
    await exchange.control("DELETE", "/control/faults")


OpenDoor = Callable[..., Awaitable[Door]]


@pytest.fixture
async def open_door(paper: Paper) -> AsyncIterator[OpenDoor]:
    doors: list[Door] = []

    async def open_(scope: str = "trade", **changes: Any) -> Door:
        settings: dict[str, Any] = {"base_url": paper.rest, "monotonic": time.monotonic}
        credential = paper.credential(scope)
        doors.append(await Door.open("paper", "paper-1", credential, **settings | changes))
        return doors[-1]

    yield open_
    for door in doors:
        await door.close()


@pytest.fixture
async def door(open_door: OpenDoor) -> Door:
    return await open_door()


async def request(door: Door, **changes: Any) -> PlaceRequest:
    """A limit buy far below the market, so that it rests, stamped with the venue's time of now."""
    terms: dict[str, Any] = {
        "account": "paper-1",
        "symbol": "BTC/USDT",
        "side": Side.BUY,
        "type": OrderType.LIMIT,
        "quantity": Decimal("0.00100"),
        "price": Decimal("30000.00"),
        "time_in_force": TimeInForce.GTC,
        "post_only": False,
    }
    rest: dict[str, Any] = {
        "account": "paper-1",
        "client_order_id": client_order_id("test", f"{time.time_ns()}-{next(_numbers)}"),
        "window_ms": 5000,
    }
    for name, value in changes.items():
        (terms if name in terms else rest)[name] = value
    if "signed_at_ms" not in rest:
        rest["signed_at_ms"] = await door.time_ms()
    return PlaceRequest(terms=OrderTerms(**terms), **rest)


MARKET: dict[str, Any] = {"type": OrderType.MARKET, "price": None}


async def find(door: Door, sent: PlaceRequest) -> Any:
    return await door.find(sent.terms.symbol, sent.client_order_id, signed_at_ms=sent.signed_at_ms)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        (MARKET, VenueStatus.FILLED),
        ({**MARKET, "side": Side.SELL}, VenueStatus.FILLED),
        ({}, VenueStatus.OPEN),
        ({"price": Decimal("70000.00")}, VenueStatus.FILLED),
        ({"time_in_force": TimeInForce.IOC}, VenueStatus.EXPIRED),
        ({"time_in_force": TimeInForce.FOK}, VenueStatus.EXPIRED),
        ({"post_only": True}, VenueStatus.OPEN),
    ],
)
async def test_each_kind_is_placed_and_found_as_it_was_acknowledged(
    door: Door, paper: Paper, changes: dict[str, Any], status: VenueStatus
) -> None:
    sent = await request(door, **changes)
    verdict = await door.place(sent)
    assert isinstance(verdict, Acknowledged), verdict
    assert verdict.order.status is status
    found = await find(door, sent)
    assert isinstance(found, Found), found
    assert found.order == verdict.order  # fills too: those of FULL are those of myTrades
    fills = await door.order_fills(sent.terms.symbol, verdict.order.venue_order_id)
    assert tuple(fills) == verdict.order.fills
    assert sum(fill.quantity for fill in fills) == verdict.order.filled_quantity
    assert len(await paper.creates(sent.client_order_id)) == 1


async def test_a_large_market_order_has_all_its_fills(door: Door) -> None:
    sent = await request(door, **MARKET, symbol="ETH/USDT", quantity=Decimal("20"))
    verdict = await door.place(sent)
    assert isinstance(verdict, Acknowledged), verdict
    assert verdict.order.filled_quantity == 20
    assert tuple(await door.order_fills("ETH/USDT", verdict.order.venue_order_id)) == (
        verdict.order.fills
    )


async def test_two_hundred_at_once(door: Door, paper: Paper) -> None:
    requests = [
        await request(door, price=Decimal("20000.00") + number, quantity=Decimal("0.00050"))
        for number in range(200)
    ]
    verdicts = await asyncio.gather(*(door.place(one) for one in requests))
    assert all(isinstance(verdict, Acknowledged) for verdict in verdicts), verdicts[:3]
    rows = (await paper.control("GET", "/control/requests?method=POST&limit=100000"))["requests"]
    got = {row["client_order_id"]: row["params"]["timestamp"] for row in rows if row["executed"]}
    assert {one.client_order_id: str(one.signed_at_ms) for one in requests}.items() <= got.items()
    canceled = await asyncio.gather(
        *(door.cancel("BTC/USDT", one.client_order_id) for one in requests)
    )
    assert all(isinstance(verdict, Found) for verdict in canceled)


async def test_refusals(door: Door) -> None:
    refused: list[dict[str, Any]] = [
        {"quantity": Decimal("0.000001")},  # LOT_SIZE
        {"price": Decimal("30000.001")},  # PRICE_FILTER
        {"symbol": "DOGE/EUR"},
        {"side": Side.SELL, "price": Decimal("90000"), "quantity": Decimal("8000")},
        {"post_only": True, "price": Decimal("70000")},
    ]
    for changes in refused:
        verdict = await door.place(await request(door, **changes))
        assert isinstance(verdict, Refused), (changes, verdict)


async def test_a_stale_stamp_is_refused_before_processing(door: Door) -> None:
    now = await door.time_ms()
    for stamp in (now - 6_000, now + 3_000):
        sent = await request(door, signed_at_ms=stamp)
        verdict = await door.place(sent)
        assert isinstance(verdict, RefusedUnprocessed), verdict
        assert verdict.clock_is_off
        assert isinstance(await find(door, sent), Absent)


async def test_the_venues_own_clock_three_seconds_ahead(door: Door, paper: Paper) -> None:
    await door.time_ms()
    await paper.fault("clock_skew", ms=30_000.0)
    sent = await request(door)  # asks the time anew
    assert isinstance(await door.place(sent), Acknowledged)
    await paper.control("DELETE", "/control/faults")
    # The door's idea of the venue's time is now 30 s ahead: reads correct it by themselves.
    assert isinstance(await find(door, sent), Found)
    assert isinstance(await door.cancel("BTC/USDT", sent.client_order_id), Found)


async def test_a_client_id_in_use_is_a_duplicate_and_a_free_one_is_not(door: Door) -> None:
    sent = await request(door)
    assert isinstance(await door.place(sent), Acknowledged)
    again = await request(door, client_order_id=sent.client_order_id)
    assert isinstance(await door.place(again), DuplicateId)
    assert isinstance(await door.cancel("BTC/USDT", sent.client_order_id), Found)


@pytest.mark.parametrize(
    "fault",
    [
        {"name": "accept_then_timeout"},
        {"name": "accept_then_reset"},
        {"name": "accept_then_5xx"},
        {"name": "accept_then_5xx", "status": 503, "body": "json", "code": -1007},
        {"name": "accept_then_5xx", "status": 400, "body": "json", "code": -1007},
        {"name": "accept_then_5xx", "status": 503, "body": "json", "code": -1008},
        {"name": "half_body"},
        {"name": "empty_body"},
        {"name": "html_200"},
    ],
)
async def test_accepted_without_a_word_is_silence_and_then_found(
    open_door: OpenDoor, paper: Paper, fault: dict[str, Any]
) -> None:
    door = await open_door(timeout_ms=500)
    await paper.fault(**fault)
    sent = await request(door)
    assert isinstance(await door.place(sent), Silence)
    found = await find(door, sent)
    assert isinstance(found, Found), found
    assert found.order.status is VenueStatus.OPEN
    assert len(await paper.creates(sent.client_order_id)) == 1


@pytest.mark.parametrize("fault", [{"name": "refuse_5xx"}, {"name": "busy"}])
async def test_refused_with_5xx_proves_nothing_and_is_then_absent(
    door: Door, paper: Paper, fault: dict[str, Any]
) -> None:
    await paper.fault(**fault)
    sent = await request(door)
    assert isinstance(await door.place(sent), Silence)
    assert isinstance(await find(door, sent), Absent)


@pytest.mark.parametrize(
    ("fault", "pause_ms"),
    [
        ({"name": "rate_limit", "retry_after": 3}, 3_000),
        ({"name": "ban", "match": {"method": "POST"}}, 120_000),
        ({"name": "busy", "status": 429}, 1_000),
    ],
)
async def test_refused_before_processing_with_a_pause(
    door: Door, paper: Paper, fault: dict[str, Any], pause_ms: int
) -> None:
    await paper.fault(**fault)
    sent = await request(door)
    verdict = await door.place(sent)
    assert isinstance(verdict, RefusedUnprocessed), verdict
    assert verdict.pause_ms == pause_ms
    assert isinstance(await find(door, sent), Absent)


async def test_blind_look_ups_say_absent_though_the_order_lives(door: Door, paper: Paper) -> None:
    await paper.fault("not_found_lag", seconds=60.0)
    sent = await request(door)
    assert isinstance(await door.place(sent), Acknowledged)
    assert isinstance(await find(door, sent), Absent)  # why rule R7 waits for late visibility
    await paper.control("DELETE", "/control/faults")
    assert isinstance(await find(door, sent), Found)


@pytest.mark.parametrize("path", ["order", "openOrders", "allOrders"])
async def test_a_rung_that_does_not_answer_is_cannot_ask(
    door: Door, paper: Paper, path: str
) -> None:
    await paper.fault("refuse_5xx", match={"method": "GET", "path": f"/api/v3/{path}"})
    sent = await request(door)
    assert isinstance(await find(door, sent), CannotAsk)
    assert isinstance(await find(door, sent), Absent)


async def test_cancels(open_door: OpenDoor, paper: Paper) -> None:
    door = await open_door(timeout_ms=500)
    sent = await request(door)
    assert isinstance(await door.cancel("BTC/USDT", sent.client_order_id), NoSuchOrder)
    assert isinstance(await door.place(sent), Acknowledged)
    await paper.fault("slow", ms=3_000.0, match={"method": "DELETE"})
    assert isinstance(await door.cancel("BTC/USDT", sent.client_order_id), CannotAsk)
    verdict = await find(door, sent)
    if isinstance(verdict, Found) and verdict.order.status is VenueStatus.OPEN:
        verdict = await door.cancel("BTC/USDT", sent.client_order_id)
    assert isinstance(verdict, Found)
    assert verdict.order.status is VenueStatus.CANCELED
    assert isinstance(await door.cancel("BTC/USDT", sent.client_order_id), NoSuchOrder)


async def test_a_read_only_key_reads_all_that_the_ledger_needs(
    door: Door, open_door: OpenDoor
) -> None:
    reader = await open_door("read", read_only=True)
    before = await reader.balances()
    sent = await request(door, **MARKET)
    verdict = await door.place(sent)
    assert isinstance(verdict, Acknowledged)
    (fill,) = verdict.order.fills
    after = await reader.balances()
    fee = {one.asset: one.amount for one in fill.fees}
    assert after["BTC"] - before["BTC"] == fill.quantity - fee.get("BTC", Decimal(0))
    assert before["USDT"] - after["USDT"] == fill.cost + fee.get("USDT", Decimal(0))
    assert await reader.uid() == "1001"
    assert fill in await reader.trades("BTC/USDT", from_id=fill.trade_id)
    assert (await reader.trades("BTC/USDT", from_id="0", limit=1))[0].trade_id <= fill.trade_id
    assert fill in await reader.trades("BTC/USDT", since_ms=sent.signed_at_ms - 1_000)
    instruments = {one.symbol: one for one in await reader.instruments()}
    assert {"BTC/USDT", "ETH/USDT", "SOL/USDT"} <= set(instruments)
    assert instruments["BTC/USDT"].tick_size == Decimal("0.01")
    prices = await reader.reference_prices(sorted(instruments))
    assert set(prices) == set(instruments)
    assert all(price > 0 for price in prices.values())


async def test_the_venue_itself_refuses_a_read_only_key_a_create(
    open_door: OpenDoor, paper: Paper
) -> None:
    door = await open_door("read")
    sent = await request(door)
    assert isinstance(await door.place(sent), Refused)
    assert isinstance(await find(door, sent), Absent)


async def test_a_wrong_secret_is_refused_and_cannot_be_asked(paper: Paper) -> None:
    good = paper.credential()
    wrong = Credential("paper-1", "paper", good.api_key, Secret("wrong"))
    door = await Door.open("paper", "paper-1", wrong, base_url=paper.rest, monotonic=time.monotonic)
    try:
        sent = await request(door)
        assert isinstance(await door.place(sent), Refused)
        assert isinstance(await find(door, sent), CannotAsk)
        with pytest.raises(VenueUnreachable):
            await door.balances()
    finally:
        await door.close()


async def test_a_stopped_venue_is_never_not_found(tmp_path: Path) -> None:
    async with running_paper(tmp_path) as paper:
        door = await Door.open(
            *("paper", "paper-1", paper.credential()),
            base_url=paper.rest,
            monotonic=time.monotonic,
        )
        sent = await request(door)
        assert isinstance(await door.place(sent), Acknowledged)
    try:
        assert isinstance(await find(door, sent), CannotAsk)
        assert isinstance(await door.cancel("BTC/USDT", sent.client_order_id), CannotAsk)
    finally:
        await door.close()
