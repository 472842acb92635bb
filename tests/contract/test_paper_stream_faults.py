"""Faults of fills and streams: told early, twice, late, out of order, not at all; accepted late."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.test_paper_ws_api import MARKET
from tests.unit.paper.process import Paper, running, until
from tests.unit.paper.sockets import Wire, connected

SYMBOL = {"symbol": "BTCUSDT"}


@pytest.fixture
async def paper(tmp_path: Path) -> AsyncIterator[Paper]:
    async with running(tmp_path) as started:
        yield started


@pytest.fixture
async def wire(paper: Paper) -> AsyncIterator[Wire]:
    async with connected(paper) as opened:
        await opened.subscribe()
        yield opened


async def trades(paper: Paper) -> list[int]:
    answer = await paper.signed("GET", "/api/v3/myTrades", SYMBOL)
    return [row["id"] for row in answer.json()]


@pytest.mark.parametrize("door", ["rest", "ws"])
async def test_fills_before_ack(paper: Paper, wire: Wire, door: str) -> None:
    """The stream says FILLED while the client still waits for the answer to its order."""
    await paper.fault("fills_before_ack", ms=60_000, match={"client_order_id": "early"})
    order = {"newClientOrderId": "early"}
    placing: asyncio.Task[Any]
    if door == "rest":
        placing = asyncio.create_task(paper.order(**order))
    else:
        placing = asyncio.create_task(wire.signed("order.place", MARKET | order))
    reports = await wire.heard(2)
    assert [(r["c"], r["X"]) for r in reports] == [("early", "NEW"), ("early", "FILLED")]
    assert not placing.done()
    assert (await paper.order()).status_code == 200, "only the matched order waits"
    placing.cancel()


async def test_fills_before_ack_answers_in_the_end(paper: Paper, wire: Wire) -> None:
    await paper.fault("fills_before_ack", ms=300)
    began = time.monotonic()
    assert (await paper.order()).json()["status"] == "FILLED"
    assert time.monotonic() - began >= 0.3
    assert [x for x, _ in wire.reports()] == ["NEW", "TRADE"]


async def test_fill_twice(paper: Paper, wire: Wire) -> None:
    """The same trade event twice, byte for byte; the venue's own books know one trade."""
    await paper.fault("fill_twice")
    await paper.order(newClientOrderId="doubled")
    await paper.order(newClientOrderId="single")
    reports = await wire.heard(5)
    assert [(r["c"], r["x"]) for r in reports] == [
        ("doubled", "NEW"), ("doubled", "TRADE"), ("doubled", "TRADE"),
        ("single", "NEW"), ("single", "TRADE"),
    ]  # fmt: skip
    assert reports[1] == reports[2]
    assert await trades(paper) == [1, 2]


async def clear(paper: Paper) -> None:
    await paper.control("DELETE", "faults")


async def test_fill_late(paper: Paper, wire: Wire) -> None:
    """The answer and GET order know of the fill; stream and myTrades do not, for a while."""
    await paper.fault("fill_late", seconds=60, match={"client_order_id": "late*"})
    made = (await paper.order(newClientOrderId="late-1")).json()
    assert made["status"] == "FILLED"
    found = await paper.signed("GET", "/api/v3/order", SYMBOL | {"orderId": made["orderId"]})
    assert found.json()["executedQty"] == "0.00100000"
    await paper.order(newClientOrderId="prompt")
    assert await trades(paper) == [2]
    told = [(r["c"], r["x"]) for r in await wire.heard(3)]
    assert told == [("late-1", "NEW"), ("prompt", "NEW"), ("prompt", "TRADE")]
    await clear(paper)
    late = (await wire.heard(4))[-1]
    assert (late["c"], late["x"], late["X"]) == ("late-1", "TRADE", "FILLED")
    assert await trades(paper) == [1, 2]


async def test_fill_late_ends_by_itself(paper: Paper, wire: Wire) -> None:
    await paper.fault("fill_late", seconds=0.3)
    began = time.monotonic()
    await paper.order()
    assert [r["x"] for r in await wire.heard(2)] == ["NEW", "TRADE"]
    assert time.monotonic() - began >= 0.3
    assert await trades(paper) == [1]


async def test_fill_late_needs_nobody_to_listen(paper: Paper) -> None:
    await paper.fault("fill_late", seconds=60)
    await paper.order()
    assert await trades(paper) == []
    await clear(paper)
    assert await trades(paper) == [1]


