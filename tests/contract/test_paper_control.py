"""The control door: prices, scripts, trades by hand, busts, dust, and the request log."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.paper.process import Paper, running, until


@pytest.fixture
async def paper(tmp_path: Path) -> AsyncIterator[Paper]:
    async with running(tmp_path) as started:
        yield started


async def test_a_price_fills_what_it_crosses(paper: Paper) -> None:
    await paper.limit(newClientOrderId="rest", price="59000")
    await paper.price("BTCUSDT", "58000", "58001")
    (made,) = (await paper.control("GET", "orders?client_order_id=rest"))["orders"]
    assert (made["status"], made["trade_ids"]) == ("FILLED", [1])
    (trade,) = (await paper.control("GET", "trades?account=paper-1"))["trades"]
    assert (trade["price"], trade["is_maker"]) == ("59000", True)
    assert trade["commission"] == "0.00000080"


async def test_a_script_moves_the_market_by_itself(paper: Paper) -> None:
    await paper.limit(newClientOrderId="rest", price="59000")
    script = [
        {"after_ms": 30, "symbol": "BTCUSDT", "bid": "59500", "ask": "59501"},
        {"after_ms": 60, "symbol": "BTCUSDT", "bid": "58500", "ask": "58501"},
    ]
    assert await paper.control("POST", "market", {"script": script}) == {"steps": 2}

    async def filled() -> bool:
        (made,) = (await paper.control("GET", "orders"))["orders"]
        return bool(made["status"] == "FILLED")

    await until(filled)
    best = await paper.http.get(f"{paper.rest}/api/v3/ticker/bookTicker?symbol=BTCUSDT")
    assert best.json()["bidPrice"] == "58500.00000000"


async def test_prices_move_by_themselves_only_when_asked(tmp_path: Path) -> None:
    async with running(tmp_path, "--random-walk-ms", "10") as paper:

        async def price() -> str:
            answer = await paper.http.get(f"{paper.rest}/api/v3/ticker/bookTicker?symbol=BTCUSDT")
            found: str = answer.json()["bidPrice"]
            return found

        first = await price()

        async def moved() -> bool:
            return await price() != first

        await until(moved)


async def test_a_trade_by_hand_has_a_foreign_client_id(paper: Paper) -> None:
    body = {"account": "paper-2", "symbol": "BTCUSDT", "side": "BUY"}
    body |= {"quantity": "0.5", "price": "61000"}
    made = await paper.control("POST", "trade", body)
    assert made["order"]["client_order_id"].startswith("web_")
    assert made["trade"]["quote"] == "30500.0"
    rows = await paper.signed("GET", "/api/v3/myTrades", {"symbol": "BTCUSDT"}, account="paper-2")
    (trade,) = rows.json()
    assert (trade["price"], trade["commission"]) == ("61000.00000000", "0.00050000")
    found = (await paper.control("GET", "balances?account=paper-2"))["balances"]["paper-2"]
    assert Decimal(found["BTC"]["free"]) == Decimal("1000.4995")
    assert Decimal(found["USDT"]["free"]) == Decimal("99969500")


async def test_a_bust_and_dust_change_the_statement(paper: Paper) -> None:
    await paper.order()
    opening = "100000000.00000000"
    assert await paper.control("POST", "trade", {"bust": 1, "symbol": "BTCUSDT"})
    mine = await paper.signed("GET", "/api/v3/myTrades", {"symbol": "BTCUSDT"})
    assert mine.json() == []
    shown = (await paper.control("GET", "trades"))["trades"]
    assert [row["busted"] for row in shown] == [True]
    dust = {"account": "paper-1", "asset": "ETH", "amount": "0.00000001"}
    await paper.control("POST", "trade", dust)
    account = (await paper.signed("GET", "/api/v3/account")).json()
    free = {row["asset"]: row["free"] for row in account["balances"]}
    assert (free["USDT"], free["ETH"]) == (opening, "20000.00000001")


async def test_the_request_log_in_pages_and_by_filter(paper: Paper) -> None:
    await paper.order(newClientOrderId="a")
    await paper.signed("GET", "/api/v3/account", account="paper-2")
    await paper.order(newClientOrderId="b", quantity="0")
    whole = (await paper.control("GET", "requests"))["requests"]
    assert [row["seq"] for row in whole] == [1, 2, 3]
    assert [row["executed"] for row in whole] == [True, False, False]
    first = whole[0]
    assert (first["account"], first["client_order_id"], first["trades"]) == ("paper-1", "a", 1)
    assert "signature" not in first["params"]
    assert first["params"]["quantity"] == "0.001"
    page = await paper.control("GET", "requests?path=/api/v3/order&limit=1")
    assert ([row["seq"] for row in page["requests"]], page["next_since"]) == ([1], 1)
    page = await paper.control("GET", "requests?path=/api/v3/order&since=1")
    assert ([row["seq"] for row in page["requests"]], page["next_since"]) == ([3], 3)
    theirs = await paper.control("GET", "requests?account=paper-2")
    assert [row["path"] for row in theirs["requests"]] == ["/api/v3/account"]
    assert (await paper.control("GET", "accounts"))["accounts"][0] == {
        "account": "paper-1",
        "uid": 1001,
        "orders": 1,
        "open_orders": 0,
        "trades": 1,
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "nothing", None, 404),
        ("POST", "price", {"symbol": "NOPE", "bid": "1", "ask": "2"}, 404),
        ("POST", "price", {"symbol": "BTCUSDT", "bid": "2", "ask": "1"}, 400),
        ("POST", "price", {"symbol": "BTCUSDT", "bid": "1.001", "ask": "2"}, 400),
        ("POST", "price", {"symbol": "BTCUSDT", "bid": 1.5, "ask": "2"}, 400),
        ("POST", "price", {"symbol": "BTCUSDT", "bid": "0", "ask": "2"}, 400),
        ("POST", "market", {"script": []}, 400),
        ("POST", "market", {"script": [{"symbol": "BTCUSDT"}]}, 400),
        ("POST", "trade", {"account": "nobody"}, 404),
        ("POST", "trade", {"bust": 7, "symbol": "BTCUSDT"}, 409),
        ("POST", "trade", {"account": "paper-1", "asset": "BTC", "amount": "-1001"}, 409),
        ("POST", "trade", {"account": "paper-1", "symbol": "BTCUSDT", "side": "UP"}, 400),
        ("POST", "faults", [], 400),
        ("GET", "requests?limit=x", None, 400),
        ("GET", f"requests?since={'9' * 5000}", None, 400),
    ],
)
async def test_what_cannot_be_done_is_said_in_words(
    paper: Paper, method: str, path: str, body: Any, status: int
) -> None:
    answer = await paper.http.request(method, f"{paper.control_url}/control/{path}", json=body)
    assert (answer.status_code, bool(answer.json()["error"])) == (status, True)
    assert (await paper.control("GET", "health"))["status"] == "ok"


async def test_the_log_says_where_the_parameters_stood(paper: Paper) -> None:
    for where in ("query", "body", "mixed"):
        answer = await paper.signed("GET", "/api/v3/account", {"recvWindow": "5000"}, where=where)
        assert answer.status_code == 200
    await paper.http.get(f"{paper.rest}/api/v3/ping")
    rows = (await paper.control("GET", "requests"))["requests"]
    assert [row["sent_in"] for row in rows] == ["query", "body", "query+body", ""]
