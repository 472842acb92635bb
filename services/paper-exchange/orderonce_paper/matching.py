"""PURE: book, balances and an order (or a new quote) -> events.

Theory of operation. `place`, `cancel` and `quote` look at the book and answer with events; they
change nothing. settlement.py turns events into the next book.

The market is synthetic: LEVELS levels on each side, sized by the seed. Its maker quotes again after
every order, so what an order gets depends on its size and the quote, not on who came before; large
orders walk several levels and may run dry. Orders of accounts rest between and before the levels
(price, then time, accounts before the synthetic maker) and trade with each other. The book is never
crossed: synthetic levels at or through a resting order count as eaten until the next quote. A new
quote fills what it crosses, at the resting order's own price, as far as its levels reach.

Nothing is rounded but a commission, downwards, to the digits of its market.
"""

from collections.abc import Iterator
from decimal import ROUND_DOWN, Context, Decimal, InvalidOperation, localcontext

from orderonce_paper.model import (
    PRICED_TYPES,
    ZERO,
    Accepted,
    Account,
    Book,
    Busted,
    Closed,
    Event,
    Leg,
    Level,
    Market,
    NewOrder,
    Order,
    Quoted,
    Resting,
    Traded,
    levels,
)
from orderonce_paper.settlement import EXACT, balance_of, received

ROUNDING = Context(prec=80, rounding=ROUND_DOWN, traps=[InvalidOperation])

Fill = tuple[Decimal, Decimal, Order | None]  # price, quantity, the resting order that gave it


class Refused(Exception):
    """The engine says no; the text is the venue's."""


def place(book: Book, new: NewOrder, time: int) -> list[Event]:
    """Events of a new order; raises Refused, and then nothing has happened."""
    market, account = book.markets[new.symbol], book.accounts[new.account]
    earlier = account.by_client_id.get((new.symbol, new.client_id))
    if earlier is not None and earlier.is_open:
        raise Refused("Duplicate order sent.")
    with localcontext(EXACT):
        fills = _walk(market, new)
        if new.kind == "LIMIT_MAKER" and fills:
            raise Refused("Order would immediately match and take.")
        filled = sum((quantity for _, quantity, _ in fills), ZERO)
        quantity = _bought_for(market, new, fills) if new.quote_quantity else new.quantity
        if new.time_in_force == "FOK" and filled < quantity:
            fills, filled = [], ZERO
        _require_funds(market, account, new, fills)
        order_id = len(market.orders) + 1
        events: list[Event] = [
            Accepted(
                new.symbol,
                order_id,
                new.account,
                new.client_id,
                new.side,
                new.kind,
                new.time_in_force,
                new.price,
                quantity,
                new.quote_quantity,
                time,
            )
        ]
        trade_id = len(market.trades) + 1
        for n, fill in enumerate(fills):
            events.append(_traded(market, new, (order_id, trade_id + n), fill, time))
        rests = new.kind in PRICED_TYPES and new.time_in_force == "GTC"
        if not rests and (filled < quantity or not filled):
            events.append(Closed(new.symbol, order_id, "EXPIRED", time))
        return events


def cancel(order: Order, time: int, cancel_id: str = "") -> list[Event]:
    if not order.is_open:
        raise Refused("Unknown order sent.")
    made = order.made
    return [Closed(made.symbol, made.order_id, "CANCELED", time, cancel_id=cancel_id)]


def quote(book: Book, symbol: str, bid: Decimal, ask: Decimal, time: int) -> list[Event]:
    """A new quote and the fills of the resting orders that it crosses."""
    market = book.markets[symbol]
    with localcontext(EXACT):
        events: list[Event] = [Quoted(symbol, bid, ask, time)]
        trade_id = len(market.trades) + 1
        crossings = (
            ("SELL", market.resting_bids, levels(market.symbol, ask, market.ask_sizes, 1)),
            ("BUY", market.resting_asks, levels(market.symbol, bid, market.bid_sizes, -1)),
        )
        for taker_side, resting, offered in crossings:
            for order, quantity in _crossed(resting, offered, taker_side):
                events.append(_maker_trade(market, order, quantity, (trade_id, time)))
                trade_id += 1
        return events


def trade_by_hand(book: Book, new: NewOrder, time: int) -> list[Event]:
    """A trade made at the venue outside every API, at any price, against the outside."""
    market, account = book.markets[new.symbol], book.accounts[new.account]
    with localcontext(EXACT):
        fill: Fill = (new.price, new.quantity, None)
        _require_funds(market, account, new, [fill])
        order_id, trade_id = len(market.orders) + 1, len(market.trades) + 1
        accepted = Accepted(
            new.symbol,
            order_id,
            new.account,
            new.client_id,
            new.side,
            "LIMIT",
            "GTC",
            new.price,
            new.quantity,
            ZERO,
            time,
        )
        return [accepted, _traded(market, new, (order_id, trade_id), fill, time)]


def bust(book: Book, symbol: str, trade_id: int, time: int) -> list[Event]:
    """Undo a trade's money; refused where the money has moved on or the trade is not there."""
    market = book.markets[symbol]
    if not 1 <= trade_id <= len(market.trades) or trade_id in market.busted:
        raise Refused("No such trade.")
    trade = market.trades[trade_id - 1]
    with localcontext(EXACT):
        for leg, side, _ in trade.legs():
            asset, got = received(market, trade, side)
            if balance_of(book.accounts[leg.account], asset).free < got - leg.commission:
                raise Refused("The money of this trade has been spent.")
    return [Busted(symbol, trade_id, time)]


