"""What the venue's answers prove, told over real sockets: an allow-list of "not placed", else
Silence.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from orderonce_shared.domain.venue import (
    Acknowledged,
    DuplicateId,
    PlaceRequest,
    Refused,
    RefusedUnprocessed,
    Silence,
    Unsent,
    VenueStatus,
)
from orderonce_shared.venues.adapter import Door

RequestOf = Callable[..., PlaceRequest]
FULL = {
    "symbol": "BTCUSDT",
    "orderId": 28,
    "clientOrderId": "ooabcdefghijklmnopqrstuvwxyz",
    "transactTime": 1_760_000_000_200,
    "executedQty": "0.00300000",
    "cummulativeQuoteQty": "60.00020000",
    "status": "FILLED",
    "side": "BUY",
    "fills": [
        {
            "price": "20000.00000000",
            "qty": "0.00100000",
            "commission": "0.00000100",
            "commissionAsset": "BTC",
            "tradeId": 56,
        },
        {
            "price": "20000.10000000",
            "qty": "0.00200000",
            "commission": "0.00000000",
            "commissionAsset": "BTC",
            "tradeId": 57,
        },
    ],
}


def answer(stub: Any, status: int, body: Any, **more: Any) -> None:
    from_stub = type(stub.script.__globals__["Reply"]())
    text = body if isinstance(body, str) else json.dumps(body)
    stub.script = lambda _seen: from_stub(status=status, body=text, **more)


def fault(stub: Any, **how: Any) -> None:
    reply = stub.script.__globals__["Reply"](**how)
    stub.script = lambda _seen: reply


async def test_a_full_answer_is_the_order_with_its_fills(
    door: Door, stub: Any, request_of: RequestOf
) -> None:
    answer(stub, 200, FULL)
    verdict = await door.place(request_of())

    assert isinstance(verdict, Acknowledged)
    order = verdict.order
    assert (order.venue_order_id, order.status) == ("28", VenueStatus.FILLED)
    assert (order.filled_quantity, order.filled_cost) == (
        Decimal("0.00300000"),
        Decimal("60.00020000"),
    )
    assert [(fill.trade_id, fill.quantity, fill.cost) for fill in order.fills] == [
        ("56", Decimal("0.00100000"), Decimal("20.0000000000000000")),
        ("57", Decimal("0.00200000"), Decimal("40.0002000000000000")),
    ]
    assert [[(fee.asset, fee.amount) for fee in fill.fees] for fill in order.fills] == [
        [("BTC", Decimal("0.00000100"))],
        [],
    ]
    assert {fill.liquidity for fill in order.fills} == {"taker"}


@pytest.mark.parametrize("change", [{"executedQty": "0.004"}, {"cummulativeQuoteQty": "60"}])
async def test_fills_that_do_not_sum_up_are_left_out(
    door: Door, stub: Any, request_of: RequestOf, change: dict[str, str]
) -> None:
    answer(stub, 200, FULL | change)
    verdict = await door.place(request_of())
    assert isinstance(verdict, Acknowledged)
    assert verdict.order.fills == ()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "empty"),
        ("<html>all is well</html>", "html"),
        ("{}", "no id"),
        ("[]", "list"),
        ("null", "null"),
        ("true", "true"),
        (json.dumps(FULL)[:-20], "half of it, with a true length"),
        (FULL | {"clientOrderId": "somebody-else"}, "foreign id"),
        (FULL | {"symbol": "ETHUSDT"}, "foreign symbol"),
        (FULL | {"orderId": None}, "no venue id"),
        (FULL | {"orderId": "28"}, "id as text"),
        (FULL | {"status": "SOMETHING_NEW"}, "unknown status"),
        (FULL | {"status": []}, "a status that is no text"),
        (FULL | {"executedQty": 0.003}, "a float"),
        (FULL | {"cummulativeQuoteQty": "-1"}, "not available"),
        (FULL | {"status": "FILLED", "executedQty": "0"}, "filled with nothing"),
        ({"code": -2010, "msg": "Account has insufficient balance for requested action."}, "200"),
        (json.dumps(FULL | {"note": "\x00"}), "NUL"),
    ],
)
async def test_200_without_our_order_is_silence(
    door: Door, stub: Any, request_of: RequestOf, body: Any, why: str
) -> None:
    answer(stub, 200, body)
    assert isinstance(await door.place(request_of()), Silence), why
    assert len(stub.seen) == 1


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-2010, "Account has insufficient balance for requested action."),
        (-2010, "Order would immediately match and take."),
        (-1013, "Filter failure: LOT_SIZE"),
        (-1013, "Filter failure: PRICE_FILTER"),
        (-1013, "Price * QTY is zero or less."),
        (-1121, "Invalid symbol."),
        (-1022, "Signature for this request is not valid."),
        (-2014, "API-key format invalid."),
        (-2015, "Invalid API-key, IP, or permissions for action."),
    ],
)
async def test_a_parsed_refusal_is_final(
    door: Door, stub: Any, request_of: RequestOf, code: int, text: str
) -> None:
    answer(stub, 401 if code in (-2014, -2015) else 400, {"code": code, "msg": text})
    # Twice: ccxt calls -2015 a ban once a private call has succeeded; the words prove the same.
    door._exchange.options["hasAlreadyAuthenticatedSuccessfully"] = True
    verdict = await door.place(request_of())
    assert isinstance(verdict, Refused)
    assert verdict.code == str(code)
    assert verdict.raw == {
        "http": 401 if code in (-2014, -2015) else 400,
        "body": {"code": code, "msg": text},
        "error": verdict.raw["error"],
    }


@pytest.mark.parametrize(
    ("status", "code", "retry_after", "pause_ms", "clock"),
    [
        (400, -1021, None, 0, True),
        (429, -1003, "7", 7_000, False),
        (418, -1003, "120", 120_000, False),
        (429, -1015, None, 1_000, False),
        (400, -1015, None, 1_000, False),
        (400, -1008, None, 1_000, False),
        (429, None, "2", 2_000, False),
        (429, None, None, 1_000, False),
        (418, None, None, 120_000, False),
        (429, None, "Wed, 21 Oct 2026 07:28:00 GMT", 1_000, False),
        (429, None, "999999999", 259_200_000, False),
    ],
)
async def test_a_refusal_from_before_processing_can_be_sent_again(
    door: Door,
    stub: Any,
    request_of: RequestOf,
    status: int,
    code: int | None,
    retry_after: str | None,
    pause_ms: int,
    clock: bool,
) -> None:
    headers = (("Retry-After", retry_after),) if retry_after else ()
    body: Any = "slow down" if code is None else {"code": code, "msg": "words"}
    answer(stub, status, body, headers=headers)
    verdict = await door.place(request_of())
    assert isinstance(verdict, RefusedUnprocessed)
    assert (verdict.pause_ms, verdict.clock_is_off) == (pause_ms, clock)
    assert len(stub.seen) == 1


async def test_a_duplicate_id_is_its_own_verdict(
    door: Door, stub: Any, request_of: RequestOf
) -> None:
    answer(stub, 400, {"code": -2010, "msg": "Duplicate order sent."})
    assert isinstance(await door.place(request_of()), DuplicateId)


SILENT = [
    (500, {"code": -1000, "msg": "x"}),
    (503, {"code": -1008, "msg": "Server is currently overloaded."}),
    (503, {"code": -2010, "msg": "Account has insufficient balance for requested action."}),
    (502, "<html>LOT_SIZE PRICE_FILTER</html>"),
    (504, ""),
    (524, "<html></html>"),
    (400, {"code": -1007, "msg": "Timeout waiting for response from backend server."}),
    (400, {"code": -1006, "msg": "x"}),
    (429, {"code": -1007, "msg": "Timeout waiting for response from backend server."}),
    (400, {"code": -1001, "msg": "x"}),
    (400, {"code": -9999, "msg": "never heard of"}),
    (400, {"code": -2010, "msg": "a text that nobody knows"}),
    (400, {"code": -2010, "msg": "duplicate order sent."}),
    (400, {"code": "-1121", "msg": "a code as text"}),
    (400, {"code": True, "msg": "x"}),
    (400, "<html>LOT_SIZE</html>"),
    (403, "<html>firewall</html>"),
    (408, ""),
    (404, ""),
    (401, ""),
    (400, ""),
]


@pytest.mark.parametrize(("status", "body"), SILENT)
async def test_everything_else_is_silence(
    door: Door, stub: Any, request_of: RequestOf, status: int, body: Any
) -> None:
    answer(stub, status, body)
    assert isinstance(await door.place(request_of()), Silence)
    assert len(stub.seen) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(
    door: Door, stub: Any, request_of: RequestOf, status: int
) -> None:
    answer(stub, status, "", headers=(("Location", f"{stub.base_url}/api/v3/elsewhere"),))
    assert isinstance(await door.place(request_of()), Silence)
    assert [one.path for one in stub.seen] == ["/api/v3/order"]


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FAULTS: list[dict[str, Any]] = [
    {"then": "reset"},
    {"raw": b"", "then": "close"},
    {"raw": b"HTTP/1.1 200 OK\r\nConte", "then": "close"},
    {
        "raw": HEAD + b"Content-Length: 400\r\n\r\n" + json.dumps(FULL).encode()[:99],
        "then": "close",
    },
    {"raw": HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"sym\r\n', "then": "close"},
    {"raw": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello", "then": "close"},
    {"raw": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", "then": "close"},
    {"raw": b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "then": "close"},
]


@pytest.mark.parametrize("how", FAULTS)
async def test_a_broken_answer_is_silence_and_sent_once(
    door: Door, stub: Any, request_of: RequestOf, how: dict[str, Any]
) -> None:
    fault(stub, **how)
    assert isinstance(await door.place(request_of()), Silence)
    assert len(stub.seen) == 1


async def test_no_answer_in_time_is_silence(
    open_door: Any, stub: Any, request_of: RequestOf
) -> None:
    door = await open_door(timeout_ms=150)
    fault(stub, then="hang")
    assert isinstance(await door.place(request_of()), Silence)
    assert len(stub.seen) == 1


async def test_a_kept_connection_that_the_venue_closed_is_silence_not_a_second_create(
    door: Door, stub: Any, request_of: RequestOf
) -> None:
    assert isinstance(await door.place(request_of()), Acknowledged)
    fault(stub, then="reset")
    assert isinstance(await door.place(request_of()), Silence)
    assert len(stub.creates()) == 2


async def test_a_refused_connection_is_unsent(open_door: Any, request_of: RequestOf) -> None:
    with socket.socket() as taken:  # bound, not listening: nobody answers on this port
        taken.bind(("127.0.0.1", 0))
        door = await open_door(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        verdict = await door.place(request_of())
    assert isinstance(verdict, Unsent)
    assert verdict.unreachable, "the breaker counts it (R12)"


async def test_an_error_before_signing_is_unsent_and_one_after_the_answer_is_silence(
    door: Door, stub: Any, request_of: RequestOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("not of ccxt")

    with monkeypatch.context() as patched:
        patched.setattr(door._exchange, "sign", broken)
        verdict = await door.place(request_of())
        assert isinstance(verdict, Unsent)
        assert not verdict.unreachable, "our own reason says nothing about the venue"
        assert stub.seen == []
    monkeypatch.setattr(door._exchange, "on_rest_response", broken)
    assert isinstance(await door.place(request_of()), Silence)
    assert len(stub.seen) == 1


async def test_a_deadline_around_place_still_works(
    door: Door, stub: Any, request_of: RequestOf
) -> None:
    fault(stub, then="hang")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await door.place(request_of())


async def test_no_key_and_no_signature_in_logs_evidence_or_errors(
    door: Door, stub: Any, request_of: RequestOf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen_bodies: list[str] = []

    def echo(seen: Any) -> Any:
        """A proxy's error page that quotes the whole request."""
        seen_bodies.append(seen.body)
        return answer_type(status=502, body=f"<pre>{seen.headers}\n{seen.body}</pre>")

    answer_type = stub.script.__globals__["Reply"]
    stub.script = echo
    verdict = await door.place(request_of())
    assert isinstance(verdict, Silence)
    signature = seen_bodies[0].rpartition("signature=")[2]
    for secret in ("the-api-key-of-the-test", signature):
        assert secret not in f"{verdict!r} {caplog.text} {door!r}"
    assert "newClientOrderId" in str(verdict.raw["body"])  # the harmless part of the page is kept
