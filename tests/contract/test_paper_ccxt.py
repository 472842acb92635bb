"""An unmodified ccxt against the paper exchange: every order kind, every look-up, every refusal."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import ccxt.async_support as ccxt_async
import pytest

from tests.unit.paper.process import Paper, running

PAIR = "BTC/USDT"


@pytest.fixture
async def paper(tmp_path: Path) -> AsyncIterator[Paper]:
    async with running(tmp_path) as started:
        yield started


@asynccontextmanager
async def client(paper: Paper, scope: str = "trade", **config: Any) -> AsyncIterator[Any]:
    key, secret = paper.pair(scope=scope)
    options: dict[str, Any] = {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}
    options |= {"fetchCurrencies": False, "fetchMargins": False}
    exchange = ccxt_async.binance(
        {"apiKey": key, "secret": secret, "enableRateLimit": False, "options": options} | config
    )
    exchange.urls["api"]["public"] = exchange.urls["api"]["private"] = f"{paper.rest}/api/v3"
    exchange.number = str
    # ccxt picks spot's own error table by the real host's address; here it is told.
    exchange.exceptions["exact"].update(exchange.exceptions["spot"]["exact"])
    try:
        yield exchange
    finally:
        await exchange.close()


async def test_markets_balances_and_time(paper: Paper) -> None:
    async with client(paper) as x:
        markets = await x.load_markets()
        assert {"BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/BTC", "WEI/USDT"} == set(markets)
        btc = markets[PAIR]
        assert (Decimal(btc["precision"]["price"]), Decimal(btc["precision"]["amount"])) == (
            Decimal("0.01"),
            Decimal("0.00001"),
        )
        assert btc["limits"]["cost"]["min"] == "5.00000000"
        assert markets["WEI/USDT"]["precision"]["amount"] == "0.000000000000000001"
        assert (await x.fetch_balance())["USDT"]["free"] == "100000000.00000000"
        assert abs(await x.fetch_time() - x.milliseconds()) < 2000
        assert (await x.fetch_ticker(PAIR))["bid"] == "60000.00000000"
        book = await x.fetch_order_book(PAIR)
        assert float(book["bids"][0][0]) < float(book["asks"][0][0])
        candles = await x.fetch_ohlcv(PAIR, "1m", limit=10)
        assert len(candles) == 10
        assert x.milliseconds() - candles[-1][0] < 120_000


async def test_a_client_with_default_options_can_load_markets(paper: Paper) -> None:
    async with client(paper, options={}) as x:
        for name in x.urls["api"]:
            if isinstance(x.urls["api"][name], str):
                path = x.urls["api"][name].split("/", 3)[-1]
                x.urls["api"][name] = f"{paper.rest}/{path}"
        assert PAIR in await x.load_markets()


@pytest.mark.parametrize(
    ("kind", "price", "params", "status", "filled"),
    [
        ("market", None, {}, "closed", "0.01000000"),
        ("limit", "60001", {}, "closed", "0.01000000"),
        ("limit", "50000", {}, "open", "0.00000000"),
        ("limit", "60001", {"timeInForce": "IOC"}, "closed", "0.01000000"),
        ("limit", "50000", {"timeInForce": "IOC"}, "expired", "0.00000000"),
        ("limit", "60001", {"timeInForce": "FOK"}, "closed", "0.01000000"),
        ("limit", "50000", {"timeInForce": "FOK"}, "expired", "0.00000000"),
        ("limit", "50000", {"postOnly": True, "newOrderRespType": "RESULT"}, "open", "0.00000000"),
    ],
)
async def test_every_kind_of_order(
    paper: Paper, kind: str, price: str | None, params: dict[str, Any], status: str, filled: str
) -> None:
    async with client(paper) as x:
        sent = {"clientOrderId": "bot-1", **params}
        made = await x.create_order(PAIR, kind, "buy", "0.01", price, sent)
        assert (made["status"], made["filled"]) == (status, filled)
        assert made["clientOrderId"] == "bot-1"
        found = await x.fetch_order(None, PAIR, {"clientOrderId": "bot-1"})
        for name in ("id", "status", "filled", "amount", "price", "average", "cost", "side"):
            assert found[name] == made[name], name
        trades = await x.fetch_my_trades(PAIR)
        assert [t["order"] for t in trades] == ([made["id"]] if status == "closed" else [])


async def test_market_by_quote_amount(paper: Paper) -> None:
    async with client(paper) as x:
        made = await x.create_market_buy_order_with_cost(PAIR, "100")
        assert (made["status"], made["filled"]) == ("closed", "0.00166000")


async def test_cancel_find_and_list(paper: Paper) -> None:
    async with client(paper) as x:
        for n in range(3):
            await x.create_order(PAIR, "limit", "buy", "0.01", "50000", {"clientOrderId": f"c{n}"})
        assert len(await x.fetch_open_orders(PAIR)) == 3
        gone = await x.cancel_order(None, PAIR, {"clientOrderId": "c1"})
        assert gone["status"] == "canceled"
        assert gone["info"]["origClientOrderId"] == "c1"
        assert gone["info"]["clientOrderId"] != "c1", "this names the cancel"
        assert len(await x.cancel_all_orders(PAIR)) == 2
        assert [o["status"] for o in await x.fetch_orders(PAIR)] == ["canceled"] * 3
        assert (await x.fetch_balance())["USDT"]["used"] == "0.00000000"


async def test_edit_is_cancel_and_replace_in_one(paper: Paper) -> None:
    async with client(paper) as x:
        first = await x.create_order(PAIR, "limit", "buy", "0.01", "50000")
        second = await x.edit_order(first["id"], PAIR, "limit", "buy", "0.02", "50001")
        assert second["id"] != first["id"]
        assert (await x.fetch_order(first["id"], PAIR))["status"] == "canceled"
        assert [o["id"] for o in await x.fetch_open_orders(PAIR)] == [second["id"]]


async def test_eighteen_digits_there_and_back(paper: Paper) -> None:
    async with client(paper) as x:
        amount = "1.234567890123456789"
        made = await x.create_order("WEI/USDT", "limit", "buy", amount, "1.01")
        assert made["filled"] == amount
        (trade,) = await x.fetch_my_trades("WEI/USDT")
        assert (trade["amount"], trade["cost"]) == (amount, "1.24691356902469135689")
        assert trade["fee"] == {"currency": "WEI", "cost": "0.001234567890123456789"}
        assert (await x.fetch_balance())["WEI"]["free"] == "5000001.233333322233333332211"


async def test_a_test_order_leaves_nothing(paper: Paper) -> None:
    async with client(paper) as x:
        await x.create_order(PAIR, "market", "buy", "0.01", None, {"test": True})
        assert await x.fetch_orders(PAIR) == []


Act = Callable[[Any], Awaitable[Any]]


async def duplicate(x: Any) -> None:
    for _ in range(2):
        await x.create_order(PAIR, "limit", "buy", "0.01", "50000", {"clientOrderId": "same"})


REFUSALS: list[tuple[str, Act, type[Exception], str]] = [
    ("duplicate", duplicate, ccxt.InvalidOrder, "Duplicate order sent."),
    (
        "taking",
        lambda x: x.create_order(PAIR, "limit", "buy", "0.01", "60001", {"postOnly": True}),
        ccxt.OrderImmediatelyFillable,
        "immediately match",
    ),
    ("unknown", lambda x: x.fetch_order("99", PAIR), ccxt.OrderNotFound, "-2013"),
    ("uncancelled", lambda x: x.cancel_order("99", PAIR), ccxt.OrderNotFound, "-2011"),
    (
        "bad id",
        lambda x: x.create_order(PAIR, "market", "buy", "0.01", None, {"clientOrderId": "a.b"}),
        ccxt.BadRequest,
        "-1100",
    ),
    (
        "late",
        lambda x: x.create_order(PAIR, "market", "buy", "0.01", None, {"timestamp": 1}),
        ccxt.InvalidNonce,
        "-1021",
    ),
    (
        "small",
        lambda x: x.create_order(PAIR, "limit", "buy", "0.00001", "60000"),
        ccxt.BadRequest,
        "NOTIONAL",
    ),
    (
        "no time in force",
        lambda x: x.private_post_order(
            {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "5"}
        ),
        ccxt.BadRequest,
        "-1102",
    ),
    (
        "fine",
        lambda x: x.private_post_order(
            {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.123456789"}
        ),
        ccxt.BadRequest,
        "-1111",
    ),
    (
        "symbol",
        lambda x: x.private_get_mytrades({"symbol": "NOPE"}),
        ccxt.BadSymbol,
        "-1121",
    ),
]


@pytest.mark.parametrize(
    ("act", "kind", "text"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
async def test_refusals_reach_the_class_that_ccxt_gives_them(
    paper: Paper, act: Act, kind: type[Exception], text: str
) -> None:
    async with client(paper) as x:
        await x.load_markets()
        with pytest.raises(kind, match=text):
            await act(x)


async def test_money_that_is_not_there(paper: Paper) -> None:
    await paper.control(
        "POST", "trade", {"account": "paper-1", "asset": "BTC", "amount": "-999.99"}
    )
    async with client(paper) as x:
        with pytest.raises(ccxt.InsufficientFunds):
            await x.create_order(PAIR, "market", "sell", "0.02")


async def test_a_read_key_reads_and_does_not_trade(paper: Paper) -> None:
    async with client(paper, scope="read") as x:
        await x.fetch_balance()
    async with client(paper, scope="read") as x:
        with pytest.raises(ccxt.AuthenticationError):
            await x.create_order(PAIR, "market", "buy", "0.01")


async def test_wrong_keys(paper: Paper) -> None:
    async with client(paper, secret="wrong") as x:
        with pytest.raises(ccxt.AuthenticationError, match="-1022"):
            await x.fetch_balance()
    async with client(paper, apiKey="a" * 64) as x:
        with pytest.raises(ccxt.AuthenticationError, match="-2015"):
            await x.fetch_balance()
    async with client(paper, apiKey="short") as x:
        with pytest.raises(ccxt.AuthenticationError, match="-2014"):
            await x.fetch_balance()
