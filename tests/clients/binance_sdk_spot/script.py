"""Binance's own SDK: REST, frames, both ways to the user-data stream, a market stream."""

import asyncio
import json
import logging
from decimal import Decimal
from importlib.metadata import version
from urllib.request import Request, urlopen

from binance_common.errors import Error
from connect import connect

SYMBOL = "BTCUSDT"
LIMIT_S = 20


def caught(call, **params):
    """The SDK keeps the venue's code in `status_code`."""
    try:
        return {"class": None, "answer": call(**params).data().to_dict()}
    except Error as error:
        return {"class": type(error).__name__, "code": error.status_code}


class Misfits(logging.Handler):
    """What the SDK says of answers that do not fit its models."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.told = []

    def emit(self, record):
        text = record.getMessage()
        if "parse" in text.lower() or "declared types" in text:
            self.told.append(text)


async def play(world):
    misfits = Misfits()
    logging.getLogger().addHandler(misfits)
    hmac = {"api_key": world["trade"]["api_key"], "api_secret": world["trade"]["secret"]}
    rest = connect(world["rest"], world["ws"], **hmac).rest_api
    signed = connect(world["rest"], world["ws"], **hmac)
    logged_on = connect(world["rest"], world["ws"], **world["ed25519"])
    return {
        "version": version("binance-sdk-spot"),
        "symbols": sorted(row.symbol for row in rest.exchange_info().data().symbols),
        "one": [row.symbol for row in rest.exchange_info(symbols=[SYMBOL]).data().symbols],
        "orders": orders(rest),
        "refusals": refusals(rest, world, hmac),
        "signed": await streams(signed, logs_on=False),
        "logged_on": await streams(logged_on, logs_on=True),
        "quote": await quote(signed),
        "misfits": misfits.told,
    }


def orders(rest):
    def order(**params):
        return rest.new_order(symbol=SYMBOL, new_order_resp_type="FULL", **params).data()

    def clients(**params):
        return [row.client_order_id for row in rest.get_open_orders(**params).data()]

    market = order(side="BUY", type="MARKET", quantity=0.01, new_client_order_id="m-1")
    spent = order(side="BUY", type="MARKET", quote_order_qty=100)
    limit = {"type": "LIMIT", "time_in_force": "GTC", "quantity": 0.01}
    taken = order(side="SELL", price=60000, **limit)
    resting = order(side="BUY", price=50000, new_client_order_id="r-1", **limit)
    seen = {
        "market": market.to_dict(),
        "models": sorted({type(row).__name__ for row in (market, spent, taken, resting)}),
        "by_id": rest.get_order(symbol=SYMBOL, order_id=market.order_id).data().to_dict(),
        "by_client_id": rest.get_order(symbol=SYMBOL, orig_client_order_id="m-1").data().to_dict(),
        "spent": spent.to_dict(),
        "taken": taken.to_dict(),
        "resting": resting.to_dict(),
        "locked": balance(rest, "USDT").locked,
        "open_here": clients(symbol=SYMBOL),
        "open_everywhere": clients(),
        "cancelled": rest.delete_order(symbol=SYMBOL, order_id=resting.order_id).data().to_dict(),
        "open_after": clients(symbol=SYMBOL),
    }
    seen["trades"] = [row.to_dict() for row in rest.my_trades(symbol=SYMBOL).data()]
    seen["all"] = [row.status for row in rest.all_orders(symbol=SYMBOL).data()]
    seen["balance"] = balance(rest, "BTC").free
    return seen


def balance(rest, asset):
    return next(row for row in rest.get_account().data().balances if row.asset == asset)


def refusals(rest, world, hmac):
    where = (world["rest"], world["ws"])
    stranger = connect(*where, **{**hmac, "api_secret": "wrong"}).rest_api
    reader = {"api_key": world["read"]["api_key"], "api_secret": world["read"]["secret"]}
    market = {"side": "BUY", "type": "MARKET", "quantity": 0.01}
    limit = {"side": "BUY", "type": "LIMIT", "time_in_force": "GTC", "price": 60000}
    return {
        "funds": caught(rest.new_order, symbol="XRPBTC", side="SELL", type="MARKET", quantity=2),
        "unknown": caught(rest.get_order, symbol=SYMBOL, order_id=99),
        "uncancelled": caught(rest.delete_order, symbol=SYMBOL, order_id=99),
        "filter": caught(rest.new_order, symbol=SYMBOL, quantity=0.0001, **limit | {"price": 1}),
        # Python writes small floats with an exponent, and the SDK sends them so.
        "exponent": caught(rest.new_order, symbol=SYMBOL, quantity=0.00001, **limit),
        "decimal": caught(rest.order_test, symbol=SYMBOL, quantity=Decimal("0.00009"), **limit),
        "signature": caught(stranger.get_account),
        "late": late(rest, world),
        "reader": caught(connect(*where, **reader).rest_api.new_order, symbol=SYMBOL, **market),
    }


def late(rest, world):
    """The SDK gives no hand to its timestamps, so the venue's clock goes wrong for a moment."""
    faults = f"{world['control']}/control/faults"
    skew = json.dumps({"name": "clock_skew", "ms": 60_000}).encode()
    urlopen(Request(faults, skew, {"Content-Type": "application/json"})).close()
    try:
        return caught(rest.get_account)
    finally:
        urlopen(Request(faults, method="DELETE")).close()


async def streams(spot, logs_on):
    """Subscribe (by signature, or after a session log-on), trade by frames, hear of it."""
    events, told = [], asyncio.Event()

    def hear(event):
        row = event.to_dict() if hasattr(event, "to_dict") else event
        events.append(row)
        told.set()

    connection = await spot.websocket_api.create_connection()
    try:
        async with asyncio.timeout(LIMIT_S):
            if logs_on:
                await connection.session_logon()
                subscribed = await connection.user_data_stream_subscribe()
            else:
                subscribed = await connection.user_data_stream_subscribe_signature()
            subscribed.stream.on("message", hear)
            filled = await connection.order_place(
                symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.01
            )
            resting = await connection.order_place(
                symbol=SYMBOL, side="BUY", type="LIMIT", time_in_force="GTC", quantity=0.01,
                price=50000,
            )  # fmt: skip
            number = resting.data().result.order_id
            found = await connection.order_status(symbol=SYMBOL, order_id=number)
            cancelled = await connection.order_cancel(symbol=SYMBOL, order_id=number)
            while len(events) < 7:
                told.clear()
                await told.wait()
            unknown = (await connection.order_status(symbol=SYMBOL, order_id=99)).data()
        return {
            "subscription": subscribed.response.data().result.subscription_id,
            "filled": filled.data().result.status,
            "found": found.data().result.status,
            "cancelled": cancelled.data().result.status,
            "unknown": unknown,
            "events": events,
        }
    finally:
        await connection.close_connection(close_session=True)


async def quote(spot):
    heard = asyncio.get_running_loop().create_future()
    connection = await spot.websocket_streams.create_connection()
    try:
        stream = await connection.book_ticker(symbol=SYMBOL.lower())
        stream.on("message", lambda row: heard.done() or heard.set_result(row))
        async with asyncio.timeout(LIMIT_S):
            return (await heard).to_dict()
    finally:
        await connection.close_connection(close_session=True)