def liquidity(market: Market, taker_side: str) -> Iterator[Fill]:
    """What a taker meets, best price first; at one price the orders of accounts come first."""
    buying = taker_side == "BUY"
    resting = market.resting_asks if buying else market.resting_bids
    offered = visible_levels(market, taker_side)
    n = 0
    for _, _, order in resting:
        price = order.made.price
        while n < len(offered) and (offered[n][0] < price if buying else offered[n][0] > price):
            yield offered[n][0], offered[n][1], None
            n += 1
        yield price, order.remaining, order
    for level_price, size in offered[n:]:
        yield level_price, size, None


def visible_levels(market: Market, taker_side: str) -> list[Level]:
    """Synthetic levels that no resting order of the taker's side has eaten."""
    if taker_side == "BUY":
        if not market.resting_bids:
            return market.asks
        best = market.resting_bids[0][2].made.price
        return [level for level in market.asks if level[0] > best]
    if not market.resting_asks:
        return market.bids
    best = market.resting_asks[0][2].made.price
    return [level for level in market.bids if level[0] < best]


def _walk(market: Market, new: NewOrder) -> list[Fill]:
    buying = new.side == "BUY"
    limited = new.kind in PRICED_TYPES
    left, quote_left, step = new.quantity, new.quote_quantity, market.symbol.step
    fills: list[Fill] = []
    for price, size, maker in liquidity(market, new.side):
        if limited and (price > new.price if buying else price < new.price):
            break
        if new.quote_quantity:
            quantity = min(size, quote_left // (price * step) * step)
            quote_left -= quantity * price
        else:
            quantity = min(size, left)
            left -= quantity
        if not quantity:
            break
        fills.append((price, quantity, maker))
    return fills


def _bought_for(market: Market, new: NewOrder, fills: list[Fill]) -> Decimal:
    """The quantity of an order by quote amount: what it got, and one step more if levels ran out.

    The step is not there to be had, so the order ends EXPIRED with part of its amount unspent.
    """
    filled = sum((quantity for _, quantity, _ in fills), ZERO)
    spent = sum((price * quantity for price, quantity, _ in fills), ZERO)
    step, offered = market.symbol.step, sum(1 for _ in liquidity(market, new.side))
    dry = bool(fills) and len(fills) == offered
    return filled + step if dry and new.quote_quantity - spent >= fills[-1][0] * step else filled


def _require_funds(market: Market, account: Account, new: NewOrder, fills: list[Fill]) -> None:
    if new.side == "SELL":
        asset = market.symbol.base
        needed = sum((q for _, q, _ in fills), ZERO) if new.quote_quantity else new.quantity
    else:
        asset = market.symbol.quote
        if new.kind in PRICED_TYPES:
            needed = new.price * new.quantity
        else:
            needed = sum((price * quantity for price, quantity, _ in fills), ZERO)
    if balance_of(account, asset).free < needed:
        raise Refused("Account has insufficient balance for requested action.")


def _commission(market: Market, side: str, fill: tuple[Decimal, Decimal], taker: bool) -> Leg:
    """A leg without owner: what the venue keeps of what this side receives."""
    price, quantity = fill
    symbol = market.symbol
    rate = symbol.taker_fee if taker else symbol.maker_fee
    received = quantity if side == "BUY" else price * quantity
    exact = received * rate
    kept = exact.quantize(Decimal(1).scaleb(-symbol.commission_digits), context=ROUNDING)
    return Leg("", 0, kept, symbol.base if side == "BUY" else symbol.quote)


def _traded(market: Market, new: NewOrder, ids: tuple[int, int], fill: Fill, time: int) -> Traded:
    price, quantity, maker = fill
    order_id, trade_id = ids
    fee = _commission(market, new.side, (price, quantity), taker=True)
    maker_leg = None
    if maker is not None:
        cut = _commission(market, maker.made.side, (price, quantity), taker=False)
        maker_leg = Leg(
            maker.made.account, maker.made.order_id, cut.commission, cut.commission_asset
        )
    return Traded(
        new.symbol,
        trade_id,
        new.side,
        price,
        quantity,
        price * quantity,
        Leg(new.account, order_id, fee.commission, fee.commission_asset),
        maker_leg,
        time,
    )


def _maker_trade(market: Market, order: Order, quantity: Decimal, at: tuple[int, int]) -> Traded:
    made, (trade_id, time) = order.made, at
    cut = _commission(market, made.side, (made.price, quantity), taker=False)
    return Traded(
        made.symbol,
        trade_id,
        "SELL" if made.side == "BUY" else "BUY",
        made.price,
        quantity,
        made.price * quantity,
        None,
        Leg(made.account, made.order_id, cut.commission, cut.commission_asset),
        time,
    )


def _crossed(
    resting: list[Resting], offered: list[Level], taker_side: str
) -> Iterator[tuple[Order, Decimal]]:
    """Resting orders that the new levels reach, each with the quantity that is left for it."""
    n, left = 0, offered[0][1] if offered else ZERO
    for _, _, order in resting:
        wanted, price = order.remaining, order.made.price
        got = ZERO
        while n < len(offered) and got < wanted:
            level = offered[n][0]
            if level > price if taker_side == "SELL" else level < price:
                break
            part = min(left, wanted - got)
            got, left = got + part, left - part
            if not left:
                n += 1
                left = offered[n][1] if n < len(offered) else ZERO
        if not got:
            return
        yield order, got
