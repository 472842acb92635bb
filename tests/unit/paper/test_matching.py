"""The engine's rules one by one, told as orders and what became of them."""

from decimal import Decimal, localcontext

import pytest
from orderonce_paper import matching
from orderonce_paper.matching import Refused
from orderonce_paper.settlement import EXACT

from tests.unit.paper.books import ALICE, BOB, carry_out, check_book, fresh_book, order, place

D = Decimal
ZERO = D(0)


def test_a_market_buy_pays_the_ask_and_its_fee_in_base() -> None:
    book = fresh_book()
    made = place(book, order("BUY", "0.01"))
    assert (made.status, made.executed, made.quote_executed) == ("FILLED", D("0.01"), D("600.01"))
    alice = book.accounts[ALICE].balances
    assert alice["BTC"].free == D("50") + D("0.01") - D("0.00001")
    assert alice["USDT"].free == D("5000000") - D("600.01")
    check_book(book)


def test_a_sell_pays_its_fee_in_quote() -> None:
    book = fresh_book()
    made = place(book, order("SELL", "0.01", "59000"))
    (trade,) = made.trades
    assert trade.price == D("60000"), "the better price of the book, not the limit"
    assert trade.taker is not None
    assert (trade.taker.commission, trade.taker.commission_asset) == (D("0.6"), "USDT")
    check_book(book)


def test_a_large_order_walks_the_levels() -> None:
    book = fresh_book()
    sizes = book.markets["BTCUSDT"].ask_sizes
    made = place(book, order("BUY", str(sizes[0] + sizes[1] + D("0.1"))))
    assert [t.price for t in made.trades] == [D("60001"), D("60002"), D("60003")]
    assert [t.quantity for t in made.trades] == [sizes[0], sizes[1], D("0.1")]
    assert [t.trade_id for t in made.trades] == [1, 2, 3]
    check_book(book)


def test_the_synthetic_maker_quotes_again_after_every_order() -> None:
    book = fresh_book()
    first, second = (place(book, order("BUY", "0.5", client_id=c)) for c in "ab")
    assert [t.price for t in first.trades] == [t.price for t in second.trades]


def test_a_market_order_beyond_the_book_expires_with_what_it_got() -> None:
    book = fresh_book()
    book.accounts[ALICE].balances["USDT"].free = D("1000000000")
    book.outside["USDT"] = -D("1000000000") + D("5000000")
    made = place(book, order("BUY", "8000"))
    assert made.status == "EXPIRED"
    assert made.executed == sum(book.markets["BTCUSDT"].ask_sizes)
    check_book(book)


def test_ioc_expires_its_rest_and_fok_takes_all_or_nothing() -> None:
    book = fresh_book()
    sizes = book.markets["BTCUSDT"].ask_sizes
    more = str(sizes[0] + D("0.1"))
    ioc = place(book, order("BUY", more, "60001", tif="IOC", client_id="i"))
    assert (ioc.status, ioc.executed) == ("EXPIRED", sizes[0])
    fok = place(book, order("BUY", more, "60001", tif="FOK", client_id="f"))
    assert (fok.status, fok.executed, fok.trades) == ("EXPIRED", ZERO, [])
    whole = place(book, order("BUY", more, "60002", tif="FOK", client_id="g"))
    assert whole.status == "FILLED"
    check_book(book)


def test_a_gtc_rest_locks_money_and_cancel_gives_it_back() -> None:
    book = fresh_book()
    sizes = book.markets["BTCUSDT"].ask_sizes
    made = place(book, order("BUY", str(sizes[0] + 1), "60001"))
    assert (made.status, made.remaining) == ("PARTIALLY_FILLED", D(1))
    assert book.accounts[ALICE].balances["USDT"].locked == D("60001")
    check_book(book)
    carry_out(book, matching.cancel(made, 2))
    assert made.status == "CANCELED"
    assert book.accounts[ALICE].balances["USDT"].locked == 0
    check_book(book)
    with pytest.raises(Refused, match="Unknown order sent"):
        matching.cancel(made, 3)


