"""PURE: Binance's spot dialect. Terms to parameters, raw answers to our nouns; exact text both
ways, no I/O.

We call ccxt's implicit endpoints with these parameters instead of `create_order`: the unified call
rounds prices half up, truncates amounts, may turn a market order's price into a quote amount, and
parses through lossy steps; here the text that was stored is the text that is signed, and an answer
that is not understood is not an answer.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from orderonce_shared.domain.money import (
    EXACT,
    MAX_BOOKED_PLACES,
    add,
    multiply,
    parse_amount,
    render_amount,
)
from orderonce_shared.domain.order import Instrument, OrderTerms, OrderType, Side, TimeInForce
from orderonce_shared.domain.venue import Fee, PlaceRequest, VenueFill, VenueOrder, VenueStatus
from orderonce_shared.venues.evidence import VenueEvidence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_STATUS = {
    "NEW": VenueStatus.OPEN,
    "PENDING_NEW": VenueStatus.OPEN,
    "PARTIALLY_FILLED": VenueStatus.OPEN,
    "FILLED": VenueStatus.FILLED,
    "CANCELED": VenueStatus.CANCELED,
    "EXPIRED": VenueStatus.EXPIRED,
    "EXPIRED_IN_MATCH": VenueStatus.EXPIRED,
    "REJECTED": VenueStatus.REJECTED,
}


class Unreadable(ValueError):
    """The answer is not of the shape that its endpoint documents: it proves nothing."""


class BadRequest(ValueError):
    """The request cannot be put into the venue's words as it stands: nothing is sent."""


def venue_symbol(symbol: str) -> str:
    """`BTC/USDT` -> `BTCUSDT`; raises BadRequest for another shape."""
    base, slash, quote = symbol.partition("/")
    if not (slash and base.isalnum() and quote.isalnum() and symbol.isascii()):
        raise BadRequest("a symbol is BASE/QUOTE")
    return base + quote


def place_parameters(request: PlaceRequest, evidence: VenueEvidence) -> dict[str, str]:
    """All parameters of the create but time and signature, exact; raises BadRequest."""
    terms = request.terms
    if not evidence.client_id.accepts(request.client_order_id):
        raise BadRequest("the venue would not take this client order id")
    if not 0 < request.window_ms <= evidence.window_max_ms:
        raise BadRequest(f"a window of {request.window_ms} ms must not go out")
    if request.signed_at_ms <= 0:
        raise BadRequest("no stamp")
    if terms.price is not None and terms.price <= 0:
        raise BadRequest("a price is above zero")
    parameters = {
        "symbol": venue_symbol(terms.symbol),
        "side": "BUY" if terms.side is Side.BUY else "SELL",
        **_kind(terms.type, terms.time_in_force, post_only=terms.post_only),
        **_how_much(terms, evidence),
    }
    if (terms.price is None) != (terms.type is OrderType.MARKET):
        raise BadRequest("a limit order has a price and a market order has none")
    if terms.price is not None:
        parameters["price"] = render_amount(terms.price)
    return parameters | {
        "newClientOrderId": request.client_order_id,
        "newOrderRespType": "FULL",  # with the fills: saves a request per order
        "recvWindow": str(request.window_ms),
    }


def _how_much(terms: OrderTerms, evidence: VenueEvidence) -> dict[str, str]:
    """Of the base asset, or for a market buy what it spends of the quote asset."""
    if (terms.quantity is None) == (terms.quote_quantity is None):
        raise BadRequest("an order has a quantity or a quote_quantity")
    if terms.quantity is not None:
        if terms.quantity <= 0:
            raise BadRequest("a quantity is above zero")
        return {"quantity": render_amount(terms.quantity)}
    assert terms.quote_quantity is not None
    if not evidence.quote_orders:
        raise BadRequest("this venue takes no orders by quote amount")
    if terms.type is not OrderType.MARKET or terms.side is not Side.BUY:
        raise BadRequest("only a market buy has a quote_quantity")
    if terms.quote_quantity <= 0:
        raise BadRequest("a quote_quantity is above zero")
    return {"quoteOrderQty": render_amount(terms.quote_quantity)}


def _kind(type_: OrderType, time_in_force: TimeInForce, *, post_only: bool) -> dict[str, str]:
    if type_ is OrderType.MARKET:
        if post_only:
            raise BadRequest("a market order cannot be post-only")
        return {"type": "MARKET"}
    if post_only:
        if time_in_force is not TimeInForce.GTC:
            raise BadRequest("a post-only order is good till canceled")
        return {"type": "LIMIT_MAKER"}
    return {"type": "LIMIT", "timeInForce": time_in_force.value.upper()}


