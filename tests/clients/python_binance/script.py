"""python-binance: REST by its blocking client, frames and the user stream by the other."""

import asyncio
from importlib.metadata import version

from binance.exceptions import BinanceAPIException
from connect import connect, connect_async

SYMBOL = "BTCUSDT"
LIMIT_S = 20
SMALL = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
SMALL |= {"quantity": "0.00001", "price": "60000"}


def caught(call, *args, **params):
    try:
        return {"class": None, "answer": call(*args, **params)}
    except BinanceAPIException as error:
        return {"class": type(error).__name__, "code": error.code, "status": error.status_code}


def play(world):
    client = connect(world["rest"], world["ws"], **world["trade"])
    return {
        "version": version("python-binance"),
        "symbols": sorted(row["symbol"] for row in client.get_exchange_info()["symbols"]),
        "symbol": client.get_symbol_info(SYMBOL)["baseAsset"],
        "orders": orders(client),
        "refusals": refusals(client, world),
        "streams": asyncio.run(streams(world)),
    }


def orders(client):
    market = client.order_market_buy(symbol=SYMBOL, quantity="0.01", newClientOrderId="m-1")
    spent = client.order_market_buy(symbol=SYMBOL, quoteOrderQty="100")
    taken = client.order_limit_sell(symbol=SYMBOL, quantity="0.01", price="60000")
    resting = client.order_limit_buy(
        symbol=SYMBOL, quantity="0.01", price="50000", newClientOrderId="r-1"
    )
    return {
        "market": market,
        "by_id": client.get_order(symbol=SYMBOL, orderId=market["orderId"]),
        "by_client_id": client.get_order(symbol=SYMBOL, origClientOrderId="m-1"),
        "spent": spent,
        "taken": taken,
        "resting": resting,
        "locked": client.get_asset_balance("USDT")["locked"],
        "open_here": [o["clientOrderId"] for o in client.get_open_orders(symbol=SYMBOL)],
        "open_everywhere": [o["clientOrderId"] for o in client.get_open_orders()],
        "cancelled": client.cancel_order(symbol=SYMBOL, origClientOrderId="r-1"),
        "open_after": client.get_open_orders(symbol=SYMBOL),
        "trades": client.get_my_trades(symbol=SYMBOL),
        "all": [o["status"] for o in client.get_all_orders(symbol=SYMBOL)],
        "balance": client.get_asset_balance("BTC"),
    }


def refusals(client, world):
    stranger = connect(world["rest"], world["ws"], world["trade"]["api_key"], "wrong")
    late = connect(world["rest"], world["ws"], **world["trade"])
    late.timestamp_offset = -60_000
    return {
        "funds": caught(client.order_market_sell, symbol="XRPBTC", quantity="2"),
        "unknown": caught(client.get_order, symbol=SYMBOL, orderId=99),
        "uncancelled": caught(client.cancel_order, symbol=SYMBOL, orderId=99),
        "filter": caught(client.create_order, **SMALL),
        "signature": caught(stranger.get_account),
        "late": caught(late.order_market_buy, symbol=SYMBOL, quantity="0.01"),
    }


async def streams(world):
    client, manager = await connect_async(world["rest"], world["ws"], **world["trade"])
    events, quotes = [], []
    try:
        async with asyncio.timeout(LIMIT_S), manager.user_socket() as user:
            filled = await client.ws_create_order(
                symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.01"
            )
            resting = await client.ws_create_order(
                symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01",
                price="50000", newClientOrderId="ws-1",
            )  # fmt: skip
            found = await client.ws_get_order(symbol=SYMBOL, orderId=resting["orderId"])
            cancelled = await client.ws_cancel_order(symbol=SYMBOL, orderId=resting["orderId"])
            while not events or ended(events) < 2:
                events.append(await user.recv())
            events.append(await user.recv())  # the money of the cancelled order
            unknown = {}
            try:
                await client.ws_get_order(symbol=SYMBOL, orderId=99)
            except BinanceAPIException as error:
                unknown = {"class": type(error).__name__, "code": error.code}
        async with asyncio.timeout(LIMIT_S), manager.symbol_book_ticker_socket(SYMBOL) as market:
            quotes.append(await market.recv())
    finally:
        await client.close_connection()
    return {
        "filled": filled,
        "found": found,
        "cancelled": cancelled,
        "events": events,
        "unknown": unknown,
        "quotes": quotes,
    }


def ended(events):
    return sum(1 for event in events if event.get("X") in ("FILLED", "CANCELED"))