async def test_what_follows_a_late_fill_waits_behind_it(paper: Paper, wire: Wire) -> None:
    """A cancel of the rest must not be heard before the fill that came first."""
    await paper.fault("fill_late", seconds=60, match={"client_order_id": "part"})
    made = (await paper.limit(price="60001", quantity="3", newClientOrderId="part")).json()
    assert made["status"] == "PARTIALLY_FILLED"
    which = SYMBOL | {"orderId": made["orderId"]}
    assert (await paper.signed("DELETE", "/api/v3/order", which)).status_code == 200
    await wire.ask("ping")
    assert [x for x, _ in wire.reports()] == ["NEW"]
    await clear(paper)
    await wire.heard(3)
    assert [x for x, _ in wire.reports()] == ["NEW", "TRADE", "CANCELED"]


@pytest.mark.parametrize("seed", [1, 2])
async def test_fill_out_of_order(paper: Paper, wire: Wire, seed: int) -> None:
    """Another order of the same events, the same one for the same seed."""
    heard: list[list[str]] = []
    for n in range(2):
        await paper.fault("fill_out_of_order", seed=seed, match={"client_order_id": "mixed*"})
        before = len(wire.events("executionReport"))
        made = (await paper.order(quantity="6", newClientOrderId=f"mixed-{n}")).json()
        count = 1 + len(made["fills"])
        reports = (await wire.heard(before + count))[before:]
        heard.append([r["z"] for r in reports])
        assert sorted(heard[-1], key=Decimal) != heard[-1]
        final = sorted(heard[-1], key=Decimal)[-1]
        assert Decimal(final) == 6
        assert next(r["X"] for r in reports if r["z"] == final) == "FILLED"
    assert heard[0] == heard[1]


async def test_fill_out_of_order_over_two_moves_of_the_market(paper: Paper, wire: Wire) -> None:
    await paper.fault("fill_out_of_order", seconds=60, match={"client_order_id": "slow"})
    await paper.limit(price="59900", quantity="4", newClientOrderId="slow")
    await wire.heard(1)
    for bid in ("59700.00", "59600.00"):
        await paper.price("BTCUSDT", bid, "59900.00")
    await clear(paper)
    reports = (await wire.heard(3))[1:]
    assert Decimal(reports[0]["z"]) > Decimal(reports[1]["z"])


async def test_accept_late_inside_its_window(paper: Paper, wire: Wire) -> None:
    """The client has long given up; the order is accepted all the same."""
    await paper.fault("accept_late", seconds=2.5)
    with pytest.raises(httpx.TransportError):
        await paper.order(newClientOrderId="late", recvWindow="60000")
    assert (await paper.control("GET", "orders"))["orders"] == []
    assert [x for x, _ in wire.reports()] == []
    await wire.heard(2)
    (made,) = (await paper.control("GET", "orders"))["orders"]
    assert (made["client_order_id"], made["status"]) == ("late", "FILLED")
    (seen,) = (await paper.control("GET", "requests?method=POST"))["requests"]
    assert (seen["executed"], seen["faults"]) == (True, ["accept_late"])
    assert seen["time"] - seen["received_at"] >= 2400


@pytest.mark.parametrize(("window", "executed"), [("kept", False), ("ignored", True)])
async def test_accept_late_after_its_window(paper: Paper, window: str, executed: bool) -> None:
    """The venue looks at the window once more before matching; one without that fence does not."""
    await paper.fault("accept_late", seconds=2.5, window=window)
    with pytest.raises(httpx.TransportError):
        await paper.order(recvWindow="2000")

    async def decided() -> Any:
        return (await paper.control("GET", "requests?method=POST"))["requests"]

    await until(decided)
    (seen,) = await decided()
    assert (seen["code"], seen["executed"]) == (0 if executed else -1021, executed)


async def test_accept_late_while_the_client_waits(paper: Paper) -> None:
    """`close_after` holds the connection: for clients that give up by a time-out of their own."""
    await paper.fault("accept_late", seconds=0.1, close_after=0.4)
    began = time.monotonic()
    with pytest.raises(httpx.TransportError):
        await paper.order()
    assert time.monotonic() - began >= 0.4


async def test_accept_late_over_the_websocket(paper: Paper, wire: Wire) -> None:
    await paper.fault("accept_late", seconds=0.3)
    async with connected(paper) as other:
        asking = asyncio.create_task(other.signed("order.place", MARKET))
        await other.until(lambda: other.socket.closed)
        asking.cancel()
    assert [r["X"] for r in await wire.heard(2)] == ["NEW", "FILLED"]


