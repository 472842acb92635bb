"""The protocol by raw HTTP: both ways of sending, codes with their statuses, exact types."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.paper.process import Paper, running

MONEY = re.compile(r"-?[0-9]+\.[0-9]{8,}")


@pytest.fixture
async def paper(tmp_path: Path) -> AsyncIterator[Paper]:
    async with running(tmp_path) as started:
        yield started


def outcome(answer: Any) -> tuple[int, int]:
    assert answer.headers["content-type"].startswith("application/json")
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("where", ["query", "body", "mixed"])
async def test_post_and_delete_take_parameters_in_query_and_body(paper: Paper, where: str) -> None:
    asked = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    asked |= {"quantity": "0.001", "price": "50000", "newClientOrderId": "w"}
    made = await paper.signed("POST", "/api/v3/order", asked, where=where)
    assert made.json()["status"] == "NEW"
    which = {"symbol": "BTCUSDT", "origClientOrderId": "w", "recvWindow": "4000.5"}
    gone = await paper.signed("DELETE", "/api/v3/order", which, where=where)
    assert gone.json()["status"] == "CANCELED"


async def test_a_get_may_name_a_body_type_without_a_body(paper: Paper) -> None:
    headers = {"Content-Type": "application/json", "X-MBX-APIKEY": paper.pair()[0]}
    answer = await paper.http.get(f"{paper.rest}/api/v3/time", headers=headers)
    assert type(answer.json()["serverTime"]) is int


NOW = "now"
CODES: list[tuple[dict[str, Any], int, int]] = [
    ({"timeInForce": "GTC"}, 400, -1106),
    ({"price": "60000"}, 400, -1106),
    ({"quantity": None}, 400, -1102),
    ({"quoteOrderQty": "100"}, 400, -1128),
    ({"side": None}, 400, -1102),
    ({"side": "buy"}, 400, -1117),
    ({"type": "LIMITED"}, 400, -1116),
    ({"type": "STOP_LOSS"}, 400, -1013),
    ({"type": "LIMIT", "price": "60000", "timeInForce": "GTX"}, 400, -1115),
    ({"type": "LIMIT", "price": "60000"}, 400, -1102),
    ({"type": "LIMIT", "timeInForce": "GTC"}, 400, -1102),
    ({"type": "LIMIT_MAKER", "price": "60001"}, 400, -2010),
    ({"symbol": "NOPE"}, 400, -1121),
    ({"symbol": "btc/usdt"}, 400, -1100),
    ({"symbol": None}, 400, -1102),
    ({"quantity": "1e-05"}, 400, -1100),
    ({"quantity": "0.0000001"}, 400, -1013),
    ({"quantity": "0.000000001"}, 400, -1111),
    ({"quantity": "0.00001"}, 400, -1013),
    ({"side": "SELL", "quantity": "1001"}, 400, -1013),
    ({"side": "SELL", "quantity": "100.00001", "symbol": "ETHUSDT"}, 400, -1013),
    ({"newClientOrderId": "a.b"}, 400, -1100),
    ({"newClientOrderId": "a" * 37}, 400, -1100),
    ({"newOrderRespType": "ALL"}, 400, -1130),
    ({"recvWindow": "60001"}, 400, -1131),
    ({"selfTradePreventionMode": "EXPIRE_TAKER"}, 400, -1013),
]


@pytest.mark.parametrize(("fields", "status", "code"), CODES)
async def test_an_order_that_is_wrong(
    paper: Paper, fields: dict[str, Any], status: int, code: int
) -> None:
    assert outcome(await paper.order(**fields)) == (status, code)
    assert (await paper.control("GET", "orders"))["orders"] == []
    (seen,) = (await paper.control("GET", "requests?path=/api/v3/order"))["requests"]
    assert (seen["status"], seen["code"], seen["executed"]) == (status, code, False)


async def test_balance_and_duplicates_are_the_engines(paper: Paper) -> None:
    poor = {"account": "paper-1", "asset": "USDT", "amount": "-99999999"}
    await paper.control("POST", "trade", poor)
    answer = await paper.order()
    assert outcome(answer) == (400, -2010)
    assert "insufficient balance" in answer.json()["msg"]
    sell = {"side": "SELL", "price": "70000", "newClientOrderId": "one"}
    assert (await paper.limit(**sell)).status_code == 200
    answer = await paper.limit(**sell)
    assert (outcome(answer), answer.json()["msg"]) == ((400, -2010), "Duplicate order sent.")


async def test_signature_key_and_clock(paper: Paper) -> None:
    path, now = "/api/v3/account", int(time.time() * 1000)
    assert outcome(await paper.signed("GET", path, secret="other")) == (400, -1022)
    assert outcome(await paper.signed("GET", path, timestamp=now - 6000)) == (400, -1021)
    assert outcome(await paper.signed("GET", path, timestamp=now + 2500)) == (400, -1021)
    old = await paper.signed("GET", path, {"recvWindow": "9000"}, timestamp=now - 6000)
    assert old.status_code == 200
    assert outcome(await paper.http.get(f"{paper.rest}{path}")) == (401, -2014)
    unknown = {"X-MBX-APIKEY": "x" * 64}
    assert outcome(await paper.http.get(f"{paper.rest}{path}", headers=unknown)) == (401, -2015)
    known = {"X-MBX-APIKEY": paper.pair()[0]}
    assert outcome(await paper.http.get(f"{paper.rest}{path}", headers=known)) == (400, -1102)
    unsigned = await paper.http.get(f"{paper.rest}{path}?timestamp={now}", headers=known)
    assert outcome(unsigned) == (400, -1102)
    nothing = await paper.signed("POST", "/api/v3/order", {"symbol": "BTCUSDT"}, scope="read")
    assert outcome(nothing) == (401, -2015)
    assert (await paper.signed("GET", path, scope="read")).json()["canTrade"] is False


async def test_the_window_is_checked_again_before_the_engine(tmp_path: Path) -> None:
    async with running(tmp_path, "--engine-delay-ms", "400") as paper:
        assert outcome(await paper.order(recvWindow="200")) == (400, -1021)
        assert (await paper.order(recvWindow="5000")).status_code == 200
        (made,) = (await paper.control("GET", "orders"))["orders"]
        assert made["status"] == "FILLED"
        quick = await paper.signed("GET", "/api/v3/account", {"recvWindow": "200"})
        assert quick.status_code == 200, "only what goes to the engine waits for it"


async def test_the_three_answers_to_a_new_order(paper: Paper) -> None:
    full = (await paper.order(quantity="5")).json()
    assert len(full["fills"]) > 1
    assert sum(float(fill["qty"]) for fill in full["fills"]) == 5
    result = (await paper.order(newOrderRespType="RESULT")).json()
    assert "fills" not in result
    assert result["status"] == "FILLED"
    ack = (await paper.order(newOrderRespType="ACK")).json()
    assert set(ack) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    resting = (await paper.limit()).json()
    assert (resting["fills"], resting["status"]) == ([], "NEW")
    maker = await paper.order(type="LIMIT_MAKER", price="50000")
    assert "status" not in maker.json(), "LIMIT_MAKER answers ACK by itself"
    assert maker.headers["x-mbx-order-count-10s"] == "5"
    assert int(maker.headers["x-mbx-used-weight-1m"]) == 5


MONEY_NAMES = {
    "price", "qty", "quoteQty", "commission", "origQty", "executedQty", "cummulativeQuoteQty",
    "origQuoteOrderQty", "stopPrice", "icebergQty", "free", "locked", "bidPrice", "bidQty",
    "askPrice", "askQty", "lastPrice", "openPrice", "highPrice", "lowPrice", "volume",
    "quoteVolume", "tickSize", "stepSize", "minQty", "maxQty", "minPrice", "maxPrice",
    "minNotional", "maxNotional", "weightedAvgPrice", "priceChange",
}  # fmt: skip
INTEGER_NAMES = {
    "orderId", "orderListId", "id", "tradeId", "time", "updateTime", "transactTime",
    "workingTime", "serverTime", "openTime", "closeTime", "lastUpdateId", "uid", "count", "limit",
    "makerCommission", "takerCommission", "buyerCommission", "sellerCommission",
}  # fmt: skip


def check_types(found: Any, path: str) -> None:
    if isinstance(found, list):
        for row in found:
            check_types(row, path)
    if not isinstance(found, dict):
        return
    for name, value in found.items():
        if isinstance(value, dict | list):
            check_types(value, f"{path} {name}")
        elif name in MONEY_NAMES:
            assert isinstance(value, str), (path, name, value)
            assert MONEY.fullmatch(value), (path, name, value)
        elif name in INTEGER_NAMES and "tradeFee" not in path:
            assert type(value) is int, (path, name, value)


async def test_money_is_text_and_ids_are_integers_everywhere(paper: Paper) -> None:
    made = (await paper.order()).json()
    await paper.limit()
    check_types(made, "POST order")
    symbol = {"symbol": "BTCUSDT"}
    signed: list[tuple[str, dict[str, Any]]] = [
        ("order", symbol | {"orderId": made["orderId"]}),
        ("openOrders", {}),
        ("allOrders", symbol),
        ("myTrades", symbol),
        ("account", {}),
        ("account/commission", symbol),
        ("rateLimit/order", {}),
    ]
    for name, params in signed:
        answer = await paper.signed("GET", f"/api/v3/{name}", params)
        assert answer.status_code == 200, answer.text
        assert answer.json(), name
        check_types(answer.json(), name)
    for name in (
        "ping", "time", "exchangeInfo", "exchangeInfo?symbol=BTCUSDT",
        'exchangeInfo?symbols=["BTCUSDT","ETHUSDT"]', "depth?symbol=BTCUSDT&limit=5",
        "trades?symbol=BTCUSDT", "klines?symbol=BTCUSDT&interval=1m", "avgPrice?symbol=BTCUSDT",
        "ticker/24hr?symbol=BTCUSDT", "ticker/24hr", "ticker/price", "ticker/bookTicker",
    ):  # fmt: skip
        answer = await paper.http.get(f"{paper.rest}/api/v3/{name}")
        assert answer.status_code == 200, answer.text
        check_types(answer.json(), name)


async def test_the_stubs_of_other_wallets(paper: Paper) -> None:
    fees = await paper.signed("GET", "/sapi/v1/asset/tradeFee")
    assert {"symbol": "BTCUSDT", "makerCommission": "0.0008", "takerCommission": "0.001"} in (
        fees.json()
    )
    assert (await paper.signed("GET", "/sapi/v1/capital/config/getall")).json() == []
    for path, expected in (
        ("/sapi/v1/margin/allPairs", []),
        ("/sapi/v1/margin/isolated/allPairs", []),
        ("/fapi/v1/exchangeInfo", {"symbols": []}),
        ("/dapi/v1/exchangeInfo", {"symbols": []}),
    ):
        assert (await paper.http.get(paper.rest + path)).json() == expected


async def test_pages_of_trades_and_orders(paper: Paper) -> None:
    for n in range(5):
        await paper.order(newClientOrderId=f"t{n}")

    async def ids(path: str, name: str, **params: Any) -> list[int]:
        answer = await paper.signed("GET", path, {"symbol": "BTCUSDT", **params})
        return [row[name] for row in answer.json()]

    trades, orders = "/api/v3/myTrades", "/api/v3/allOrders"
    assert await ids(trades, "id") == [1, 2, 3, 4, 5]
    assert await ids(trades, "id", limit=2) == [4, 5]
    assert await ids(trades, "id", fromId=2, limit=2) == [2, 3]
    assert await ids(trades, "id", orderId=3) == [3]
    assert await ids(orders, "orderId", limit=2) == [4, 5]
    assert await ids(orders, "orderId", orderId=2, limit=2) == [2, 3]
    now, day = int(time.time() * 1000), 86_400_000
    assert await ids(trades, "id", startTime=now - day, endTime=now, limit=2) == [1, 2]
    assert await ids(trades, "id", startTime=now + 60_000) == []
    for path in (trades, orders):
        window = {"symbol": "BTCUSDT", "startTime": now - day - 1, "endTime": now}
        assert outcome(await paper.signed("GET", path, window)) == (400, -1127)
    both = {"symbol": "BTCUSDT", "startTime": now, "fromId": 1}
    assert outcome(await paper.signed("GET", trades, both)) == (400, -1128)


async def test_the_latest_order_answers_to_a_reused_client_id(paper: Paper) -> None:
    first = (await paper.order(newClientOrderId="again")).json()
    second = (await paper.limit(newClientOrderId="again")).json()
    which = {"symbol": "BTCUSDT", "origClientOrderId": "again"}
    found = (await paper.signed("GET", "/api/v3/order", which)).json()
    assert found["orderId"] == second["orderId"] != first["orderId"]
    both = which | {"orderId": first["orderId"]}
    assert (await paper.signed("GET", "/api/v3/order", both)).json()["status"] == "FILLED"
    other = which | {"orderId": first["orderId"], "origClientOrderId": "x"}
    assert outcome(await paper.signed("GET", "/api/v3/order", other)) == (400, -2013)
    rows = (await paper.control("GET", "orders?client_order_id=again"))["orders"]
    assert [row["sequence"] for row in rows] == [1, 2]


async def test_another_accounts_orders_are_not_there(paper: Paper) -> None:
    made = (await paper.limit()).json()
    which = {"symbol": "BTCUSDT", "orderId": made["orderId"]}
    theirs = await paper.signed("GET", "/api/v3/order", which, account="paper-2")
    assert outcome(theirs) == (400, -2013)
    gone = await paper.signed("DELETE", "/api/v3/order", which, account="paper-2")
    assert outcome(gone) == (400, -2011)
    none = await paper.signed(
        "DELETE", "/api/v3/openOrders", {"symbol": "BTCUSDT"}, account="paper-2"
    )
    assert outcome(none) == (400, -2011)


async def test_cancel_replace_in_both_modes(paper: Paper) -> None:
    path = "/api/v3/order/cancelReplace"
    new = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    new |= {"quantity": "0.001", "price": "50000"}
    first = (await paper.limit()).json()["orderId"]
    stop, allow = {"cancelReplaceMode": "STOP_ON_FAILURE"}, {"cancelReplaceMode": "ALLOW_FAILURE"}
    both = await paper.signed("POST", path, new | stop | {"cancelOrderId": first})
    assert both.json()["cancelResult"] == both.json()["newOrderResult"] == "SUCCESS"
    again = await paper.signed("POST", path, new | stop | {"cancelOrderId": first})
    assert outcome(again) == (400, -2022)
    assert again.json()["data"]["newOrderResult"] == "NOT_ATTEMPTED"
    anyway = await paper.signed("POST", path, new | allow | {"cancelOrderId": first})
    assert outcome(anyway) == (409, -2021)
    assert anyway.json()["data"]["cancelResponse"]["code"] == -2011
    last = anyway.json()["data"]["newOrderResponse"]["orderId"]
    taking = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT_MAKER", "quantity": "0.001"}
    taking |= {"price": "60001", "cancelOrderId": last}
    partly = await paper.signed("POST", path, taking | stop)
    assert outcome(partly) == (409, -2021)
    assert partly.json()["data"]["newOrderResponse"]["code"] == -2010
    small = new | stop | {"quantity": "0.00001", "cancelOrderId": 2}
    assert outcome(await paper.signed("POST", path, small)) == (400, -1013)
    order = await paper.signed("GET", "/api/v3/order", {"symbol": "BTCUSDT", "orderId": 2})
    assert order.json()["status"] == "NEW", "filters are looked at before anything is cancelled"


async def test_own_limits_of_rate(tmp_path: Path) -> None:
    flags = ("--orders-per-10s", "2", "--weight-per-minute", "60")
    async with running(tmp_path, *flags) as paper:
        codes = [(await paper.order()).json().get("code") for _ in range(4)]
        # The tenth of a minute may turn in between: then one more gets through.
        assert codes.count(-1015) >= 1
        shown = (await paper.signed("GET", "/api/v3/rateLimit/order")).json()
        assert shown[0]["limit"] == 2
        answers = [await paper.signed("GET", "/api/v3/account") for _ in range(4)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert outcome(refused[-1]) == (429, -1003)
        assert 1 <= int(refused[-1].headers["retry-after"]) <= 60


async def test_paths_that_are_not_there_and_bytes_that_are_not_http(paper: Paper) -> None:
    assert outcome(await paper.http.get(f"{paper.rest}/api/v3/nothing")) == (404, -1020)
    assert outcome(await paper.http.put(f"{paper.rest}/api/v3/order")) == (404, -1020)
    answer = await paper.http.post(f"{paper.rest}/api/v3/order", content=b"x" * 100_000)
    assert answer.status_code == 413
    host, port = paper.rest.removeprefix("http://").split(":")
    for noise in (b"\x00\x01\x02\r\n\r\n", b"GET " + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(noise)
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
        writer.close()
    assert (await paper.http.get(f"{paper.rest}/api/v3/ping")).json() == {}


async def test_pipelined_requests_are_answered_in_order(paper: Paper) -> None:
    host, port = paper.rest.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    names = ["time", "ping", "avgPrice?symbol=BTCUSDT"]
    writer.write(b"".join(f"GET /api/v3/{n} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for n in names))
    bodies = []
    async with asyncio.timeout(5):
        for _ in names:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
            bodies.append(json.loads(await reader.readexactly(size)))
    assert "serverTime" in bodies[0]
    assert bodies[1] == {}
    assert bodies[2]["price"] == "60000.00000000"
    writer.close()


async def test_an_order_unfilled_for_ninety_days_is_archived(paper: Paper) -> None:
    made = (await paper.limit(timeInForce="IOC")).json()
    assert made["status"] == "EXPIRED"
    later = 91 * 86_400_000
    await paper.fault("clock_skew", ms=later)
    which = {"symbol": "BTCUSDT", "orderId": made["orderId"]}
    now = int(time.time() * 1000) + later
    answer = await paper.signed("GET", "/api/v3/order", which, timestamp=now)
    assert outcome(answer) == (400, -2026)
