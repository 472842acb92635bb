"""The WebSocket API: every method, ids echoed literally, sessions, and what a frame may not be."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.contract.test_paper_wire import check_types
from tests.unit.paper.process import Paper, running
from tests.unit.paper.sockets import LIMIT_S, Wire, connected, sign

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
LIMIT = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
    "quantity": "0.001", "price": "50000",
}  # fmt: skip


@pytest.fixture
async def paper(tmp_path: Path) -> AsyncIterator[Paper]:
    async with running(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
async def untouched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Paper]:
    """One venue for all that changes nothing there."""
    async with running(tmp_path_factory.mktemp("paper")) as started:
        yield started


@pytest.fixture
async def wire(paper: Paper) -> AsyncIterator[Wire]:
    async with connected(paper) as opened:
        yield opened


@pytest.mark.parametrize(
    "given", ["0", '"0"', "null", '"7d3b-uuid"', "18446744073709551616", "-1.50"]
)
async def test_an_id_comes_back_as_it_was_written(untouched: Paper, given: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(untouched.rest.replace("http", "ws") + "/ws-api/v3") as socket,
    ):
        await socket.send_str(f'{{"id":{given},"method":"ping"}}')
        text = (await socket.receive(timeout=LIMIT_S)).data
        assert text.startswith(f'{{"id":{given},"status":200,"result":{{}},"rateLimits":[')


async def test_rate_limits_are_shown_unless_told_otherwise(paper: Paper) -> None:
    async with connected(paper) as wire:
        shown = (await wire.ask("time"))["rateLimits"]
        assert shown[-1] == {
            "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1,
            "limit": 60_000, "count": 3,
        }, "two for the connection, one for the request"  # fmt: skip
        assert "rateLimits" not in await wire.ask("time", {"returnRateLimits": False})
        placed = await wire.signed("order.place", MARKET)
        kinds = [(row["rateLimitType"], row["interval"]) for row in placed["rateLimits"]]
        assert kinds == [("ORDERS", "SECOND"), ("ORDERS", "DAY"), ("REQUEST_WEIGHT", "MINUTE")]
        assert placed["rateLimits"][0]["count"] == 1
        wrong = await wire.signed("order.place", MARKET | {"quantity": "0"})
        assert (wrong["status"], wrong["error"]["code"]) == (400, -1013)
        assert wrong["rateLimits"]
    async with connected(paper, "/ws-api/v3?returnRateLimits=false") as wire:
        assert "rateLimits" not in await wire.ask("time")
        assert "rateLimits" in await wire.ask("time", {"returnRateLimits": True})


async def test_an_orders_life_by_frames_alone(paper: Paper, wire: Wire) -> None:
    symbol = {"symbol": "BTCUSDT"}
    made = (await wire.signed("order.place", LIMIT | {"newClientOrderId": "a"}))["result"]
    assert (made["status"], made["fills"]) == ("NEW", [])
    which = symbol | {"origClientOrderId": "a"}
    found = (await wire.signed("order.status", which))["result"]
    assert (found["orderId"], found["status"]) == (made["orderId"], "NEW")
    assert len((await wire.signed("openOrders.status"))["result"]) == 1
    again = {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrigClientOrderId": "a"}
    both = (await wire.signed("order.cancelReplace", LIMIT | again))["result"]
    assert (both["cancelResult"], both["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    twice = await wire.signed("order.cancelReplace", LIMIT | again)
    assert (twice["status"], twice["error"]["code"]) == (400, -2022)
    assert twice["error"]["data"]["cancelResult"] == "FAILURE"
    number = both["newOrderResponse"]["orderId"]
    gone = (await wire.signed("order.cancel", symbol | {"orderId": number}))["result"]
    assert (gone["orderId"], gone["status"]) == (number, "CANCELED")
    await wire.signed("order.place", LIMIT)
    assert len((await wire.signed("openOrders.cancelAll", symbol))["result"]) == 1
    await wire.signed("order.place", MARKET)
    assert len((await wire.signed("allOrders", symbol))["result"]) == 4
    assert len((await wire.signed("myTrades", symbol))["result"]) == 1
    assert (await wire.signed("order.test", MARKET))["result"] == {}
    status = (await wire.signed("account.status", {"omitZeroBalances": True}))["result"]
    assert {row["asset"]: row["free"] for row in status["balances"]}["BTC"] == "1000.00099900"
    rows = (await paper.control("GET", "requests"))["requests"]
    names = [(row["door"], row["ws_method"], row["method"], row["path"]) for row in rows]
    assert names[0] == ("ws", "order.place", "POST", "/api/v3/order")
    assert all("apiKey" not in row["params"] and "signature" not in row["params"] for row in rows)
    assert [row["account"] for row in rows] == ["paper-1"] * len(rows)


async def test_everything_that_can_be_asked_has_the_types_of_rest(wire: Wire) -> None:
    await wire.signed("order.place", MARKET)
    await wire.signed("order.place", LIMIT)
    symbol = {"symbol": "BTCUSDT"}
    public: list[tuple[str, dict[str, Any]]] = [
        ("exchangeInfo", {}), ("exchangeInfo", {"symbols": ["BTCUSDT"]}),
        ("exchangeInfo", {"symbols": '["BTCUSDT"]'}), ("depth", symbol | {"limit": 5}),
        ("trades.recent", symbol), ("klines", symbol | {"interval": "1m", "limit": 3}),
        ("avgPrice", symbol), ("ticker.24hr", symbol), ("ticker.price", symbol),
        ("ticker.book", symbol),
    ]  # fmt: skip
    for method, params in public:
        answer = await wire.ask(method, params)
        assert answer["status"] == 200, answer
        check_types(answer["result"], method)
    private = ("openOrders.status", "allOrders", "myTrades", "account.status")
    for method in (*private, "account.commission", "account.rateLimits.orders"):
        params = {} if method.startswith("account.s") or "rate" in method else symbol
        answer = await wire.signed(method, params)
        assert answer["status"] == 200, answer
        check_types(answer["result"], method)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("nonsense", -1135), ("[]", -1135), ('{"id":1.5e1,"method":7}', -1102), ("{}", -1102),
        ('{"id":{},"method":"ping"}', -1135), ('{"method":"ping","params":[]}', -1135),
        ('{"method":"ping","params":{"a":{"b":1}}}', -1102), ('{"method":"order.placed"}', -1020),
        ('{"method":"ping","id":"\\ud800"}', -1135), ('{"method":"ping","id":NaN}', -1135),
        ("[" * 30_000, -1135), ('{"method":"order.place","params":{"symbol":"X"}}', -2014),
    ],
)  # fmt: skip
async def test_a_frame_that_is_no_request_is_told_so(
    untouched: Paper, frame: str, code: int
) -> None:
    async with connected(untouched) as wire:
        await wire.socket.send_str(frame)
        await wire.until(lambda: wire.answers)
        (answer,) = wire.answers.values()
        assert answer["error"]["code"] == code, answer
        assert (await wire.ask("ping"))["status"] == 200, "the connection lives on"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"signature": "0" * 64}, -1022), ({"signature": None}, -1102), ({"timestamp": 1}, -1022),
        ({"apiKey": "x" * 64}, -2015), ({"apiKey": None}, -2014), ({"extra": "1"}, -1022),
    ],
)  # fmt: skip
async def test_a_signature_covers_every_parameter_and_the_key(
    untouched: Paper, change: dict[str, Any], code: int
) -> None:
    params = sign(untouched, MARKET) | change
    params = {name: value for name, value in params.items() if value is not None}
    async with connected(untouched) as wire:
        answer = await wire.ask("order.place", params)
    assert answer["error"]["code"] == code, answer
    assert (await untouched.control("GET", "orders"))["orders"] == []


async def test_numbers_are_signed_as_they_were_written(paper: Paper, wire: Wire) -> None:
    """0.00100 and 1e-3 are one number and two texts; the grammar refuses the second."""
    for text, status in (("0.00100", 200), ("1e-3", 400)):
        params = sign(paper, MARKET | {"quantity": text})
        raw = json.dumps(params).replace(f'"{text}"', text)
        await wire.socket.send_str(f'{{"id":"{text}","method":"order.place","params":{raw}}}')
        answer = await wire.until(lambda text=text: wire.answers.get(text))
        assert answer["status"] == status, answer
    assert answer["error"]["code"] == -1100


@pytest.mark.parametrize("kind", ["trade", "read", "ed25519"])
async def test_each_kind_of_key_at_both_doors(paper: Paper, wire: Wire, kind: str) -> None:
    assert (await wire.signed("account.status", kind=kind))["status"] == 200
    placed = await wire.signed("order.place", MARKET, kind=kind)
    assert placed["status"] == (401 if kind == "read" else 200)


async def test_a_stray_parameter_is_no_reason_to_refuse(wire: Wire) -> None:
    placed = await wire.signed("order.place", MARKET | {"clientOrderId": "stray"})
    assert placed["result"]["status"] == "FILLED"


async def test_a_connection_logged_on_need_not_sign(paper: Paper, wire: Wire) -> None:
    hmac_key = await wire.signed("session.logon", kind="trade")
    assert hmac_key["error"]["code"] == -4056, "Ed25519 only, as at the venue"
    assert (await wire.ask("userDataStream.subscribe"))["status"] == 401
    logged_on = (await wire.signed("session.logon", kind="ed25519"))["result"]
    key = paper.keys["accounts"]["paper-1"]["ed25519"]["api_key"]
    assert logged_on["apiKey"] == key
    assert logged_on["connectedSince"] <= logged_on["authorizedSince"] <= logged_on["serverTime"]
    status = (await wire.ask("session.status"))["result"]
    assert (status["apiKey"], status["userDataStream"]) == (key, False)
    assert (await wire.ask("userDataStream.subscribe"))["result"] == {"subscriptionId": 0}
    assert (await wire.ask("order.place", MARKET))["error"]["code"] == -1102, "still with a time"
    stamp = {"timestamp": sign(paper, {})["timestamp"]}
    placed = await wire.ask("order.place", MARKET | stamp)
    assert placed["result"]["status"] == "FILLED"
    assert [x for x, _ in wire.reports()] or await wire.heard(2)
    other = await wire.signed("account.status", account="paper-2", kind="read")
    assert other["result"]["uid"] == 1002, "a request's own key goes first"
    assert (await wire.ask("session.status"))["result"]["userDataStream"] is True
    assert (await wire.ask("session.logout"))["result"]["apiKey"] is None
    assert wire.events()[-1]["e"] == "eventStreamTerminated"
    assert (await wire.ask("order.place", MARKET | stamp))["error"]["code"] == -2014


async def test_subscriptions_are_numbered_listed_and_ended(paper: Paper, wire: Wire) -> None:
    assert [await wire.subscribe(), await wire.subscribe("paper-2")] == [0, 1]
    listed = (await wire.ask("session.subscriptions"))["result"]
    assert listed == [{"subscriptionId": 0}, {"subscriptionId": 1}]
    one = {"subscriptionId": 0}
    assert (await wire.ask("userDataStream.unsubscribe", one))["result"] == {}
    assert (await wire.ask("userDataStream.unsubscribe", one))["error"]["code"] == -1130
    assert wire.told == [{"subscriptionId": 0, "event": wire.events("eventStreamTerminated")[0]}]
    assert await wire.subscribe() == 2, "a number is not used again"
    assert (await wire.ask("userDataStream.unsubscribe"))["result"] == {}
    assert (await wire.ask("session.subscriptions"))["result"] == []
    await paper.order()
    await wire.ask("ping")
    assert wire.events("executionReport") == []


async def test_a_thousand_frames_at_once_are_all_answered(wire: Wire) -> None:
    for n in range(1000):
        await wire.socket.send_str(f'{{"id":{n},"method":"ping"}}')
    await wire.until(lambda: len(wire.answers) == 1000)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("rate_limit", 429, -1003), ("ban", 418, -1003), ("busy", 503, -1008),
     ("accept_then_5xx", 503, -1007), ("refuse_5xx", 503, -1001)],
)  # fmt: skip
async def test_faults_that_speak_are_frames_here(
    paper: Paper, wire: Wire, fault: str, status: int, code: int
) -> None:
    match = {"match": {"door": "ws"}} if fault == "ban" else {}
    await paper.fault(fault, **match)
    answer = await wire.signed("order.place", MARKET)
    assert (answer["status"], answer["error"]["code"]) == (status, code)
    executed = len((await paper.control("GET", "orders"))["orders"])
    assert executed == (1 if fault.startswith("accept") else 0)
    if status in (418, 429):
        data = answer["error"]["data"]
        assert data["retryAfter"] > data["serverTime"]


async def test_faults_that_are_silent_or_break_the_connection(paper: Paper) -> None:
    for fault in ("accept_then_timeout", "accept_then_reset", "half_body"):
        async with connected(paper) as wire:
            await paper.fault(fault)
            asking = asyncio.create_task(wire.signed("order.place", MARKET))
            if fault == "accept_then_timeout":
                await wire.ask("ping")
                assert not asking.done()
            else:
                await wire.until(lambda wire=wire: wire.socket.closed)
            asking.cancel()
    assert len((await paper.control("GET", "orders"))["orders"]) == 3


async def test_the_door_can_be_named_in_a_fault(paper: Paper, wire: Wire) -> None:
    await paper.fault("busy", match={"door": "rest", "method": "POST"})
    assert (await wire.signed("order.place", MARKET))["status"] == 200
    assert (await paper.order()).json()["code"] == -1008
