"""ccxt over REST: markets, orders, look-ups, refusals."""

import ccxt
from connect import connect

PAIR = "BTC/USDT"


async def caught(doing):
    """The class and the words of what an awaited call raised."""
    try:
        return {"class": None, "answer": await doing}
    except ccxt.BaseError as error:
        return {"class": type(error).__name__, "text": str(error)}


async def play(world):
    x = connect(world["rest"], world["ws"], **world["trade"])
    try:
        return {
            "version": ccxt.__version__,
            "markets": sorted(await x.load_markets()),
            "orders": await orders(x),
            "refusals": await refusals(x, world),
        }
    finally:
        await x.close()


async def orders(x):
    market = await x.create_order(PAIR, "market", "buy", 0.01, None, {"clientOrderId": "m-1"})
    spent = await x.create_market_buy_order_with_cost(PAIR, 100)
    taken = await x.create_order(PAIR, "limit", "sell", 0.01, 60000)
    resting = await x.create_order(PAIR, "limit", "buy", 0.01, 50000, {"clientOrderId": "r-1"})
    seen = {
        "market": market,
        "by_id": await x.fetch_order(market["id"], PAIR),
        "by_client_id": await x.fetch_order(None, PAIR, {"clientOrderId": "m-1"}),
        "spent": spent,
        "taken": taken,
        "resting": resting,
        "used": (await x.fetch_balance())["USDT"]["used"],
        "open_here": [o["clientOrderId"] for o in await x.fetch_open_orders(PAIR)],
    }
    x.options["warnOnFetchOpenOrdersWithoutSymbol"] = False
    seen["open_everywhere"] = [o["clientOrderId"] for o in await x.fetch_open_orders()]
    seen["cancelled"] = await x.cancel_order(resting["id"], PAIR)
    seen["open_after"] = await x.fetch_open_orders(PAIR)
    seen["trades"] = await x.fetch_my_trades(PAIR)
    seen["all"] = [o["status"] for o in await x.fetch_orders(PAIR)]
    seen["balance"] = (await x.fetch_balance())["BTC"]
    return seen


async def refusals(x, world):
    stranger = connect(world["rest"], world["ws"], world["trade"]["api_key"], "wrong")
    reader = connect(world["rest"], world["ws"], **world["read"])
    late = {"timestamp": 1}
    small = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    small |= {"quantity": "0.00001", "price": "60000"}
    try:
        return {
            "funds": await caught(x.create_order("XRP/BTC", "market", "sell", 2)),
            "unknown": await caught(x.fetch_order("99", PAIR)),
            "uncancelled": await caught(x.cancel_order("99", PAIR)),
            "filter": await caught(x.private_post_order(small)),
            "signature": await caught(stranger.fetch_balance()),
            "late": await caught(x.create_order(PAIR, "market", "buy", 0.01, None, late)),
            "reader": await caught(reader.create_order(PAIR, "market", "buy", 0.01)),
        }
    finally:
        await stranger.close()
        await reader.close()
