"""Small words for tests of the matching: a book, orders, and what must hold of any book."""

from collections.abc import Iterable
from decimal import Decimal, localcontext

from orderonce_paper import matching, settlement
from orderonce_paper.model import ZERO, Book, Event, NewOrder, Order, new_book
from orderonce_paper.symbols import SYMBOLS

D = Decimal

ALICE, BOB = "alice", "bob"
MONEY = {
    "BTC": D("50"), "ETH": D("500"), "SOL": D("5000"), "XRP": D("100000"),
    "WEI": D("100000"), "USDT": D("5000000"),
}  # fmt: skip


def fresh_book(seed: int = 1) -> Book:
    return new_book(seed, SYMBOLS, {ALICE: dict(MONEY), BOB: dict(MONEY)})


def order(
    side: str,
    quantity: str,
    price: str | None = None,
    *,
    account: str = ALICE,
    symbol: str = "BTCUSDT",
    kind: str | None = None,
    tif: str = "GTC",
    client_id: str = "c",
    quote: str = "0",
) -> NewOrder:
    kind = kind or ("MARKET" if price is None else "LIMIT")
    return NewOrder(
        account, symbol, client_id, side, kind, tif, D(price or 0), D(quantity), D(quote)
    )


def carry_out(book: Book, events: Iterable[Event]) -> None:
    for event in events:
        settlement.apply(book, event)


def place(book: Book, new: NewOrder, time: int = 1) -> Order:
    carry_out(book, matching.place(book, new, time))
    return book.markets[new.symbol].orders[-1]


def totals(book: Book) -> dict[str, Decimal]:
    """Every asset over all purses: accounts, the synthetic market, the venue's fees."""
    found: dict[str, Decimal] = {}
    with localcontext(settlement.EXACT):
        for account in book.accounts.values():
            for asset, balance in account.balances.items():
                found[asset] = found.get(asset, ZERO) + balance.free + balance.locked
        for purse in (book.outside, book.fees):
            for asset, amount in purse.items():
                found[asset] = found.get(asset, ZERO) + amount
    return found


def check_book(book: Book) -> None:
    """What no sequence of orders, cancels and quotes may break."""
    assert totals(book) == {asset: 2 * amount for asset, amount in MONEY.items()}
    locked: dict[tuple[str, str], Decimal] = {}
    with localcontext(settlement.EXACT):
        for market in book.markets.values():
            resting = {id(o) for _, _, o in market.resting_bids + market.resting_asks}
            for made in market.orders:
                check_order(made)
                assert (id(made) in resting) == made.is_open
                if made.is_open:
                    buys = made.made.side == "BUY"
                    asset = market.symbol.quote if buys else market.symbol.base
                    bound = made.remaining * (made.made.price if buys else 1)
                    key = (made.made.account, asset)
                    locked[key] = locked.get(key, ZERO) + bound
            if market.resting_bids and market.resting_asks:
                best_bid = market.resting_bids[0][2].made.price
                assert best_bid < market.resting_asks[0][2].made.price, "the book is crossed"
    for name, account in book.accounts.items():
        for asset, balance in account.balances.items():
            assert balance.free >= 0
            assert balance.locked == locked.get((name, asset), ZERO)


def check_order(made: Order) -> None:
    assert ZERO <= made.executed <= made.made.quantity
    mine = [t for t in made.trades for leg, _, _ in t.legs()
            if (leg.account, leg.order_id) == (made.made.account, made.made.order_id)]  # fmt: skip
    assert sum((t.quantity for t in mine), ZERO) == made.executed
    assert sum((t.quote for t in mine), ZERO) == made.quote_executed
    if made.status == "FILLED":
        assert made.executed == made.made.quantity
    if made.made.price:
        for t in mine:
            fair = t.price <= made.made.price if made.made.side == "BUY" else (
                t.price >= made.made.price
            )  # fmt: skip
            assert fair, "traded through its limit"