def test_eaten_levels_stay_eaten_until_the_next_quote() -> None:
    book = fresh_book()
    sizes = book.markets["BTCUSDT"].ask_sizes
    place(book, order("BUY", str(sizes[0] + 1), "60001"))
    other = place(book, order("BUY", "0.1", account=BOB))
    assert [t.price for t in other.trades] == [D("60002")]
    carry_out(book, matching.quote(book, "BTCUSDT", D("60000"), D("60001"), 2))
    third = place(book, order("BUY", "0.1", account=BOB, client_id="d"))
    assert [t.price for t in third.trades] == [D("60001")]


def test_a_quote_fills_what_it_crosses_as_maker_at_the_orders_price() -> None:
    book = fresh_book()
    near = place(book, order("BUY", "0.1", "59900", client_id="near"))
    far = place(book, order("BUY", "0.1", "59000", client_id="far"))
    carry_out(book, matching.quote(book, "BTCUSDT", D("59500"), D("59600"), 5))
    assert (near.status, far.status) == ("FILLED", "NEW")
    (trade,) = near.trades
    assert trade.price == D("59900")
    assert trade.taker is None
    assert trade.maker is not None
    assert trade.maker.commission == D("0.1") * D("0.0008")
    check_book(book)


def test_a_quote_fills_a_large_resting_order_in_part() -> None:
    book = fresh_book()
    sizes = book.markets["BTCUSDT"].bid_sizes
    large = place(book, order("SELL", str(sizes[0] + 1), "60500"))
    carry_out(book, matching.quote(book, "BTCUSDT", D("60500"), D("60501"), 5))
    assert (large.status, large.executed) == ("PARTIALLY_FILLED", sizes[0])
    check_book(book)


def test_accounts_trade_with_each_other_inside_the_spread() -> None:
    book = fresh_book()
    maker = place(book, order("SELL", "0.2", "60000.50", account=BOB))
    taker = place(book, order("BUY", "0.3"))
    assert [t.price for t in taker.trades] == [D("60000.50"), D("60001")]
    assert (maker.status, taker.status) == ("FILLED", "FILLED")
    assert maker.trades[0] is taker.trades[0]
    check_book(book)


def test_price_then_time_decides_who_is_first() -> None:
    book = fresh_book()
    early = place(book, order("SELL", "0.1", "60000.50", account=BOB, client_id="1"))
    late = place(book, order("SELL", "0.1", "60000.50", account=BOB, client_id="2"))
    better = place(book, order("SELL", "0.1", "60000.40", account=BOB, client_id="3"))
    place(book, order("BUY", "0.15"))
    assert [o.executed for o in (better, early, late)] == [D("0.1"), D("0.05"), D("0")]


def test_a_trade_with_oneself_has_one_id_and_two_legs() -> None:
    book = fresh_book()
    maker = place(book, order("SELL", "0.1", "60000.50", client_id="a"))
    taker = place(book, order("BUY", "0.1", "60000.50", client_id="b"))
    assert maker.trades == taker.trades
    assert len(book.accounts[ALICE].trades["BTCUSDT"]) == 1
    assert len(maker.trades[0].legs()) == 2
    check_book(book)


def test_post_only_never_takes() -> None:
    book = fresh_book()
    with pytest.raises(Refused, match="immediately match and take"):
        matching.place(book, order("BUY", "0.1", "60001", kind="LIMIT_MAKER"), 1)
    made = place(book, order("BUY", "0.1", "60000.99", kind="LIMIT_MAKER"))
    assert made.status == "NEW"