def read_order(data: Any, symbol: str, client_order_id: str, id_field: str) -> VenueOrder:
    """One order of any answer. `id_field` holds our id: `clientOrderId`, or `origClientOrderId` in
    a cancel's reply.

    Raises Unreadable for another symbol or id, or for a missing or unknown value: a foreign answer
    is no answer.
    """
    if not isinstance(data, dict):
        raise Unreadable("not an order")
    if data.get("symbol") != venue_symbol(symbol) or data.get(id_field) != client_order_id:
        raise Unreadable("an order, but not the one that was asked for")
    status = _status(data, "status")
    if status is None:
        raise Unreadable("an order without a known status")
    order = VenueOrder(
        symbol=symbol,
        venue_order_id=_id(data, "orderId"),
        client_order_id=client_order_id,
        status=status,
        filled_quantity=_amount(data, "executedQty"),
        filled_cost=_amount(data, "cummulativeQuoteQty"),
        raw=data,
    )
    if status is VenueStatus.FILLED and order.filled_quantity == 0:
        raise Unreadable("filled, but nothing was executed")
    return order


def read_immediate_fills(order: VenueOrder) -> tuple[VenueFill, ...]:
    """The fills inside a FULL reply to a create; () unless they sum up to the order's cumulative
    numbers exactly.

    All of them took: an order that is being placed cannot have rested.
    """
    rows, side = order.raw.get("fills"), order.raw.get("side")
    if not isinstance(rows, list) or not rows or side not in ("BUY", "SELL"):
        return ()
    try:
        traded_at = _time(order.raw, "transactTime")
        fills = tuple(_immediate_fill(row, order, Side(side.lower()), traded_at) for row in rows)
    except Unreadable:
        return ()
    return fills if sums_up(order, fills) else ()


def _immediate_fill(row: Any, order: VenueOrder, side: Side, traded_at: datetime) -> VenueFill:
    if not isinstance(row, dict):
        raise Unreadable("not a fill")
    quantity, price = _amount(row, "qty"), _amount(row, "price")
    return VenueFill(
        symbol=order.symbol,
        trade_id=_id(row, "tradeId"),
        venue_order_id=order.venue_order_id,
        side=side,
        quantity=quantity,
        price=price,
        cost=multiply(price, quantity),
        fees=_fees(row),
        liquidity="taker",
        traded_at=traded_at,
        raw=row,
    )


def sums_up(order: VenueOrder, fills: tuple[VenueFill, ...]) -> bool:
    """Whether these fills are all fills of the order as it stands."""
    quantity = cost = Decimal(0)
    for fill in fills:
        quantity, cost = add(quantity, fill.quantity), add(cost, fill.cost)
    distinct = len({fill.trade_id for fill in fills}) == len(fills)
    return distinct and quantity == order.filled_quantity and cost == order.filled_cost


def read_trade(data: Any, symbol: str) -> VenueFill:
    """One row of myTrades; raises Unreadable."""
    if not isinstance(data, dict) or data.get("symbol", venue_symbol(symbol)) != venue_symbol(
        symbol
    ):
        raise Unreadable("not a trade of this symbol")
    buyer, maker = data.get("isBuyer"), data.get("isMaker")
    if not isinstance(buyer, bool) or not isinstance(maker, bool):
        raise Unreadable("a trade without its side")
    quantity, price = _amount(data, "qty"), _amount(data, "price")
    return VenueFill(
        symbol=symbol,
        trade_id=_id(data, "id"),
        venue_order_id=_id(data, "orderId"),
        side=Side.BUY if buyer else Side.SELL,
        quantity=quantity,
        price=price,
        cost=_amount(data, "quoteQty") if "quoteQty" in data else multiply(price, quantity),
        fees=_fees(data),
        liquidity="maker" if maker else "taker",
        traded_at=_time(data, "time"),
        raw=data,
    )


def report_client_id(data: Any) -> str:
    """Whose order an executionReport speaks of; raises Unreadable. Of a cancel `C` is the order's
    client id and `c` the cancel's own; of anything else `C` is empty."""
    if not isinstance(data, dict):
        raise Unreadable("not a report")
    for name in ("C", "c"):
        value = data.get(name)
        if isinstance(value, str) and value:
            return value
    raise Unreadable("a report without a client id")


def read_report(data: Any, symbol: str) -> VenueOrder:
    """One executionReport: the order as it stood then. `fills` is the one trade that it tells of,
    or (): unlike an answer's, not all that the order counts. Raises Unreadable.
    """
    client_order_id = report_client_id(data)
    if data.get("s") != venue_symbol(symbol):
        raise Unreadable("a report of another symbol")
    status = _status(data, "X")
    if status is None:
        raise Unreadable("a report without a known status")
    order = VenueOrder(
        symbol=symbol,
        venue_order_id=_id(data, "i"),
        client_order_id=client_order_id,
        status=status,
        filled_quantity=_amount(data, "z"),
        filled_cost=_amount(data, "Z"),
        raw=data,
        fills=(_report_fill(data, symbol),) if data.get("x") == "TRADE" else (),
    )
    filled = order.filled_quantity
    if (status is VenueStatus.FILLED or order.fills) and filled == 0:
        raise Unreadable("a trade, but nothing was executed")
    if order.fills and order.fills[0].quantity > filled:
        raise Unreadable("one trade of more than the order has executed")
    return order


