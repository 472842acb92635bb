"""The core is total and lawful over all states and words: hypothesis looks for a story that breaks
it."""

from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from orderonce_executor.core import (
    Bar,
    Barred,
    CancelAsked,
    CancelAtVenue,
    Heard,
    ProvenAbsent,
    Replied,
    Seen,
    SenderLost,
    WatchEnded,
    decide,
)
from orderonce_executor.placement import Placement
from orderonce_shared.domain.lifecycle import FINAL, TRANSITIONS, State
from orderonce_shared.domain.venue import (
    Acknowledged,
    DuplicateId,
    Refused,
    RefusedUnprocessed,
    Silence,
    Unsent,
    VenueOrder,
    VenueStatus,
)

from tests.unit.executor.builders import NOW, placement, venue_order

QUANTITIES = st.sampled_from(["0", "0.25", "0.5", "1"])


@st.composite
def orders(draw: st.DrawFn) -> VenueOrder:
    status = draw(st.sampled_from(list(VenueStatus)))
    filled = "1" if status is VenueStatus.FILLED else draw(QUANTITIES)
    return venue_order(status, filled)


VERDICTS = st.one_of(
    orders().map(Acknowledged),
    st.just(Refused("-2010", "no", {})),
    st.builds(
        RefusedUnprocessed,
        st.just("-1021"),
        st.just("late"),
        st.just({}),
        st.integers(0, 5_000),
        st.booleans(),
    ),
    st.just(Unsent("x")),
    st.just(DuplicateId("x", {})),
    st.just(Silence("x", {})),
)
WORDS: st.SearchStrategy[Heard] = st.one_of(
    st.sampled_from(list(Bar)).map(Barred),
    st.builds(Replied, st.integers(1, 3), VERDICTS, st.booleans()),
    st.builds(Seen, orders(), st.booleans()),
    st.integers(1, 3).map(ProvenAbsent),
    st.just(SenderLost("gone")),
    st.just(CancelAsked()),
    st.just(WatchEnded()),
)


@st.composite
def rows(draw: st.DrawFn) -> Placement:
    state = draw(st.sampled_from(list(State)))
    filled = Decimal(1) if state is State.FILLED else Decimal(draw(QUANTITIES))
    return placement(
        state,
        attempt=draw(st.integers(1, 3)),
        cancel_requested=draw(st.booleans()),
        filled_quantity=filled,
        filled_cost=filled * 50_000,
        refusals=draw(st.integers(0, 25)),
        settled=state in FINAL and draw(st.booleans()),
    )


@given(rows(), WORDS)
def test_total_lawful_and_monotone(row: Placement, heard: Heard) -> None:
    after, _ = decide(row, heard, NOW)
    assert (row.state, after.state) in TRANSITIONS or row.state is after.state
    assert after.filled_quantity >= row.filled_quantity
    assert after.attempt == row.attempt
    assert after.version == row.version  # versions belong to the database
    if row.state in (State.FILLED, State.REJECTED):
        assert after.state is row.state
    if row.state is State.CANCELED:
        assert after.state in (State.CANCELED, State.FILLED)


@given(rows(), WORDS)
def test_a_word_twice_is_a_word_once(row: Placement, heard: Heard) -> None:
    once, _ = decide(row, heard, NOW)
    twice, _ = decide(once, heard, NOW)
    if isinstance(heard, Replied) and once.state is State.CLAIMED:
        assert twice is once  # not in SENDING any more: the refusal is not counted twice
    assert (twice.state, twice.filled_quantity) == (once.state, once.filled_quantity)


@given(rows(), st.integers(1, 3), VERDICTS)
def test_only_the_venues_ok_speaks_across_attempts(row: Placement, attempt: int, verdict) -> None:  # type: ignore[no-untyped-def]
    if attempt != row.attempt and not isinstance(verdict, Acknowledged):
        assert decide(row, Replied(attempt, verdict), NOW) == (row, ())


@given(rows(), WORDS)
def test_nothing_goes_back_in_the_line_without_proof(row: Placement, heard: Heard) -> None:
    after, _ = decide(row, heard, NOW)
    if row.state is not State.CLAIMED and after.state is State.CLAIMED:
        assert isinstance(heard, Replied)
        assert isinstance(heard.verdict, RefusedUnprocessed | Unsent)
        assert heard.attempt == row.attempt
        assert not row.cancel_requested


@given(st.lists(st.tuples(WORDS, st.integers(0, 60)), max_size=12))
def test_whole_stories_keep_every_promise(words: list[tuple[Heard, int]]) -> None:
    """From SENDING on: the fill never falls, venue's finals absorb, an accepted cancel never leaves
    an order live without being asked for again."""
    row, now = placement(State.SENDING), NOW
    for heard, seconds in words:
        now += timedelta(seconds=seconds)
        after, todo = decide(row, heard, now)
        assert after.filled_quantity >= row.filled_quantity
        if isinstance(heard, Seen | Replied) and after.cancel_requested:
            live = getattr(getattr(heard, "order", None), "status", None) is VenueStatus.OPEN
            if live and after.state is State.OPEN:
                assert CancelAtVenue() in todo
        row = after
