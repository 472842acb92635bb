"""Routes that change the book: place, test, cancel, cancel all, cancel and replace."""

from decimal import Decimal
from typing import Any

from orderonce_paper import matching, shapes, wire
from orderonce_paper.filters import check_filters
from orderonce_paper.lookups import market_of, order_asked_for
from orderonce_paper.matching import Refused
from orderonce_paper.model import ZERO, Market, NewOrder, Order
from orderonce_paper.venue import Call, Venue
from orderonce_paper.wire import VenueError

Json = dict[str, Any]

NEW_REJECTED = -2010
CANCEL_REJECTED = -2011
RESPONSES = frozenset({"ACK", "RESULT", "FULL"})
SIDES = frozenset({"BUY", "SELL"})
TIMES_IN_FORCE = frozenset({"GTC", "IOC", "FOK"})
KINDS = frozenset({"LIMIT", "LIMIT_MAKER", "MARKET"})
NOT_HERE = {
    "STOP_LOSS": "Stop loss orders are not supported for this symbol.",
    "STOP_LOSS_LIMIT": "Stop loss limit orders are not supported for this symbol.",
    "TAKE_PROFIT": "Take profit orders are not supported for this symbol.",
    "TAKE_PROFIT_LIMIT": "Take profit limit orders are not supported for this symbol.",
}
MODES = frozenset({"STOP_ON_FAILURE", "ALLOW_FAILURE"})
RESTRICTIONS = {"ONLY_NEW": "NEW", "ONLY_PARTIALLY_FILLED": "PARTIALLY_FILLED"}


def place(venue: Venue, call: Call) -> Json:
    new, response = _parse_new(venue, call), _response_type(call)
    venue.limits.check_orders(call.signer.account, call.now_ms)
    return shapes.new_order(_place(venue, call, new), response)


def test(venue: Venue, call: Call) -> Json:
    """Everything but the engine."""
    new = _parse_new(venue, call)
    if call.params.get("computeCommissionRates") != "true":
        return {}
    symbol = venue.book.markets[new.symbol].symbol
    rates = {"maker": shapes.money(symbol.maker_fee), "taker": shapes.money(symbol.taker_fee)}
    return {"standardCommissionForOrder": rates}


def cancel(venue: Venue, call: Call) -> Json:
    market, cancel_id = market_of(venue, call), _cancel_id(venue, call, "newClientOrderId")
    order = _order_to_cancel(call, market, venue, ("orderId", "origClientOrderId"))
    return _cancel(venue, call, order, cancel_id)


def cancel_all(venue: Venue, call: Call) -> list[Json]:
    market = market_of(venue, call)
    mine = venue.book.accounts[call.signer.account].open.get(market.symbol.name, {})
    if not mine:
        raise VenueError(CANCEL_REJECTED, "Unknown order sent.")
    return [_cancel(venue, call, order, venue.random_client_id()) for order in list(mine.values())]


def cancel_replace(venue: Venue, call: Call) -> Json:
    """The new order's filters are checked before anything is cancelled, as at the venue."""
    mode = wire.choice(
        call.params,
        "cancelReplaceMode",
        MODES,
        VenueError(-1130, "Data sent for parameter 'cancelReplaceMode' is not valid."),
    )
    new, response = _parse_new(venue, call), _response_type(call)
    venue.limits.check_orders(call.signer.account, call.now_ms)
    cancel_id = _cancel_id(venue, call, "cancelNewClientOrderId")
    market = market_of(venue, call)
    cancelled: Json
    try:
        order = _order_to_cancel(call, market, venue, ("cancelOrderId", "cancelOrigClientOrderId"))
        cancelled = _cancel(venue, call, order, cancel_id)
        cancel_result = "SUCCESS"
    except VenueError as error:
        if error.code not in (CANCEL_REJECTED,):
            raise
        cancelled, cancel_result = {"code": error.code, "msg": error.msg}, "FAILURE"
    placed: Json | None = None
    new_result = "NOT_ATTEMPTED"
    if cancel_result == "SUCCESS" or mode == "ALLOW_FAILURE":
        try:
            placed = shapes.new_order(_place(venue, call, new), response)
            new_result = "SUCCESS"
        except VenueError as error:
            placed, new_result = {"code": error.code, "msg": error.msg}, "FAILURE"
            if cancel_result == "SUCCESS":
                venue.tell_rejected(call, new, error.msg)
    data = {
        "cancelResult": cancel_result,
        "newOrderResult": new_result,
        "cancelResponse": cancelled,
        "newOrderResponse": placed,
    }
    if cancel_result == new_result == "SUCCESS":
        return data
    if "SUCCESS" in (cancel_result, new_result):
        raise VenueError(-2021, "Order cancel-replace partially failed.", 409, data)
    raise VenueError(-2022, "Order cancel-replace failed.", 400, data)


