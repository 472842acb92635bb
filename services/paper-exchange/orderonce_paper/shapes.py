"""PURE: the JSON of the venue. Money is a string of 8 decimals or more, ids and times integers."""

from decimal import Decimal
from typing import Any

from orderonce_paper.filters import PERCENT_DOWN, PERCENT_UP
from orderonce_paper.model import ZERO, Balance, Leg, Level, Market, Order, Traded
from orderonce_paper.symbols import Symbol

Json = dict[str, Any]

MIN_DECIMALS = 8
ORDER_TYPES = ["LIMIT", "LIMIT_MAKER", "MARKET"]


def money(value: Decimal) -> str:
    """Plain digits, never an exponent, nothing rounded."""
    text = format(value, "f")
    dot = text.find(".")
    if dot < 0:
        return text + ".00000000"
    decimals = len(text) - dot - 1
    if decimals < MIN_DECIMALS:
        return text + "0" * (MIN_DECIMALS - decimals)
    if decimals > MIN_DECIMALS:
        kept = text[dot + 1 + MIN_DECIMALS :].rstrip("0")
        return text[: dot + 1 + MIN_DECIMALS] + kept
    return text


def order_row(order: Order) -> Json:
    """GET order, openOrders, allOrders."""
    made = order.made
    return {
        "symbol": made.symbol,
        "orderId": made.order_id,
        "orderListId": -1,
        "clientOrderId": made.client_id,
        "price": money(made.price),
        "origQty": money(made.quantity),
        "executedQty": money(order.executed),
        "cummulativeQuoteQty": money(order.quote_executed),
        "status": order.status,
        "timeInForce": made.time_in_force,
        "type": made.kind,
        "side": made.side,
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": made.time,
        "updateTime": order.update_time,
        "isWorking": True,
        "workingTime": made.time,
        "origQuoteOrderQty": money(made.quote_quantity),
        "selfTradePreventionMode": "NONE",
    }


def new_order(order: Order, response: str) -> Json:
    """POST order: ACK without status, RESULT without fills, FULL with them."""
    made = order.made
    row: Json = {
        "symbol": made.symbol,
        "orderId": made.order_id,
        "orderListId": -1,
        "clientOrderId": made.client_id,
        "transactTime": made.time,
    }
    if response == "ACK":
        return row
    row |= {
        "price": money(made.price),
        "origQty": money(made.quantity),
        "executedQty": money(order.executed),
        "origQuoteOrderQty": money(made.quote_quantity),
        "cummulativeQuoteQty": money(order.quote_executed),
        "status": order.status,
        "timeInForce": made.time_in_force,
        "type": made.kind,
        "side": made.side,
        "workingTime": made.time,
    }
    if response == "FULL":
        row["fills"] = [_fill(trade, trade.taker) for trade in order.trades if trade.taker]
    row["selfTradePreventionMode"] = "NONE"
    return row


def _fill(trade: Traded, leg: Leg) -> Json:
    return {
        "price": money(trade.price),
        "qty": money(trade.quantity),
        "commission": money(leg.commission),
        "commissionAsset": leg.commission_asset,
        "tradeId": trade.trade_id,
    }


def canceled(order: Order, cancel_id: str) -> Json:
    """DELETE order: origClientOrderId is the order's, clientOrderId names the cancel."""
    made = order.made
    return {
        "symbol": made.symbol,
        "origClientOrderId": made.client_id,
        "orderId": made.order_id,
        "orderListId": -1,
        "clientOrderId": cancel_id,
        "transactTime": order.update_time,
        "price": money(made.price),
        "origQty": money(made.quantity),
        "executedQty": money(order.executed),
        "origQuoteOrderQty": money(made.quote_quantity),
        "cummulativeQuoteQty": money(order.quote_executed),
        "status": order.status,
        "timeInForce": made.time_in_force,
        "type": made.kind,
        "side": made.side,
        "selfTradePreventionMode": "NONE",
    }


def my_trade(trade: Traded, leg: Leg, side: str, is_maker: bool) -> Json:
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": leg.order_id,
        "orderListId": -1,
        "price": money(trade.price),
        "qty": money(trade.quantity),
        "quoteQty": money(trade.quote),
        "commission": money(leg.commission),
        "commissionAsset": leg.commission_asset,
        "time": trade.time,
        "isBuyer": side == "BUY",
        "isMaker": is_maker,
        "isBestMatch": True,
    }


def public_trade(trade: Traded) -> Json:
    return {
        "id": trade.trade_id,
        "price": money(trade.price),
        "qty": money(trade.quantity),
        "quoteQty": money(trade.quote),
        "time": trade.time,
        "isBuyerMaker": trade.taker_side == "SELL",
        "isBestMatch": True,
    }


def account(
    balances: dict[str, Balance],
    update_time: int,
    owner: tuple[int, bool],
    fees: tuple[Decimal, Decimal],
) -> Json:
    """`owner` is the uid and whether the key may trade, `fees` the maker's and the taker's."""
    (uid, can_trade), (maker, taker) = owner, fees
    return {
        "makerCommission": int(maker * 10000),
        "takerCommission": int(taker * 10000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {
            "maker": money(maker),
            "taker": money(taker),
            "buyer": money(ZERO),
            "seller": money(ZERO),
        },
        "canTrade": can_trade,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": update_time,
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": money(balance.free), "locked": money(balance.locked)}
            for asset, balance in balances.items()
        ],
        "permissions": ["SPOT"],
        "uid": uid,
    }


def symbol_row(symbol: Symbol, max_open: int) -> Json:
    return {
        "symbol": symbol.name,
        "status": "TRADING",
        "baseAsset": symbol.base,
        "baseAssetPrecision": symbol.digits,
        "quoteAsset": symbol.quote,
        "quotePrecision": symbol.digits,
        "quoteAssetPrecision": symbol.digits,
        "baseCommissionPrecision": symbol.commission_digits,
        "quoteCommissionPrecision": symbol.commission_digits,
        "orderTypes": ORDER_TYPES,
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(symbol, max_open),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }


def _filters(symbol: Symbol, max_open: int) -> list[Json]:
    lot = {
        "minQty": money(symbol.min_quantity),
        "maxQty": money(symbol.max_quantity),
        "stepSize": money(symbol.step),
    }
    up, down = format(PERCENT_UP, "f"), format(PERCENT_DOWN, "f")
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": money(symbol.tick),
            "maxPrice": money(symbol.max_price),
            "tickSize": money(symbol.tick),
        },
        {"filterType": "LOT_SIZE", **lot},
        {"filterType": "MARKET_LOT_SIZE", **lot},
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": up,
            "bidMultiplierDown": down,
            "askMultiplierUp": up,
            "askMultiplierDown": down,
            "avgPriceMins": 0,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": money(symbol.min_notional),
            "applyMinToMarket": True,
            "maxNotional": money(symbol.max_notional),
            "applyMaxToMarket": True,
            "avgPriceMins": 0,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": max_open},
    ]


def best(market: Market, bids: list[Level], asks: list[Level]) -> Json:
    """ticker/bookTicker; a side that is empty shows zeros, as the venue's does."""
    bid, ask = bids[0] if bids else (ZERO, ZERO), asks[0] if asks else (ZERO, ZERO)
    return {
        "symbol": market.symbol.name,
        "bidPrice": money(bid[0]),
        "bidQty": money(bid[1]),
        "askPrice": money(ask[0]),
        "askQty": money(ask[1]),
    }
