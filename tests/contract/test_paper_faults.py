"""Each fault as a client sees it, and what the venue's book says afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ccxt
import httpx
import pytest

from tests.contract.test_paper_ccxt import client
from tests.unit.paper.process import Paper, running, until


@pytest.fixture
async def paper(tmp_path: Path) -> AsyncIterator[Paper]:
    async with running(tmp_path) as started:
        yield started


async def orders(paper: Paper) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await paper.control("GET", "orders"))["orders"]
    return found


async def only_request(paper: Paper) -> dict[str, Any]:
    (seen,) = (await paper.control("GET", "requests?method=POST"))["requests"]
    found: dict[str, Any] = seen
    return found


@pytest.mark.parametrize(
    ("fault", "own", "error"),
    [
        ("accept_then_timeout", {"seconds": 0.2}, httpx.RemoteProtocolError),
        ("accept_then_reset", {}, httpx.ReadError),
        ("half_body", {}, httpx.RemoteProtocolError),
    ],
)
async def test_executed_and_never_heard_of(
    paper: Paper, fault: str, own: dict[str, Any], error: type[Exception]
) -> None:
    await paper.fault(fault, **own)
    with pytest.raises(error):
        await paper.order(newClientOrderId="lost")
    (made,) = await orders(paper)
    assert (made["client_order_id"], made["status"]) == ("lost", "FILLED")
    seen = await only_request(paper)
    assert (seen["executed"], seen["faults"], seen["order_id"]) == (True, [fault], 1)
    assert (await paper.order()).status_code == 200, "once, as armed"


async def test_a_timeout_holds_the_connection_as_long_as_it_was_told(paper: Paper) -> None:
    await paper.fault("accept_then_timeout", seconds=0.5)
    began = time.monotonic()
    with pytest.raises(httpx.RemoteProtocolError):
        await paper.order()
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize(
    ("fault", "own", "status", "body"),
    [
        ("accept_then_5xx", {}, 503, "<html>"),
        ("accept_then_5xx", {"status": 502, "body": "empty"}, 502, ""),
        ("accept_then_5xx", {"status": 504, "body": "json"}, 504, '{"code":-1007'),
        ("accept_then_5xx", {"status": 524}, 524, "<html>"),
        ("empty_body", {}, 200, ""),
        ("html_200", {}, 200, "<html>"),
        ("foreign_body", {}, 200, '{"symbol":"BTCUSDT","orderId":4294967291,'),
    ],
)
async def test_executed_and_answered_with_nonsense(
    paper: Paper, fault: str, own: dict[str, Any], status: int, body: str
) -> None:
    await paper.fault(fault, **own)
    answer = await paper.order(newClientOrderId="garbled")
    assert answer.status_code == status
    assert answer.text.startswith(body)
    assert bool(body) == bool(answer.text)
    assert [made["client_order_id"] for made in await orders(paper)] == ["garbled"]


@pytest.mark.parametrize(
    ("fault", "own", "status", "code"),
    [
        ("refuse_5xx", {"body": "json"}, 503, -1001),
        ("refuse_5xx", {"body": "json", "status": 500, "code": -1000}, 500, -1000),
        ("busy", {}, 503, -1008),
        ("rate_limit", {"retry_after": 7}, 429, -1003),
        ("ban", {"retry_after": 90, "match": {"method": "POST"}}, 418, -1003),
    ],
)
async def test_refused_before_anything_happened(
    paper: Paper, fault: str, own: dict[str, Any], status: int, code: int
) -> None:
    await paper.fault(fault, **own)
    answer = await paper.order()
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers.get("retry-after") == ({429: "7", 418: "90"}.get(status))
    assert await orders(paper) == []
    seen = await only_request(paper)
    assert (seen["executed"], seen["status"], seen["faults"]) == (False, status, [fault])


async def test_look_ups_are_blind_for_young_orders(paper: Paper) -> None:
    await paper.fault("not_found_lag", seconds=1.0)
    await paper.limit(newClientOrderId="young")
    await paper.order(newClientOrderId="filled")
    which = {"symbol": "BTCUSDT", "origClientOrderId": "young"}
    lists = ("openOrders", "allOrders", "myTrades")

    async def rows(path: str) -> list[Any]:
        answer = await paper.signed("GET", f"/api/v3/{path}", {"symbol": "BTCUSDT"})
        found: list[Any] = answer.json()
        return found

    assert (await paper.signed("GET", "/api/v3/order", which)).json()["code"] == -2013
    for path in lists:
        assert await rows(path) == [], path

    async def seen() -> bool:
        # The two orders come of age one after the other, so the lists are part of the condition.
        told = [len(await rows(path)) for path in lists]
        return told == [1, 2, 1]

    await until(seen)
    assert (await paper.signed("GET", "/api/v3/order", which)).status_code == 200


async def test_lag_falls_back_to_the_older_order_of_a_reused_id(paper: Paper) -> None:
    await paper.order(newClientOrderId="twice")
    await asyncio.sleep(0.6)
    await paper.fault("not_found_lag", seconds=0.5)
    await paper.limit(newClientOrderId="twice")
    which = {"symbol": "BTCUSDT", "origClientOrderId": "twice"}
    assert (await paper.signed("GET", "/api/v3/order", which)).json()["orderId"] == 1
    await paper.control("DELETE", "faults?name=not_found_lag")
    assert (await paper.signed("GET", "/api/v3/order", which)).json()["orderId"] == 2


async def test_the_clock_can_be_stepped_and_made_to_drift(paper: Paper) -> None:
    await paper.fault("clock_skew", ms=3000)
    server_time = (await paper.http.get(f"{paper.rest}/api/v3/time")).json()["serverTime"]
    assert 2500 < server_time - time.time() * 1000 < 3500
    assert (await paper.order(recvWindow="2000")).json()["code"] == -1021
    ahead = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
    stamp = int(time.time() * 1000) + 3000
    answer = await paper.signed("POST", "/api/v3/order", ahead, timestamp=stamp)
    assert answer.status_code == 200
    await paper.control("DELETE", "faults")
    assert (await paper.order(recvWindow="2000")).status_code == 200
    await paper.fault("clock_skew", drift_ppm=1_000_000)
    health = await paper.control("GET", "health")
    before = health["time"] - health["wall_time"]

    async def drifted() -> bool:
        health = await paper.control("GET", "health")
        return bool(health["time"] - health["wall_time"] > before + 200)

    await until(drifted)


async def test_slowness_at_three_places(paper: Paper) -> None:
    for where, refused in (("arrival", True), ("engine", True), ("reply", False)):
        await paper.fault("slow", ms=400, where=where, match={"method": "POST"})
        began = time.monotonic()
        answer = await paper.order(recvWindow="200", newClientOrderId=where)
        assert time.monotonic() - began >= 0.4
        assert (answer.json().get("code") == -1021) == refused, where
    assert [made["client_order_id"] for made in await orders(paper)] == ["reply"]


async def test_one_slow_request_does_not_hold_the_others(paper: Paper) -> None:
    await paper.fault("slow", ms=3000, match={"client_order_id": "slow*"})
    waiting = asyncio.create_task(paper.order(newClientOrderId="slow-1"))

    async def fired() -> bool:
        return bool((await paper.control("GET", "faults"))["faults"][0]["spent"])

    async with asyncio.timeout(2.5):
        await until(fired)
        assert (await paper.order(newClientOrderId="quick")).status_code == 200
    assert not waiting.done()
    assert (await waiting).status_code == 200


async def test_faults_are_matched_listed_and_cleared(paper: Paper) -> None:
    match = {"account": "paper-2", "symbol": "ETHUSDT", "side": "SELL"}
    number = await paper.fault("html_200", match=match, times=None)
    sell = {"symbol": "ETHUSDT", "side": "SELL", "quantity": "0.1"}
    assert (await paper.order(**sell)).json()["status"] == "FILLED"
    asked = {"symbol": "ETHUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.1"}
    other = await paper.signed("POST", "/api/v3/order", asked, account="paper-2")
    assert other.headers["content-type"].startswith("text/html")
    (listed,) = (await paper.control("GET", "faults"))["faults"]
    assert (listed["id"], listed["matched"], listed["fired"]) == (number, 1, 1)
    assert await paper.control("DELETE", f"faults?id={number}") == {"cleared": 1}
    other = await paper.signed("POST", "/api/v3/order", asked, account="paper-2")
    assert other.json()["status"] == "FILLED"


async def test_an_unknown_fault_is_told_the_known_ones(paper: Paper) -> None:
    url = f"{paper.control_url}/control/faults"
    answer = await paper.http.post(url, json={"name": "accept_early"})
    assert answer.status_code == 400
    assert "accept_then_timeout" in answer.json()["error"]


@pytest.mark.parametrize(
    ("fault", "own", "raised"),
    [
        ("accept_then_reset", {}, ccxt.ExchangeNotAvailable),
        ("accept_then_timeout", {"seconds": 0.1}, ccxt.ExchangeNotAvailable),
        ("half_body", {}, ccxt.ExchangeError),
        ("accept_then_5xx", {}, ccxt.ExchangeNotAvailable),
        ("accept_then_5xx", {"status": 504, "body": "json"}, ccxt.RequestTimeout),
        ("rate_limit", {}, ccxt.DDoSProtection),
        ("ban", {}, ccxt.DDoSProtection),
        ("refuse_5xx", {}, ccxt.ExchangeNotAvailable),
        ("busy", {}, ccxt.OperationFailed),
    ],
)
async def test_what_ccxt_makes_of_each(
    paper: Paper, fault: str, own: dict[str, Any], raised: type[Exception]
) -> None:
    async with client(paper) as x:
        await x.load_markets()
        await paper.fault(fault, **own)
        with pytest.raises(raised):
            await x.create_order("BTC/USDT", "market", "buy", "0.001")


@pytest.mark.parametrize("fault", ["html_200", "empty_body"])
async def test_ccxt_returns_an_order_without_id(paper: Paper, fault: str) -> None:
    async with client(paper) as x:
        await x.load_markets()
        await paper.fault(fault)
        made = await x.create_order("BTC/USDT", "market", "buy", "0.001")
        assert (made["id"], made["status"]) == (None, None)
        assert len(await orders(paper)) == 1
