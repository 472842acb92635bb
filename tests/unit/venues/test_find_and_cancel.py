"""The look-up ladder and the cancel: "cannot ask" is never "not found"."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from orderonce_shared.domain.venue import Absent, CannotAsk, Found, NoSuchOrder, VenueStatus
from orderonce_shared.venues.adapter import Door

MINE = "ooabcdefghijklmnopqrstuvwxyz"
STAMP_MS = 1_760_000_000_123
ORDER = {
    "symbol": "BTCUSDT",
    "orderId": 28,
    "clientOrderId": MINE,
    "executedQty": "0.00100000",
    "cummulativeQuoteQty": "20.00000000",
    "status": "PARTIALLY_FILLED",
    "time": STAMP_MS,
    "side": "BUY",
}
TRADE = {
    "symbol": "BTCUSDT",
    "id": 56,
    "orderId": 28,
    "price": "20000.00000000",
    "qty": "0.00100000",
    "quoteQty": "20.00000000",
    "commission": "0.00000100",
    "commissionAsset": "BTC",
    "time": STAMP_MS,
    "isBuyer": True,
    "isMaker": False,
}
NOT_FOUND = (400, {"code": -2013, "msg": "Order does not exist."})
TIME, ONE = "GET /api/v3/time", "GET /api/v3/order"
OPEN, ALL = "GET /api/v3/openOrders", "GET /api/v3/allOrders"
TRADES, CANCEL = "GET /api/v3/myTrades", "DELETE /api/v3/order"
BLIND: dict[str, Any] = {ONE: NOT_FOUND, OPEN: (200, []), ALL: (200, []), TRADES: (200, [])}


def routes(stub: Any, table: dict[str, Any]) -> None:
    """Answers per route: (status, document), or a function of the request, or Reply arguments."""
    reply = stub.script.__globals__["Reply"]

    def script(seen: Any) -> Any:
        known = {TIME: (200, {"serverTime": STAMP_MS}), **table}
        what = known[f"{seen.method} {seen.path}"]
        if callable(what):
            what = what(seen)
        if isinstance(what, dict):
            return reply(**what)
        return reply(status=what[0], body=json.dumps(what[1]))

    stub.script = script


def asked(stub: Any) -> list[str]:
    return [f"{one.method} {one.path}" for one in stub.seen if one.path != "/api/v3/time"]


async def find(door: Door) -> Any:
    return await door.find("BTC/USDT", MINE, signed_at_ms=STAMP_MS)


async def test_found_by_client_id_with_its_fills(door: Door, stub: Any) -> None:
    routes(stub, {ONE: (200, ORDER), TRADES: (200, [TRADE])})
    verdict = await find(door)
    assert isinstance(verdict, Found)
    assert (verdict.order.status, verdict.order.filled_cost) == (VenueStatus.OPEN, Decimal(20))
    assert [fill.trade_id for fill in verdict.order.fills] == ["56"]
    assert asked(stub) == [ONE, TRADES]
    assert stub.seen[1].parameters["origClientOrderId"] == MINE


@pytest.mark.parametrize("trades", [(200, []), (500, {}), (200, [TRADE | {"qty": "0.002"}])])
async def test_found_counts_though_its_fills_cannot_be_read(
    door: Door, stub: Any, trades: Any
) -> None:
    routes(stub, {ONE: (200, ORDER), TRADES: trades})
    verdict = await find(door)
    assert isinstance(verdict, Found)
    assert verdict.order.fills == ()
    assert verdict.order.filled_quantity == Decimal("0.001")


@pytest.mark.parametrize("rung", [OPEN, ALL])
async def test_found_on_a_later_rung(door: Door, stub: Any, rung: str) -> None:
    other = ORDER | {"clientOrderId": "another", "orderId": 27}
    routes(stub, BLIND | {rung: (200, [other, ORDER]), TRADES: (200, [TRADE])})
    verdict = await find(door)
    assert isinstance(verdict, Found)
    assert verdict.order.venue_order_id == "28"


async def test_absent_only_when_every_rung_has_answered(door: Door, stub: Any) -> None:
    routes(stub, BLIND)
    verdict = await find(door)
    assert isinstance(verdict, Absent)
    assert asked(stub) == [ONE, OPEN, ALL]
    assert set(verdict.raw) == {"by client id", "open orders", "all orders since the stamp"}


FAILURES: list[Any] = [
    (500, {"code": -1000, "msg": "x"}),
    (502, "html"),
    (200, {"not": "a list"}),
    (200, None),
    (400, {"code": -2026, "msg": "archived"}),
    (429, {"code": -1003, "msg": "x"}),
    (302, {}),
    {"then": "reset"},
    {"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", "then": "close"},
    {"status": 200, "body": "<html></html>"},
    {"status": 200, "body": ""},
]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("rung", [ONE, OPEN, ALL])
async def test_any_rung_without_an_answer_is_cannot_ask(
    door: Door, stub: Any, rung: str, failure: Any
) -> None:
    routes(stub, BLIND | {rung: failure})
    assert isinstance(await find(door), CannotAsk)
    assert len([one for one in asked(stub) if one == rung]) == 1  # aiohttp re-sent nothing


@pytest.mark.parametrize(
    "foreign", [{"clientOrderId": "another"}, {"symbol": "ETHUSDT"}, {"status": "?"}]
)
async def test_a_foreign_order_is_cannot_ask(door: Door, stub: Any, foreign: Any) -> None:
    routes(stub, BLIND | {ONE: (200, ORDER | foreign)})
    assert isinstance(await find(door), CannotAsk)


async def test_a_venue_that_does_not_tell_its_time_is_cannot_ask(door: Door, stub: Any) -> None:
    routes(stub, BLIND | {TIME: (500, {})})
    assert isinstance(await find(door), CannotAsk)


async def test_a_full_page_of_orders_is_not_the_end_of_the_search(door: Door, stub: Any) -> None:
    page = [ORDER | {"clientOrderId": f"x{n}", "orderId": n} for n in range(1, 1001)]

    def all_orders(seen: Any) -> Any:
        first = int(seen.parameters.get("orderId", "0"))
        return 200, [ORDER | {"orderId": 1001}] if first == 1001 else page

    routes(stub, BLIND | {ALL: all_orders})
    verdict = await find(door)
    assert isinstance(verdict, Found)
    assert verdict.order.venue_order_id == "1001"
    first, second = (one.parameters for one in stub.seen if one.path == "/api/v3/allOrders")
    assert int(first["startTime"]) <= STAMP_MS - 1_000  # the paper venue's step allowance
    assert STAMP_MS < int(first["endTime"]) < int(first["startTime"]) + 86_400_000
    assert "startTime" not in second


async def test_a_read_outside_its_window_asks_the_time_and_is_sent_once_more(
    door: Door, stub: Any
) -> None:
    answers = iter([(400, {"code": -1021, "msg": "outside of the recvWindow"}), (200, ORDER)])
    routes(stub, {ONE: lambda _: next(answers), TRADES: (200, [TRADE])})
    assert isinstance(await find(door), Found)
    assert [one.path for one in stub.seen[:4]] == [
        "/api/v3/time",
        "/api/v3/order",
        "/api/v3/time",
        "/api/v3/order",
    ]


async def test_reads_are_signed_with_the_venues_own_time(
    open_door: Callable[..., Any], stub: Any
) -> None:
    now = [500.0]
    door = await open_door(monotonic=lambda: now[0])
    routes(stub, {ONE: (200, ORDER | {"executedQty": "0"})})
    await find(door)
    now[0] += 2.5
    await find(door)
    now[0] += 61  # the clock's life is over: asked again
    await find(door)
    stamps = [int(one.parameters["timestamp"]) for one in stub.seen if "order" in one.path]
    assert stamps == [STAMP_MS, STAMP_MS + 2_500, STAMP_MS]


CANCELED = ORDER | {
    "clientOrderId": "the-cancels-own-id",
    "origClientOrderId": MINE,
    "status": "CANCELED",
}


async def test_a_cancel_answers_with_what_was_executed(door: Door, stub: Any) -> None:
    routes(stub, {CANCEL: (200, CANCELED)})
    verdict = await door.cancel("BTC/USDT", MINE)
    assert isinstance(verdict, Found)
    order = verdict.order
    assert (order.status, order.client_order_id) == (VenueStatus.CANCELED, MINE)
    assert (order.filled_quantity, order.filled_cost) == (Decimal("0.001"), Decimal(20))
    sent = stub.seen[-1].parameters
    assert (sent["origClientOrderId"], sent["timestamp"]) == (MINE, str(STAMP_MS))


async def test_unknown_order_sent_is_no_such_order(door: Door, stub: Any) -> None:
    routes(stub, {CANCEL: (400, {"code": -2011, "msg": "Unknown order sent."})})
    assert isinstance(await door.cancel("BTC/USDT", MINE), NoSuchOrder)


@pytest.mark.parametrize(
    "failure",
    [
        *FAILURES,
        (400, {"code": -2011, "msg": "Order was not canceled due to cancel restrictions."}),
        (500, {"code": -2011, "msg": "Unknown order sent."}),
        (400, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}),
        (200, CANCELED | {"origClientOrderId": "another"}),
    ],
)
async def test_any_other_answer_to_a_cancel_is_cannot_ask_and_sent_once(
    door: Door, stub: Any, failure: Any
) -> None:
    routes(stub, {CANCEL: failure})
    assert isinstance(await door.cancel("BTC/USDT", MINE), CannotAsk)
    assert asked(stub) == [CANCEL]


async def test_no_answer_to_a_cancel_in_time_is_cannot_ask(
    open_door: Callable[..., Any], stub: Any
) -> None:
    door = await open_door(timeout_ms=150)
    routes(stub, {CANCEL: {"then": "hang"}})
    assert isinstance(await door.cancel("BTC/USDT", MINE), CannotAsk)
    assert asked(stub) == [CANCEL]
