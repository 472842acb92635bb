"""What the hub tells, in which order, and that the disorder asked for is disorder every time."""

import random

from hypothesis import given
from hypothesis import strategies as st
from orderonce_paper import settlement, stream_shapes
from orderonce_paper.faults import Faults, Filled
from orderonce_paper.feed import Feed, Pushed, Subscription, out_of_order, user_topic
from orderonce_paper.matching import cancel, place
from orderonce_paper.model import Event
from orderonce_paper.reports import Notice

from tests.unit.paper.books import ALICE, BOB, fresh_book, order


@given(st.integers(min_value=2, max_value=8), st.integers())
def test_out_of_order_is_never_in_order_and_loses_nothing(count: int, seed: int) -> None:
    notices = [Notice("a", {"n": n}) for n in range(count)]
    mixed = out_of_order(notices, random.Random(seed))
    assert mixed != notices
    assert sorted(n.payload["n"] for n in mixed) == list(range(count))
    assert out_of_order(notices, random.Random(seed)) == mixed


def test_a_single_report_has_no_other_order() -> None:
    assert out_of_order([Notice("a", {})], random.Random(1)) == [Notice("a", {})]


def test_reports_show_the_order_as_each_change_left_it() -> None:
    book, feed, pushed = fresh_book(), Feed(Faults()), Pushed()

    def commit(events: list[Event]) -> None:
        for event in events:
            settlement.apply(book, event)
            feed.note(pushed, book, event, 5)

    commit(place(book, order("BUY", "1", "60000.5", client_id="m"), 1))
    commit(place(book, order("SELL", "0.4", "60000.5", client_id="t", account=BOB), 2))
    commit(cancel(book.markets["BTCUSDT"].orders[0], 3, "c"))
    told = [
        (n.account, n.payload["x"], n.payload["X"], n.payload["z"], n.payload["c"])
        for n in pushed.notices
        if n.order
    ]
    assert told == [
        (ALICE, "NEW", "NEW", "0.00000000", "m"),
        (BOB, "NEW", "NEW", "0.00000000", "t"),
        (BOB, "TRADE", "FILLED", "0.40000000", "t"),
        (ALICE, "TRADE", "PARTIALLY_FILLED", "0.40000000", "m"),
        (ALICE, "CANCELED", "CANCELED", "0.40000000", "c"),
    ]
    heard: list[bytes] = []
    feed.subscribe(Subscription(user_topic(BOB), heard.append, lambda: None))
    feed.publish(pushed)
    assert len(heard) == 4, "two reports and the balances behind them, and nothing of another's"


def test_a_subscription_that_ended_is_gone() -> None:
    feed, heard = Feed(Faults()), list[bytes]()
    one = Subscription("t", heard.append, lambda: None)
    feed.subscribe(one)
    feed.send("t", b"1")
    feed.unsubscribe(one)
    feed.unsubscribe(one)
    feed.send("t", b"2")
    assert (heard, feed.topics) == ([b"1"], {})


def test_a_fault_of_fills_is_asked_once_per_order_and_spent() -> None:
    faults = Faults()
    faults.arm({"name": "fill_twice", "match": {"symbol": "BTC*"}, "after": 1})
    filled = Filled("a", "BTCUSDT", "c", "BUY")
    assert [bool(faults.take_fill(filled)) for _ in range(3)] == [False, True, False]
    assert not faults.take_fill(Filled("a", "ETHUSDT", "c", "BUY"))


def test_a_candle_that_ended_is_told_once_more_as_ended() -> None:
    market, minute = fresh_book().markets["BTCUSDT"], 60_000
    assert stream_shapes.ended_candle(market, "kline_1m", 1, minute, minute + 999) is None
    ended = stream_shapes.ended_candle(market, "kline_1m", 1, 2 * minute - 1, 2 * minute)
    assert ended is not None
    assert (ended["k"]["t"], ended["k"]["x"]) == (minute, True)
    assert stream_shapes.ended_candle(market, "ticker", 1, 0, 10 * minute) is None