def _report_fill(data: Mapping[str, Any], symbol: str) -> VenueFill:
    side, maker = data.get("S"), data.get("m")
    if side not in ("BUY", "SELL") or not isinstance(maker, bool):
        raise Unreadable("a trade without its side")
    quantity, price = _amount(data, "l"), _amount(data, "L")
    if quantity == 0 or price == 0:
        raise Unreadable("a trade of nothing")
    return VenueFill(
        symbol=symbol,
        trade_id=_id(data, "t"),
        venue_order_id=_id(data, "i"),
        side=Side(side.lower()),
        quantity=quantity,
        price=price,
        cost=_amount(data, "Y") if "Y" in data else multiply(price, quantity),
        fees=_fees({"commission": data.get("n"), "commissionAsset": data.get("N")}),
        liquidity="maker" if maker else "taker",
        traded_at=_time(data, "T"),
        raw=dict(data),
    )


def read_instrument(data: Any, venue: str) -> Instrument | None:
    """One symbol of exchangeInfo; None if it does not trade, or is not named BASEQUOTE; raises
    Unreadable.
    """
    if not isinstance(data, dict) or not isinstance(data.get("filters"), list):
        raise Unreadable("not a symbol")
    base, quote = data.get("baseAsset"), data.get("quoteAsset")
    if not isinstance(base, str) or not isinstance(quote, str):
        raise Unreadable("a symbol without its assets")
    if data.get("status") != "TRADING" or data.get("symbol") != base + quote:
        return None
    filters: dict[str, Mapping[str, Any]] = {
        row.get("filterType", ""): row for row in data["filters"] if isinstance(row, dict)
    }
    price, lot = filters.get("PRICE_FILTER", {}), filters.get("LOT_SIZE", {})
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL")
    return Instrument(
        venue=venue,
        symbol=f"{base}/{quote}",
        base=base,
        quote=quote,
        tick_size=_amount(price, "tickSize"),
        step_size=_amount(lot, "stepSize"),
        min_quantity=_amount(lot, "minQty"),
        max_quantity=_amount(lot, "maxQty"),
        min_notional=Decimal(0) if notional is None else _amount(notional, "minNotional"),
        quote_step=_quote_step(data),
    )


def _quote_step(data: Mapping[str, Any]) -> Decimal | None:
    """From the places that the venue's amounts of the quote asset may have; None if untold."""
    places = data.get("quoteAssetPrecision")
    if not isinstance(places, int) or isinstance(places, bool) or not 0 <= places <= 18:
        return None
    return Decimal(1).scaleb(-places)


def read_mid_price(data: Any) -> Decimal | None:
    """The mid of best bid and ask of one bookTicker row; None while one side is empty; raises
    Unreadable.
    """
    bid, ask = _amount(data, "bidPrice"), _amount(data, "askPrice")
    if bid == 0 or ask == 0:
        return None
    return EXACT.divide(EXACT.add(bid, ask), Decimal(2))


def read_balance(data: Any) -> tuple[str, Decimal]:
    """(asset, free + locked) of one row of the account; raises Unreadable."""
    if not isinstance(data, dict) or not isinstance(data.get("asset"), str):
        raise Unreadable("not a balance")
    return data["asset"], add(_amount(data, "free"), _amount(data, "locked"))


def _fees(data: Mapping[str, Any]) -> tuple[Fee, ...]:
    amount, asset = _amount(data, "commission"), data.get("commissionAsset")
    if amount == 0:
        return ()
    if not isinstance(asset, str) or not asset:
        raise Unreadable("a fee without its asset")
    return (Fee(asset=asset, amount=amount),)


def _amount(data: Any, name: str) -> Decimal:
    value = data.get(name) if isinstance(data, dict) else None
    negative = isinstance(value, str) and value.startswith("-") and name == "commission"
    try:
        text = value[1:] if negative and isinstance(value, str) else value
        amount = parse_amount(text, MAX_BOOKED_PLACES)
    except ValueError:
        raise Unreadable(f"{name} is not an amount") from None
    return -amount if negative else amount


def _status(data: Mapping[str, Any], name: str) -> VenueStatus | None:
    value = data.get(name)
    return _STATUS.get(value) if isinstance(value, str) else None


def _id(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Unreadable(f"{name} is not an id")
    return str(value)


def _time(data: Mapping[str, Any], name: str) -> datetime:
    value = data.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 10**14:
        raise Unreadable(f"{name} is not a time in milliseconds")
    return _EPOCH + timedelta(milliseconds=value)
