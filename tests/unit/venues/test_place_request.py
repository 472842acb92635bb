"""What a create carries on the wire: exactly the stored stamp, window, id and terms, or it does not
go out.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from orderonce_shared.domain.order import OrderType, Side, TimeInForce
from orderonce_shared.domain.venue import Acknowledged, PlaceRequest, Unsent
from orderonce_shared.venues.adapter import Door, ReadOnlyDoor

RequestOf = Callable[..., PlaceRequest]
COMMON = {
    "symbol": "BTCUSDT",
    "quantity": "0.00100",
    "newClientOrderId": "ooabcdefghijklmnopqrstuvwxyz",
    "newOrderRespType": "FULL",
    "timestamp": "1760000000123",
    "recvWindow": "5000",
}
LIMIT = {"type": "LIMIT", "price": "20000.10"}
KINDS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"type": OrderType.MARKET, "price": None}, {"type": "MARKET", "side": "BUY"}),
    ({}, {**LIMIT, "timeInForce": "GTC", "side": "BUY"}),
    ({"side": Side.SELL}, {**LIMIT, "timeInForce": "GTC", "side": "SELL"}),
    ({"time_in_force": TimeInForce.IOC}, {**LIMIT, "timeInForce": "IOC", "side": "BUY"}),
    ({"time_in_force": TimeInForce.FOK}, {**LIMIT, "timeInForce": "FOK", "side": "BUY"}),
    ({"post_only": True}, {"type": "LIMIT_MAKER", "price": "20000.10", "side": "BUY"}),
]


@pytest.mark.parametrize(("changes", "wire"), KINDS)
async def test_each_kind_of_order_goes_out_as_stored(
    door: Door, stub: Any, request_of: RequestOf, changes: dict[str, Any], wire: dict[str, str]
) -> None:
    verdict = await door.place(request_of(**changes))

    assert isinstance(verdict, Acknowledged), verdict
    (seen,) = stub.seen  # one request and no other: no markets, no time, no second try
    signature = seen.parameters.pop("signature")
    assert seen.parameters == COMMON | wire
    signed_text = seen.body.rpartition("&signature=")[0]
    expected = hmac.new(b"the-secret-of-the-test", signed_text.encode(), hashlib.sha256)
    assert signature == expected.hexdigest()
    assert seen.headers["x-mbx-apikey"] == "the-api-key-of-the-test"


@pytest.mark.parametrize(
    ("quantity", "price"),
    [
        ("0.123456789012345678", "98765432109876543210.123456789012345678"),
        ("1E-18", "1E+3"),
        ("10.000000000000000000", "0.10"),
    ],
)
async def test_amounts_keep_every_digit(
    door: Door, stub: Any, request_of: RequestOf, quantity: str, price: str
) -> None:
    await door.place(request_of(quantity=Decimal(quantity), price=Decimal(price)))
    parameters = stub.seen[0].parameters
    assert parameters["quantity"] == format(Decimal(quantity), "f")
    assert parameters["price"] == format(Decimal(price), "f")


@pytest.mark.parametrize(
    "changes",
    [
        {"window_ms": 0},
        {"window_ms": -1},
        {"window_ms": 60_001},
        {"signed_at_ms": 0},
        {"client_order_id": ""},
        {"client_order_id": "a" * 37},
        {"client_order_id": "has a blank"},
        {"client_order_id": "new\nline"},
        {"client_order_id": "line-end\n"},
        {"account": "paper-2"},
        {"type": OrderType.MARKET},
        {"price": None},
        {"quantity": Decimal(0)},
        {"quantity": Decimal("NaN")},
        {"quantity": 0.1},
        {"price": Decimal("-1")},
        {"symbol": "BTCUSDT"},
        {"symbol": "BTC/USDT&side=SELL"},
        {"post_only": True, "time_in_force": TimeInForce.IOC},
        {"post_only": True, "type": OrderType.MARKET, "price": None},
    ],
)
async def test_a_request_that_must_not_go_out_does_not(
    door: Door, stub: Any, request_of: RequestOf, changes: dict[str, Any]
) -> None:
    assert isinstance(await door.place(request_of(**changes)), Unsent)
    assert stub.seen == []


async def test_two_hundred_at_once_keep_each_its_own_stamp(
    door: Door, stub: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def let_others_run(_cost: Any) -> None:
        await asyncio.sleep(0)

    # ccxt's limiter waits between our stamp and the signing; here each order waits one turn there.
    monkeypatch.setattr(door._exchange, "enableRateLimit", True)
    monkeypatch.setattr(door._exchange, "throttle", let_others_run)
    requests = [
        request_of(client_order_id=f"oo{n:026d}", signed_at_ms=1_760_000_000_000 + n, window_ms=n)
        for n in range(50_000, 50_200)
    ]
    verdicts = await asyncio.gather(*(door.place(request) for request in requests))

    assert all(isinstance(verdict, Acknowledged) for verdict in verdicts)
    sent = {
        tuple(one.parameters[name] for name in ("newClientOrderId", "timestamp", "recvWindow"))
        for one in stub.creates()
    }
    assert sent == {
        (request.client_order_id, str(request.signed_at_ms), str(request.window_ms))
        for request in requests
    }
    assert len(stub.seen) == 200


@pytest.mark.parametrize(
    "tampered", ["nonce", "quantity", "price", "recvWindow", "newClientOrderId"]
)
async def test_what_ccxt_changes_is_stopped_before_any_byte(
    door: Door,
    stub: Any,
    request_of: RequestOf,
    monkeypatch: pytest.MonkeyPatch,
    tampered: str,
) -> None:
    exchange = door._exchange
    if tampered == "nonce":
        monkeypatch.setattr(exchange, "nonce", lambda: 1_760_000_000_124)
    else:
        honest = exchange.urlencode
        monkeypatch.setattr(
            exchange, "urlencode", lambda parameters: honest({**parameters, tampered: "7"})
        )
    verdict = await door.place(request_of())
    assert isinstance(verdict, Unsent)
    assert ("timestamp" if tampered == "nonce" else tampered) in verdict.detail
    assert stub.seen == []


async def test_a_create_without_a_stamp_is_stopped(door: Door, stub: Any) -> None:
    from orderonce_shared.venues.fence import FenceError

    await door.time_ms()
    with pytest.raises(FenceError):
        await door._exchange.private_post_order({"symbol": "BTCUSDT"})
    assert stub.creates() == []


async def test_a_create_is_not_begun_when_half_of_its_window_has_passed(
    open_door: Any, stub: Any, request_of: RequestOf
) -> None:
    ticks = iter([100.0, 102.6])  # taken by the door, at the socket: 2.6 s of a window of 5 s
    door = await open_door(monotonic=lambda: next(ticks))
    verdict = await door.place(request_of())
    assert isinstance(verdict, Unsent)
    assert "window" in verdict.detail
    assert stub.seen == []


async def test_a_door_for_reading_neither_places_nor_cancels(
    open_door: Any, stub: Any, request_of: RequestOf
) -> None:
    door = await open_door(read_only=True)
    with pytest.raises(ReadOnlyDoor):
        await door.place(request_of())
    with pytest.raises(ReadOnlyDoor):
        await door.cancel("BTC/USDT", "oo1")
    assert stub.seen == []


async def test_ccxt_is_set_to_send_once_and_to_do_nothing_by_itself(door: Door) -> None:
    exchange = door._exchange
    assert exchange.handle_option_integer_and_params({}, "order", "maxRetriesOnFailure", 0)[0] == 0
    assert exchange.enableRateLimit is False
    assert exchange.number is str
    assert exchange.options["fetchMarkets"]["types"] == ["spot"]
    assert exchange.options["fetchCurrencies"] is False
    assert exchange.options["newOrderRespType"] == {"market": "FULL", "limit": "FULL"}
    assert exchange.session is door._session
    assert door._session._session._retry_connection is False
    outside = [url for url in exchange.urls["api"].values() if "127.0.0.1" not in url]
    assert outside == []  # nothing of ccxt's can reach another host


async def test_spots_own_error_codes_are_known_on_any_host(door: Door) -> None:
    # ccxt's OperationFailed for -1008, which on another host than Binance's is a plain
    # ExchangeError
    assert door._exchange.exceptions["exact"]["-1008"].__name__ == "OperationFailed"
