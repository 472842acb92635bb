"""PURE: what a market lets in; the checks stand in the order in which a client hears of them."""

from decimal import Decimal, localcontext

from orderonce_paper.model import Account, Market, NewOrder
from orderonce_paper.settlement import EXACT
from orderonce_paper.symbols import Symbol
from orderonce_paper.wire import VenueError

# A price stays within [ask * DOWN, ask * UP]: PERCENT_PRICE_BY_SIDE, the same for both sides. The
# venue averages trades over minutes; here the quote is the average, since prices move when told.
PERCENT_UP = Decimal(5)
PERCENT_DOWN = Decimal("0.2")


def check_filters(market: Market, account: Account, new: NewOrder, max_open: int) -> None:
    """Raises -1013 by the first filter that the order fails."""
    with localcontext(EXACT):
        _check(market, account, new, max_open)


def _check(market: Market, account: Account, new: NewOrder, max_open: int) -> None:
    symbol = market.symbol
    if new.quote_quantity:
        _notional(symbol, new.quote_quantity)
        return
    if not new.quantity:
        raise VenueError(-1013, "Invalid quantity.")
    if new.kind == "MARKET":
        _lot(symbol, new.quantity, "MARKET_LOT_SIZE")
        _notional(symbol, market.asks[0][0] * new.quantity)
        return
    _price(market, new.price)
    _lot(symbol, new.quantity, "LOT_SIZE")
    _notional(symbol, new.price * new.quantity)
    if new.time_in_force == "GTC" and len(account.open.get(symbol.name, ())) >= max_open:
        raise _failure("MAX_NUM_ORDERS")


def _failure(name: str) -> VenueError:
    return VenueError(-1013, f"Filter failure: {name}")


def _price(market: Market, price: Decimal) -> None:
    symbol = market.symbol
    if not price:
        raise VenueError(-1013, "Invalid price.")
    if price < symbol.tick or price > symbol.max_price or price % symbol.tick:
        raise _failure("PRICE_FILTER")
    reference = market.asks[0][0]
    if price > reference * PERCENT_UP or price < reference * PERCENT_DOWN:
        raise _failure("PERCENT_PRICE_BY_SIDE")


def _lot(symbol: Symbol, quantity: Decimal, name: str) -> None:
    if quantity < symbol.min_quantity or quantity > symbol.max_quantity:
        raise _failure("LOT_SIZE" if quantity < symbol.min_quantity else name)
    if quantity % symbol.step:
        raise _failure("LOT_SIZE")


def _notional(symbol: Symbol, notional: Decimal) -> None:
    if notional < symbol.min_notional or notional > symbol.max_notional:
        raise _failure("NOTIONAL")
