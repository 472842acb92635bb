"""An unmodified ccxt.pro: orders, fills and balances followed by the stream, orders by frames."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import ccxt
import ccxt.pro
import pytest

from tests.unit.paper.process import Paper, running, until

PAIR = "BTC/USDT"


@pytest.fixture
async def paper(tmp_path: Path) -> AsyncIterator[Paper]:
    async with running(tmp_path) as started:
        yield started


@asynccontextmanager
async def client(paper: Paper, kind: str = "trade") -> AsyncIterator[Any]:
    entry = paper.keys["accounts"]["paper-1"][kind]
    options: dict[str, Any] = {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}
    options |= {"fetchCurrencies": False, "fetchMargins": False}
    secret = entry.get("secret") or entry["private_key"]
    exchange = ccxt.pro.binance(
        {"apiKey": entry["api_key"], "secret": secret, "options": options, "enableRateLimit": False}
    )
    exchange.urls["api"]["public"] = exchange.urls["api"]["private"] = f"{paper.rest}/api/v3"
    ws = paper.rest.replace("http", "ws")
    exchange.urls["api"]["ws"]["ws-api"]["spot"] = f"{ws}/ws-api/v3"
    exchange.urls["api"]["ws"]["spot"] = f"{ws}/ws"
    exchange.number = str
    # ccxt picks spot's own error table by the real host's address; here it is told.
    exchange.exceptions["exact"].update(exchange.exceptions["spot"]["exact"])
    try:
        await exchange.load_markets()
        yield exchange
    finally:
        await exchange.close()


@asynccontextmanager
async def following(watch: Callable[..., Awaitable[Any]], *args: Any) -> AsyncIterator[list[Any]]:
    """What a loop of watch_... has seen so far; ready when the subscription stands."""
    seen: list[Any] = []

    async def follow() -> None:
        while True:
            found = await watch(*args)
            seen.extend(found if isinstance(found, list) else [found])

    task = asyncio.create_task(follow())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def subscribed(paper: Paper) -> None:
    async def listed() -> bool:
        rows = (await paper.control("GET", "requests"))["requests"]
        return any(row["ws_method"] == "userDataStream.subscribe.signature" for row in rows)

    await until(listed)


@pytest.mark.parametrize("kind", ["trade", "ed25519"])
async def test_orders_trades_and_balances_are_followed(paper: Paper, kind: str) -> None:
    async with (
        client(paper, kind) as x,
        following(x.watch_orders, PAIR) as orders,
        following(x.watch_my_trades, PAIR) as trades,
        following(x.watch_balance) as balances,
    ):
        await subscribed(paper)
        sent = {"clientOrderId": "bot-1"}
        made = await x.create_order(PAIR, "market", "buy", "0.01", None, sent)
        resting = await x.create_order(PAIR, "limit", "buy", "0.01", "50000")
        await x.cancel_order(resting["id"], PAIR)

        async def all_told() -> bool:
            return bool(orders) and orders[-1]["status"] == "canceled" and bool(trades)

        await until(all_told)
        # ccxt hands out an order's latest state: NEW and FILLED of one moment are one of these.
        last = {order["id"]: order for order in orders}
        assert [(i, o["status"], o["filled"]) for i, o in last.items()] == [
            (made["id"], "closed", "0.01000000"), (resting["id"], "canceled", "0.00000000"),
        ]  # fmt: skip
        assert last[made["id"]]["clientOrderId"] == "bot-1"
        kept = last[resting["id"]]["clientOrderId"]
        assert kept == resting["clientOrderId"], "not the cancel's own id"
        (trade,) = trades
        assert trade["order"] == made["id"]
        assert trade["id"] == made["trades"][0]["id"]
        assert trade["fee"] == {"cost": "0.00001000", "currency": "BTC"}

        async def money_told() -> bool:
            return bool(balances) and balances[-1]["USDT"]["used"] == "0.00000000"

        await until(money_told)
        assert balances[-1]["BTC"]["free"] == "1000.00999000"


async def test_orders_by_frames(paper: Paper) -> None:
    async with client(paper) as x:
        made = await x.create_order_ws(PAIR, "limit", "buy", "0.01", "50000")
        assert (made["status"], made["info"]["fills"]) == ("open", [])
        assert (await x.fetch_order_ws(made["id"], PAIR))["status"] == "open"
        edited = await x.edit_order_ws(made["id"], PAIR, "limit", "buy", "0.02", "50001")
        assert [o["id"] for o in await x.fetch_open_orders_ws(PAIR)] == [edited["id"]]
        assert (await x.cancel_order_ws(edited["id"], PAIR))["status"] == "canceled"
        filled = await x.create_order_ws(PAIR, "market", "sell", "0.01")
        assert filled["status"] == "closed"
        assert [t["order"] for t in await x.fetch_my_trades_ws(PAIR)] == [filled["id"]]
        assert len(await x.fetch_orders_ws(PAIR)) == 3
        await x.create_order_ws(PAIR, "limit", "buy", "0.01", "50000")
        assert len(await x.cancel_all_orders_ws(PAIR)) == 1
        with pytest.raises(ccxt.BadRequest):
            await x.create_order_ws(PAIR, "market", "buy", "0.00001")
        with pytest.raises(ccxt.OrderNotFound):
            await x.fetch_order_ws("999", PAIR)


async def test_a_cut_stream_is_an_error_and_the_next_call_is_back(paper: Paper) -> None:
    """Nothing fills the gap: what happened meanwhile is read by REST."""
    async with client(paper) as x:
        watching = asyncio.create_task(x.watch_orders(PAIR))
        await subscribed(paper)
        await paper.fault("ws_drop", seconds=0.3)
        with pytest.raises(ccxt.NetworkError):
            await asyncio.wait_for(watching, 10)
        missed = await x.create_order(PAIR, "market", "buy", "0.01")

        async with following(_again(x.watch_orders), PAIR) as orders:
            async with asyncio.timeout(10):
                while not orders:
                    made = await x.create_order(PAIR, "market", "buy", "0.01")
                    await asyncio.sleep(0.1)
        assert missed["id"] not in {order["id"] for order in orders}
        assert {missed["id"], made["id"]} <= {t["order"] for t in await x.fetch_my_trades(PAIR)}


def _again(watch: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """As a bot does it: on a network error, watch again."""

    async def watching(*args: Any) -> Any:
        while True:
            try:
                return await watch(*args)
            except ccxt.NetworkError:
                await asyncio.sleep(0.05)

    return watching


async def test_market_streams(paper: Paper) -> None:
    async with client(paper) as x:
        best = await asyncio.wait_for(x.watch_bids_asks([PAIR]), 10)
        assert (best[PAIR]["bid"], best[PAIR]["ask"]) == ("60000.00000000", "60001.00000000")
        ticker = await asyncio.wait_for(x.watch_ticker(PAIR), 10)
        assert ticker["last"] == "60000.00000000"
        (candle,) = await asyncio.wait_for(x.watch_ohlcv(PAIR, "1m"), 10)
        assert x.milliseconds() - candle[0] < 120_000
