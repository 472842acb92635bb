"""ccxt.pro: orders by frames, and orders, trades and balances followed by the user-data stream."""

import asyncio

import ccxt.pro
from connect import connect

PAIR = "BTC/USDT"
LIMIT_S = 20


async def play(world):
    key = world[world["key"]]
    secret = key.get("secret") or key["private_key"]
    x = connect(world["rest"], world["ws"], key["api_key"], secret, make=ccxt.pro.binance)
    told = {"orders": [], "trades": [], "balances": []}
    news = asyncio.Event()

    async def follow(name, watch):
        while True:
            found = await watch()
            told[name] += [dict(row) for row in (found if isinstance(found, list) else [found])]
            news.set()

    async def until(condition):
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                news.clear()
                await news.wait()

    followers = []
    try:
        await x.load_markets()
        followers = [
            asyncio.create_task(follow("orders", lambda: x.watch_orders(PAIR))),
            asyncio.create_task(follow("trades", lambda: x.watch_my_trades(PAIR))),
            asyncio.create_task(follow("balances", x.watch_balance)),
        ]
        await subscribed(x, world)
        filled = await x.create_order_ws(PAIR, "market", "buy", 0.01)
        resting = await x.create_order_ws(PAIR, "limit", "buy", 0.01, 50000)
        status = await x.fetch_order_ws(resting["id"], PAIR)
        listed = await x.fetch_open_orders_ws(PAIR)
        cancelled = await x.cancel_order_ws(resting["id"], PAIR)
        await until(lambda: told["orders"] and told["orders"][-1]["status"] == "canceled")
        await until(lambda: told["trades"])
        await until(lambda: told["balances"] and told["balances"][-1]["USDT"]["used"] == 0)
        unknown = ""
        try:
            await x.fetch_order_ws("99", PAIR)
        except ccxt.pro.BaseError as error:
            unknown = type(error).__name__
        return {
            **told,
            "filled": filled,
            "resting": resting,
            "status": status,
            "listed": [o["id"] for o in listed],
            "cancelled": cancelled,
            "unknown": unknown,
        }
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        await x.close()


async def subscribed(x, world):
    """ccxt does not tell when its subscription stands; the exchange does."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            health = await x.fetch(world["control"] + "/control/health")
            if health["subscriptions"]:
                return
            await asyncio.sleep(0.02)
