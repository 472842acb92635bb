"""PURE: events -> the next book. The only code that changes a book, at replay and in life alike.

Money moves here and nowhere else. Each move is between two purses (free, locked, the synthetic
market's outside, the venue's fees), so the sum of every asset over all of them never changes.
"""

from bisect import bisect_left, insort
from decimal import (
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    localcontext,
)
from typing import assert_never

from orderonce_paper.model import (
    PRICED_TYPES,
    ZERO,
    Accepted,
    Account,
    Balance,
    Book,
    Busted,
    Closed,
    Credited,
    Event,
    Market,
    Order,
    Quoted,
    Resting,
    Traded,
    levels,
)

# Exact or it stops: an amount that would be rounded raises Inexact.
EXACT = Context(prec=80, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])


def apply(book: Book, event: Event) -> None:
    """The book after the event."""
    book.changes += 1
    with localcontext(EXACT):
        match event:
            case Accepted():
                _apply_accepted(book, event)
            case Traded():
                _apply_traded(book, event)
            case Closed():
                _apply_closed(book, event)
            case Quoted():
                market = book.markets[event.symbol]
                market.bids = levels(market.symbol, event.bid, market.bid_sizes, -1)
                market.asks = levels(market.symbol, event.ask, market.ask_sizes, 1)
                market.update_id += 1
            case Credited():
                account = book.accounts[event.account]
                balance_of(account, event.asset).free += event.amount
                account.update_time = event.time
                _add(book.outside, event.asset, -event.amount)
            case Busted():
                _apply_busted(book, event)
            case _:
                assert_never(event)


def balance_of(account: Account, asset: str) -> Balance:
    found = account.balances.get(asset)
    if found is None:
        found = account.balances[asset] = Balance()
    return found


def received(market: Market, trade: Traded, side: str) -> tuple[str, Decimal]:
    if side == "BUY":
        return market.symbol.base, trade.quantity
    return market.symbol.quote, trade.quote


def _add(purse: dict[str, Decimal], asset: str, amount: Decimal) -> None:
    purse[asset] = purse.get(asset, ZERO) + amount


def _lock(book: Book, order: Order, quantity: Decimal, sign: int) -> None:
    """Move what `quantity` of a priced order binds from free to locked (or back: sign -1)."""
    made, symbol = order.made, book.markets[order.made.symbol].symbol
    if made.side == "BUY":
        asset, amount = symbol.quote, made.price * quantity
    else:
        asset, amount = symbol.base, quantity
    balance = balance_of(book.accounts[made.account], asset)
    balance.free -= sign * amount
    balance.locked += sign * amount
    assert balance.free >= 0, (made.account, asset)
    assert balance.locked >= 0, (made.account, asset)


def _apply_accepted(book: Book, event: Accepted) -> None:
    market, account = book.markets[event.symbol], book.accounts[event.account]
    assert event.order_id == len(market.orders) + 1, "order ids have no gaps"
    book.accepted += 1
    order = Order(event, book.accepted, update_time=event.time)
    market.orders.append(order)
    account.orders.setdefault(event.symbol, []).append(order)
    account.by_client_id[event.symbol, event.client_id] = order
    account.open.setdefault(event.symbol, {})[event.order_id] = order
    account.update_time = event.time
    if event.kind in PRICED_TYPES:
        _lock(book, order, event.quantity, 1)
        side = market.resting_bids if event.side == "BUY" else market.resting_asks
        insort(side, _entry(order))
        market.update_id += 1


def _apply_traded(book: Book, event: Traded) -> None:
    market = book.markets[event.symbol]
    assert event.trade_id == len(market.trades) + 1, "trade ids have no gaps"
    market.trades.append(event)
    market.last_price = event.price
    market.update_id += 1
    _settle(book, event, 1)
    for leg, _, _ in event.legs():
        order = market.orders[leg.order_id - 1]
        order.executed += event.quantity
        order.quote_executed += event.quote
        assert order.executed <= order.made.quantity, "filled more than was ordered"
        order.update_time = event.time
        order.trades.append(event)
        order.status = "PARTIALLY_FILLED" if order.remaining else "FILLED"
        if not order.remaining:
            _retire(book, order)
        account = book.accounts[leg.account]
        account.update_time = event.time
        mine = account.trades.setdefault(event.symbol, [])
        if not mine or mine[-1] is not event:  # a trade with oneself is one row with two legs
            mine.append(event)


def _settle(book: Book, event: Traded, sign: int) -> None:
    """Move the money of a trade; sign -1 undoes it (then from free balances only)."""
    market = book.markets[event.symbol]
    base, quoted = market.symbol.base, market.symbol.quote
    for side, leg in (
        (event.taker_side, event.taker),
        ("SELL" if event.taker_side == "BUY" else "BUY", event.maker),
    ):
        gets, gives = (base, quoted) if side == "BUY" else (quoted, base)
        amount_in, amount_out = (
            (event.quantity, event.quote) if side == "BUY" else (event.quote, event.quantity)
        )
        if leg is None:
            _add(book.outside, gets, sign * amount_in)
            _add(book.outside, gives, -sign * amount_out)
            continue
        account, order = book.accounts[leg.account], market.orders[leg.order_id - 1]
        if sign == 1 and order.made.kind in PRICED_TYPES:
            _lock(book, order, event.quantity, -1)
        paid, taken = balance_of(account, gives), balance_of(account, gets)
        paid.free -= sign * amount_out
        taken.free += sign * (amount_in - leg.commission)
        _add(book.fees, leg.commission_asset, sign * leg.commission)
        assert paid.free >= 0, (leg.account, event.trade_id)
        assert taken.free >= 0, (leg.account, event.trade_id)


def _apply_closed(book: Book, event: Closed) -> None:
    order = book.markets[event.symbol].orders[event.order_id - 1]
    order.status = event.status
    order.update_time = event.time
    if order.made.kind in PRICED_TYPES:
        _lock(book, order, order.remaining, -1)
    book.accounts[order.made.account].update_time = event.time
    _retire(book, order)


def _apply_busted(book: Book, event: Busted) -> None:
    market = book.markets[event.symbol]
    trade = market.trades[event.trade_id - 1]
    market.busted.add(event.trade_id)
    _settle(book, trade, -1)
    for leg, _, _ in trade.legs():
        account = book.accounts[leg.account]
        account.update_time = event.time
        if trade in account.trades[event.symbol]:
            account.trades[event.symbol].remove(trade)


def _entry(order: Order) -> Resting:
    made = order.made
    return (-made.price if made.side == "BUY" else made.price, made.order_id, order)


def _retire(book: Book, order: Order) -> None:
    """Take a finished order out of the resting side and of its account's open orders."""
    made, market = order.made, book.markets[order.made.symbol]
    del book.accounts[made.account].open[made.symbol][made.order_id]
    if made.kind in PRICED_TYPES:
        side = market.resting_bids if made.side == "BUY" else market.resting_asks
        key, order_id, _ = _entry(order)
        at = bisect_left(side, (key, order_id), key=lambda entry: entry[:2])
        assert side[at][2] is order, "an open priced order rests in the book"
        del side[at]
        market.update_id += 1
