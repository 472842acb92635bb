"""Instruments, prices, balances, trades: exact from the raw answer, or VenueUnreachable."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from orderonce_shared.domain.order import Instrument, Side
from orderonce_shared.domain.venue import Fee
from orderonce_shared.venues.adapter import Door, VenueUnreachable

STAMP_MS = 1_760_000_000_123
FILTERS = [
    {
        "filterType": "PRICE_FILTER",
        "minPrice": "0.01",
        "maxPrice": "1000",
        "tickSize": "0.01000000",
    },
    {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.00", "stepSize": "0.00001000"},
    {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
]
SYMBOL = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "filters": FILTERS,
}


def trade(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "id": number,
        "orderId": 28,
        "price": "20000.10000000",
        "qty": "0.00100000",
        "quoteQty": "20.00010000",
        "commission": "-0.00000100",
        "commissionAsset": "BTC",
        "time": STAMP_MS,
        "isBuyer": False,
        "isMaker": True,
        **changes,
    }


def answers(stub: Any, document: Any, status: int = 200) -> None:
    reply = stub.script.__globals__["Reply"]

    def script(seen: Any) -> Any:
        if seen.path == "/api/v3/time":
            return reply(body=json.dumps({"serverTime": STAMP_MS}))
        given = document(seen) if callable(document) else document
        return reply(status=status, body=json.dumps(given))

    stub.script = script


async def test_instruments_are_exact_and_only_those_that_trade(door: Door, stub: Any) -> None:
    answers(
        stub,
        {
            "symbols": [
                SYMBOL,
                SYMBOL | {"symbol": "ETHUSDT", "baseAsset": "ETH", "status": "BREAK"},
                SYMBOL | {"symbol": "ODDNAME", "baseAsset": "ODD"},
            ]
        },
    )
    assert await door.instruments() == [
        Instrument(
            venue="paper",
            symbol="BTC/USDT",
            base="BTC",
            quote="USDT",
            tick_size=Decimal("0.01"),
            step_size=Decimal("0.00001"),
            min_quantity=Decimal("0.00001"),
            max_quantity=Decimal(9000),
            min_notional=Decimal(5),
        )
    ]
    assert [one.path for one in stub.seen] == ["/api/v3/exchangeInfo"]


async def test_reference_prices_are_mids_of_one_request(door: Door, stub: Any) -> None:
    answers(
        stub,
        [
            {"symbol": "BTCUSDT", "bidPrice": "20000.01", "askPrice": "20000.02"},
            {"symbol": "ETHUSDT", "bidPrice": "0.00", "askPrice": "2000.00"},
        ],
    )
    prices = await door.reference_prices(["ETH/USDT", "BTC/USDT"])
    assert prices == {"BTC/USDT": Decimal("20000.015")}
    (seen,) = stub.seen
    assert seen.path == "/api/v3/ticker/bookTicker"
    assert json.loads(seen.parameters["symbols"]) == ["BTCUSDT", "ETHUSDT"]
    assert await door.reference_prices([]) == {}
    assert len(stub.seen) == 1


async def test_balances_are_free_and_locked_and_uid_is_text(door: Door, stub: Any) -> None:
    rows = [
        {"asset": "BTC", "free": "0.10000000", "locked": "0.00000001"},
        {"asset": "ETH", "free": "0.00000000", "locked": "0.00000000"},
    ]
    answers(stub, {"uid": 1001, "balances": rows})
    assert await door.balances() == {"BTC": Decimal("0.10000001")}
    assert await door.uid() == "1001"


async def test_trades_are_ordered_by_their_number(door: Door, stub: Any) -> None:
    answers(stub, [trade(10), trade(9, isBuyer=True, isMaker=False)])
    first, second = await door.trades("BTC/USDT", from_id="9", limit=500)
    assert [first.trade_id, second.trade_id] == ["9", "10"]
    assert (first.side, first.liquidity, second.side, second.liquidity) == (
        Side.BUY,
        "taker",
        Side.SELL,
        "maker",
    )
    assert (second.cost, second.fees) == (
        Decimal("20.0001"),
        (Fee("BTC", Decimal("-0.000001")),),  # a rebate keeps its sign
    )
    assert second.traded_at == datetime(2025, 10, 9, 8, 53, 20, 123000, tzinfo=UTC)
    sent = stub.seen[-1].parameters
    assert (sent["symbol"], sent["fromId"], sent["limit"]) == ("BTCUSDT", "9", "500")


async def test_fills_of_an_order_are_read_to_the_last_page(door: Door, stub: Any) -> None:
    def pages(seen: Any) -> Any:
        first = int(seen.parameters.get("fromId", "1"))
        return [trade(n) for n in range(first, min(first + 1000, 1502))]

    answers(stub, pages)
    fills = await door.order_fills("BTC/USDT", "28")
    assert [int(fill.trade_id) for fill in fills] == list(range(1, 1502))


async def test_trades_since_a_time(door: Door, stub: Any) -> None:
    answers(stub, [])
    assert await door.trades("BTC/USDT", since_ms=STAMP_MS) == []
    assert stub.seen[-1].parameters["startTime"] == str(STAMP_MS)
    with pytest.raises(ValueError, match="not both"):
        await door.trades("BTC/USDT", since_ms=1, from_id="1")
    with pytest.raises(ValueError, match="limit"):
        await door.trades("BTC/USDT", limit=1001)


async def test_the_venues_time(door: Door, stub: Any) -> None:
    assert await door.time_ms() == STAMP_MS


BAD: list[Any] = [
    [trade(1, qty=0.001)],
    [trade(1, isBuyer=None)],
    [trade(1, commissionAsset=None)],
    [trade(1, symbol="ETHUSDT")],
    [trade("1")],  # type: ignore[arg-type]
    [trade(1), 7],
    {"code": 0},
    None,
]


@pytest.mark.parametrize("document", BAD)
async def test_trades_that_cannot_be_read_are_unreachable_not_fewer(
    door: Door, stub: Any, document: Any
) -> None:
    answers(stub, document)
    with pytest.raises(VenueUnreachable):
        await door.trades("BTC/USDT")


async def test_the_error_of_a_read_tells_code_and_pause_and_no_address(
    door: Door, stub: Any
) -> None:
    answers(stub, {"code": -1003, "msg": "Too much request weight used"}, status=429)
    with pytest.raises(VenueUnreachable) as caught:
        await door.balances()
    error = caught.value
    assert (error.code, error.pause_ms) == (-1003, 1_000)
    assert "signature" not in f"{error!r} {error.raw!r} {error.__cause__!r} {error.__context__!r}"


@pytest.mark.parametrize("read", ["instruments", "balances", "uid", "time_ms"])
@pytest.mark.parametrize("document", [{}, [], None, {"symbols": [1], "balances": [1]}])
async def test_no_read_guesses(door: Door, stub: Any, read: str, document: Any) -> None:
    answers(stub, document)
    if read == "time_ms":
        stub.script = (lambda script: lambda seen: script(type(seen)("GET", "/", {}, {}, "")))(
            stub.script
        )
    with pytest.raises(VenueUnreachable):
        await getattr(door, read)()
