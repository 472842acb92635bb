"""Any orders, cancels and quotes: nothing is lost, nothing filled twice, all is repeatable."""

from dataclasses import dataclass
from decimal import Decimal

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from orderonce_paper import matching
from orderonce_paper.matching import Refused
from orderonce_paper.model import Book, Event, NewOrder
from orderonce_paper.recovery import event_from

from tests.unit.paper.books import ALICE, BOB, carry_out, check_book, fresh_book, order

D = Decimal


@dataclass(frozen=True)
class Cancel:
    nth: int


@dataclass(frozen=True)
class Quote:
    symbol: str
    bid: Decimal
    ask: Decimal


Step = NewOrder | Cancel | Quote

TICKS = {"BTCUSDT": (D("0.5"), 120000), "XRPBTC": (D("0.00000001"), 1000),
         "WEIUSDT": (D("0.01"), 100)}  # fmt: skip
QUANTITIES = {
    "BTCUSDT": st.integers(1, 2_000_000).map(lambda n: D(n).scaleb(-5)),
    "XRPBTC": st.integers(1, 5_000_000 * 10**8).map(lambda n: D(n).scaleb(-8)),
    "WEIUSDT": st.integers(1, 10**24).map(lambda n: D(n).scaleb(-18)),
}


@st.composite
def orders(draw: st.DrawFn, symbol: str) -> NewOrder:
    tick, middle = TICKS[symbol]
    kind = draw(st.sampled_from(["MARKET", "LIMIT", "LIMIT", "LIMIT_MAKER"]))
    tif = draw(st.sampled_from(["GTC", "GTC", "IOC", "FOK"])) if kind == "LIMIT" else "GTC"
    price = None
    if kind != "MARKET":
        price = str((middle + draw(st.integers(-12, 12))) * tick)
    by_quote = kind == "MARKET" and draw(st.booleans())
    quantity = draw(QUANTITIES[symbol])
    return order(
        draw(st.sampled_from(["BUY", "SELL"])),
        "0" if by_quote else str(quantity),
        price,
        account=draw(st.sampled_from([ALICE, BOB])),
        symbol=symbol,
        kind=kind,
        tif=tif,
        client_id=draw(st.sampled_from("abcdefghijkl")),
        quote=str(draw(st.integers(1, 10**7)) * D("0.01")) if by_quote else "0",
    )


@st.composite
def quotes(draw: st.DrawFn, symbol: str) -> Quote:
    tick, middle = TICKS[symbol]
    bid = middle + draw(st.integers(-15, 15))
    return Quote(symbol, bid * tick, (bid + draw(st.integers(1, 6))) * tick)


@st.composite
def scenes(draw: st.DrawFn) -> list[Step]:
    """Steps on one market that begins with a wide spread, where accounts meet each other."""
    symbol = draw(st.sampled_from(sorted(TICKS)))
    tick, middle = TICKS[symbol]
    wide = Quote(symbol, (middle - 8) * tick, (middle + 8) * tick)
    placed = orders(symbol)
    step = placed | placed | placed | st.integers(0, 30).map(Cancel) | quotes(symbol)
    return [wide, *draw(st.lists(step, min_size=draw(st.integers(1, 25)), max_size=40))]


STEPS = scenes()


def take(book: Book, step: Step, time: int) -> list[Event]:
    match step:
        case NewOrder():
            return matching.place(book, step, time)
        case Quote():
            return matching.quote(book, step.symbol, step.bid, step.ask, time)
        case Cancel():
            everything = [o for market in book.markets.values() for o in market.orders]
            if not everything:
                return []
            return matching.cancel(everything[step.nth % len(everything)], time)


def run(book: Book, steps: list[Step]) -> list[Event]:
    happened: list[Event] = []
    for time, step in enumerate(steps, start=1):
        try:
            events = take(book, step, time)
        except Refused:
            continue
        carry_out(book, events)
        happened.extend(events)
    return happened


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_money_is_conserved_and_orders_are_never_overfilled(steps: list[Step]) -> None:
    book = fresh_book()
    for time, step in enumerate(steps, start=1):
        try:
            events = take(book, step, time)
        except Refused:
            events = []
        carry_out(book, events)
        check_book(book)


@given(STEPS, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_the_same_seed_and_steps_make_the_same_book(steps: list[Step], seed: int) -> None:
    one, other = fresh_book(seed), fresh_book(seed)
    assert run(one, steps) == run(other, steps)
    assert one == other


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_the_journals_form_of_the_events_makes_the_same_book(steps: list[Step]) -> None:
    lived, replayed = fresh_book(), fresh_book()
    stored = orjson.dumps(run(lived, steps), default=str)
    carry_out(replayed, [event_from(event) for event in orjson.loads(stored)])
    assert lived == replayed


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_seeds_decide_the_depth(one: int, other: int) -> None:
    same = fresh_book(one) == fresh_book(other)
    assert same == (one == other)
