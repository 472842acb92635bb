"""Each filter of a market by the order that just passes and the one that just does not."""

from decimal import Decimal

import pytest
from orderonce_paper.filters import check_filters
from orderonce_paper.shapes import money
from orderonce_paper.wire import VenueError

from tests.unit.paper.books import ALICE, fresh_book, order, place

MAX_OPEN = 2


def verdict(side: str, quantity: str, price: str | None = None, **more: str) -> str:
    book = fresh_book()
    new = order(side, quantity, price, **more)
    try:
        check_filters(book.markets[new.symbol], book.accounts[ALICE], new, MAX_OPEN)
    except VenueError as refusal:
        return refusal.msg.removeprefix("Filter failure: ") if refusal.code == -1013 else "?"
    return "ok"


@pytest.mark.parametrize(
    ("quantity", "price", "expected"),
    [
        ("0.001", "60000.01", "ok"),
        ("0.001", "60000.011", "PRICE_FILTER"),
        ("0.001", "1000000.01", "PRICE_FILTER"),
        ("0", "60000", "Invalid quantity."),
        ("0.001", "0", "Invalid price."),
        ("0.000001", "60000", "LOT_SIZE"),
        ("0.001005", "60000", "LOT_SIZE"),
        ("9000.00001", "60000", "LOT_SIZE"),
        ("0.00008", "60000", "NOTIONAL"),
        ("0.00009", "60000", "ok"),
        ("9000", "60000", "NOTIONAL"),
        ("0.001", "300005", "ok"),
        ("0.001", "300005.01", "PERCENT_PRICE_BY_SIDE"),
        ("0.001", "12000.20", "ok"),
        ("0.001", "12000.19", "PERCENT_PRICE_BY_SIDE"),
    ],
)
def test_limit_orders(quantity: str, price: str, expected: str) -> None:
    assert verdict("BUY", quantity, price) == expected
    assert verdict("SELL", quantity, price) == expected


def test_market_orders() -> None:
    assert verdict("BUY", "0.001") == "ok"
    assert verdict("BUY", "0.00008") == "NOTIONAL"
    assert verdict("BUY", "0.001005") == "LOT_SIZE"
    assert verdict("BUY", "9001") == "MARKET_LOT_SIZE"
    assert verdict("BUY", "0", quote="4.99") == "NOTIONAL"
    assert verdict("BUY", "0", quote="5") == "ok"


def test_eighteen_digits_pass_their_market() -> None:
    smallest = "0.000000000000000001"
    assert verdict("BUY", "1.000000000000000001", "1.01", symbol="WEIUSDT") == "ok"
    assert verdict("BUY", smallest, "1.00", symbol="WEIUSDT") == "ok"
    assert verdict("BUY", smallest, "0.99", symbol="WEIUSDT") == "NOTIONAL"


def test_open_orders_are_counted_per_market() -> None:
    book = fresh_book()
    for client_id in "ab":
        place(book, order("BUY", "0.001", "50000", client_id=client_id))
    account = book.accounts[ALICE]
    third = order("BUY", "0.001", "50000", client_id="c")
    with pytest.raises(VenueError, match="MAX_NUM_ORDERS"):
        check_filters(book.markets["BTCUSDT"], account, third, MAX_OPEN)
    elsewhere = order("BUY", "1", "2000", symbol="ETHUSDT")
    check_filters(book.markets["ETHUSDT"], account, elsewhere, MAX_OPEN)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1", "1.00000000"),
        ("0", "0.00000000"),
        ("1E-8", "0.00000001"),
        ("1E+3", "1000.00000000"),
        ("0.1000000000", "0.10000000"),
        ("1.000000000000000001", "1.000000000000000001"),
        ("1.0000000010", "1.000000001"),
    ],
)
def test_money_is_plain_text_of_eight_digits_or_more(value: str, text: str) -> None:
    assert money(Decimal(value)) == text