def _place(venue: Venue, call: Call, new: NewOrder) -> Order:
    try:
        events = matching.place(venue.book, new, call.now_ms)
    except Refused as refused:
        raise VenueError(NEW_REJECTED, str(refused)) from None
    venue.commit(call, events)
    venue.limits.count_order(new.account, call.now_ms)
    return venue.book.markets[new.symbol].orders[-1]


def _cancel(venue: Venue, call: Call, order: Order, cancel_id: str) -> Json:
    try:
        events = matching.cancel(order, call.now_ms, cancel_id)
    except Refused as refused:
        raise VenueError(CANCEL_REJECTED, str(refused)) from None
    venue.commit(call, events)
    return shapes.canceled(order, cancel_id)


def _order_to_cancel(call: Call, market: Market, venue: Venue, names: tuple[str, str]) -> Order:
    order = order_asked_for(venue, call, market, names)
    if order is None or not order.is_open:
        raise VenueError(CANCEL_REJECTED, "Unknown order sent.")
    restriction = call.params.get("cancelRestrictions")
    if restriction is not None:
        if restriction not in RESTRICTIONS:
            raise VenueError(-1145, "Invalid cancelRestrictions")
        if order.status != RESTRICTIONS[restriction]:
            raise VenueError(CANCEL_REJECTED, "Order was not canceled due to cancel restrictions.")
    return order


def _cancel_id(venue: Venue, call: Call, name: str) -> str:
    return wire.client_id(call.params, name) or venue.random_client_id()


def _response_type(call: Call) -> str:
    given = call.params.get("newOrderRespType")
    if given is None:
        return "ACK" if call.params.get("type") == "LIMIT_MAKER" else "FULL"
    if given not in RESPONSES:
        raise VenueError(-1130, "Data sent for parameter 'newOrderRespType' is not valid.")
    return given


def _parse_new(venue: Venue, call: Call) -> NewOrder:
    """The order as asked for, its parameters and filters checked."""
    market, params = market_of(venue, call), call.params
    digits = market.symbol.digits
    side = wire.choice(params, "side", SIDES, VenueError(-1117, "Invalid side."))
    kind = _kind(params)
    price, time_in_force = _price_and_time(params, kind, digits)
    quantity = wire.amount(params, "quantity", digits)
    quote_quantity = wire.amount(params, "quoteOrderQty", digits)
    if kind == "MARKET":
        if quantity is None and quote_quantity is None:
            raise VenueError(
                -1102,
                "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!",
            )
        if quantity is not None and quote_quantity is not None:
            raise VenueError(-1128, "Combination of optional parameters invalid.")
    elif quote_quantity is not None:
        raise wire.not_required("quoteOrderQty")
    elif quantity is None:
        raise wire.missing("quantity")
    new = NewOrder(
        account=call.signer.account,
        symbol=market.symbol.name,
        client_id=wire.client_id(params, "newClientOrderId") or venue.random_client_id(),
        side=side,
        kind=kind,
        time_in_force=time_in_force,
        price=price or ZERO,
        quantity=quantity or ZERO,
        quote_quantity=quote_quantity or ZERO,
    )
    account = venue.book.accounts[new.account]
    check_filters(market, account, new, venue.max_open_orders)
    return new


def _kind(params: dict[str, str]) -> str:
    given = params.get("type", "")
    if given in NOT_HERE:
        raise VenueError(-1013, NOT_HERE[given])
    kind = wire.choice(params, "type", KINDS, VenueError(-1116, "Invalid orderType."))
    if "icebergQty" in params:
        raise VenueError(-1013, "Iceberg orders are not supported for this symbol.")
    for name in ("stopPrice", "trailingDelta"):
        if name in params:
            raise wire.not_required(name)
    if params.get("selfTradePreventionMode", "NONE") != "NONE":
        raise VenueError(
            -1013, "This symbol does not allow the specified self-trade prevention mode."
        )
    return kind


def _price_and_time(params: dict[str, str], kind: str, digits: int) -> tuple[Decimal | None, str]:
    price = wire.amount(params, "price", digits)
    if kind == "MARKET":
        for name in ("price", "timeInForce"):
            if name in params:
                raise wire.not_required(name)
        return None, "GTC"
    if kind == "LIMIT_MAKER":
        if "timeInForce" in params:
            raise wire.not_required("timeInForce")
        time_in_force = "GTC"
    else:
        time_in_force = wire.choice(
            params, "timeInForce", TIMES_IN_FORCE, VenueError(-1115, "Invalid timeInForce.")
        )
    if price is None:
        raise wire.missing("price")
    return price, time_in_force