def test_a_client_id_is_free_again_when_its_order_is_closed() -> None:
    book = fresh_book()
    first = place(book, order("BUY", "0.1", "50000", client_id="same"))
    with pytest.raises(Refused, match="Duplicate order sent"):
        matching.place(book, order("BUY", "0.1", "50000", client_id="same"), 2)
    other_market = order("BUY", "1", "2000", symbol="ETHUSDT", client_id="same")
    assert place(book, other_market).status == "NEW"
    other_account = order("BUY", "0.1", "50000", client_id="same", account=BOB)
    assert place(book, other_account).status == "NEW"
    carry_out(book, matching.cancel(first, 3))
    again = place(book, order("BUY", "0.1", client_id="same"))
    assert again.status == "FILLED"
    assert place(book, order("BUY", "0.1", client_id="same")).made.order_id == 4


def test_a_quote_amount_is_spent_down_to_the_step() -> None:
    book = fresh_book()
    made = place(book, order("BUY", "0", quote="100"))
    assert made.made.quantity == made.executed == D("0.00166")
    assert made.quote_executed == D("0.00166") * D("60001")
    assert made.status == "FILLED"
    check_book(book)


def test_a_quote_amount_beyond_all_levels_ends_expired() -> None:
    for wanted, status in (("4000000", "FILLED"), ("4999999", "EXPIRED")):
        book = fresh_book()
        offered = sum(price * size for price, size in book.markets["SOLUSDT"].asks)
        assert (D(wanted) > offered) == (status == "EXPIRED")
        made = place(book, order("BUY", "0", quote=wanted, symbol="SOLUSDT"))
        assert made.status == status
        assert made.quote_executed <= min(D(wanted), offered)
        check_book(book)


def test_what_is_not_there_cannot_be_spent_or_locked() -> None:
    book = fresh_book()
    insufficient = "insufficient balance"
    with pytest.raises(Refused, match=insufficient):
        matching.place(book, order("BUY", "100", "50001"), 1)
    with pytest.raises(Refused, match=insufficient):
        matching.place(book, order("SELL", "50.00001"), 1)
    place(book, order("SELL", "50", "70000", client_id="all"))
    with pytest.raises(Refused, match=insufficient):
        matching.place(book, order("SELL", "0.00001", "70000"), 1)
    check_book(book)


def test_eighteen_digits_travel_exactly() -> None:
    book = fresh_book()
    quantity = D("1.234567890123456789")
    made = place(book, order("BUY", str(quantity), symbol="WEIUSDT"))
    (trade,) = made.trades
    assert trade.quote == D("1.24691356902469135689")
    assert trade.taker is not None
    assert trade.taker.commission == D("0.001234567890123456789")
    got = book.accounts[ALICE].balances["WEI"].free
    with localcontext(EXACT):
        assert got == D("100000") + quantity - D("0.001234567890123456789")
    check_book(book)


def test_a_commission_is_cut_to_eight_digits_where_the_market_says_so() -> None:
    book = fresh_book()
    made = place(book, order("BUY", "1.23456789", symbol="XRPBTC"))
    (trade,) = made.trades
    assert trade.taker is not None
    assert trade.taker.commission == D("0.00123456")
    check_book(book)


def test_a_bust_gives_the_money_back_once() -> None:
    book = fresh_book()
    place(book, order("BUY", "0.1"))
    carry_out(book, matching.bust(book, "BTCUSDT", 1, 2))
    assert book.accounts[ALICE].balances["BTC"].free == D("50")
    assert book.accounts[ALICE].balances["USDT"].free == D("5000000")
    assert book.accounts[ALICE].trades["BTCUSDT"] == []
    check_book(book)
    for trade_id in (1, 2, 0):
        with pytest.raises(Refused, match="No such trade"):
            matching.bust(book, "BTCUSDT", trade_id, 3)


def test_spent_money_cannot_be_busted() -> None:
    book = fresh_book()
    place(book, order("BUY", "0.1"))
    place(book, order("SELL", "50.09", client_id="out"))
    with pytest.raises(Refused, match="has been spent"):
        matching.bust(book, "BTCUSDT", 1, 2)