async def test_ws_drop_now_and_closed_for_a_while(paper: Paper, wire: Wire) -> None:
    async with connected(paper, "/ws/btcusdt@ticker") as market:
        await paper.fault("ws_drop", seconds=3)
        await wire.until(lambda: wire.socket.closed)
        await market.until(lambda: market.socket.closed)
    refused = 0

    async def back() -> bool:
        nonlocal refused
        try:
            async with connected(paper):
                return True
        except Exception:
            refused += 1
            return False

    await until(back, limit_s=30)
    assert refused
    assert (await paper.order()).status_code == 200


async def test_ws_drop_of_one_account_leaves_the_others(paper: Paper, wire: Wire) -> None:
    async with connected(paper) as other:
        await other.subscribe("paper-2")
        await paper.fault("ws_drop", match={"account": "paper-2"})
        await other.until(lambda: other.socket.closed)
    assert (await wire.ask("ping"))["status"] == 200


async def test_ws_drop_loses_the_event_that_it_waited_for(paper: Paper, wire: Wire) -> None:
    """The fill is not in the stream, and nobody sends it again: REST has it."""
    await paper.fault("ws_drop", when="event", after=1)
    await paper.order()
    await wire.until(lambda: wire.socket.closed)
    assert [x for x, _ in wire.reports()] == ["NEW"]
    async with connected(paper) as again:
        await again.subscribe()
        await paper.order()
        assert [r["t"] for r in await again.heard(2)] == [-1, 2]
    assert await trades(paper) == [1, 2]


async def test_balance_lag(paper: Paper) -> None:
    async def btc() -> str:
        rows = (await paper.signed("GET", "/api/v3/account")).json()["balances"]
        return next(row["free"] for row in rows if row["asset"] == "BTC")

    await paper.order()
    await paper.fault("balance_lag", seconds=60, match={"account": "paper-1"})
    assert await btc() == "1000.00099900", "what was before the fault is seen"
    await paper.order()
    await paper.order()
    assert await btc() == "1000.00099900"
    await clear(paper)
    assert await btc() == "1000.00299700"
    await paper.fault("balance_lag", seconds=0.3)
    await paper.order()

    async def seen() -> bool:
        return await btc() == "1000.00399600"

    await until(seen)


async def test_a_fault_of_fills_matches_orders_and_not_requests(paper: Paper) -> None:
    url = f"{paper.control_url}/control/faults"
    asked = {"name": "fill_late", "match": {"path": "/api/v3/order"}}
    answer = await paper.http.post(url, json=asked)
    assert (answer.status_code, "match of fill_late has no field path" in answer.text) == (
        400,
        True,
    )
    asked = {"name": "fill_twice", "match": {"account": "paper-2", "side": "SELL"}}
    assert (await paper.http.post(url, json=asked)).status_code == 200
    await paper.order()
    (listed,) = (await paper.control("GET", "faults"))["faults"]
    assert (listed["matched"], listed["fired"]) == (0, 0)


async def test_killed_in_the_middle_of_every_fault(tmp_path: Path) -> None:
    """What reached the book is there, what did not is not, and the streams begin anew."""
    async with running(tmp_path) as paper, connected(paper) as wire:
        await wire.subscribe()
        await paper.fault("fill_late", seconds=60, match={"client_order_id": "unheard"})
        await paper.order(newClientOrderId="unheard")
        assert await trades(paper) == []
        await paper.fault("accept_late", seconds=60, match={"client_order_id": "pending"})
        with pytest.raises(httpx.TransportError):
            await paper.order(newClientOrderId="pending")
        await paper.fault("accept_late", seconds=0.1, match={"client_order_id": "accepted"})
        with pytest.raises(httpx.TransportError):
            await paper.order(newClientOrderId="accepted")
        await wire.until(lambda: any(r["c"] == "accepted" for r in wire.events()[1:] if "c" in r))
        last = wire.events("executionReport")[-1]["I"]
        before = await paper.control("GET", "orders")
        os.kill(paper.process.pid, signal.SIGKILL)
        await paper.process.wait()
        await wire.until(lambda: wire.socket.closed)
    async with running(tmp_path) as paper, connected(paper) as wire:
        await wire.subscribe()
        after = await paper.control("GET", "orders")
        assert after == before
        assert [o["client_order_id"] for o in after["orders"]] == ["unheard", "accepted"]
        assert await trades(paper) == [1, 2]
        await paper.order()
        assert (await wire.heard(2))[0]["I"] > last, "an execution's number is not used again"
