"""Each rule of the executor's core by itself. What it may do at all is in the property tests."""

from datetime import timedelta
from decimal import Decimal

import pytest
from orderonce_executor.core import (
    MAX_REFUSALS,
    Bar,
    Barred,
    CancelAsked,
    CancelAtVenue,
    Incident,
    LookUp,
    ProvenAbsent,
    Replied,
    Seen,
    SendAgain,
    SenderLost,
    WatchEnded,
    decide,
    look_up_pause_s,
    with_fees,
)
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.venue import (
    Acknowledged,
    DuplicateId,
    Fee,
    Refused,
    RefusedUnprocessed,
    Silence,
    Unsent,
    VenueStatus,
)

from tests.unit.executor.builders import NOW, placement, venue_order

BUSY = RefusedUnprocessed("-1008", "busy", {}, pause_ms=1_000)
NO = Refused("-2010", "no money", {})


def test_an_ok_opens() -> None:
    row, todo = decide(placement(State.SENDING), Replied(1, Acknowledged(venue_order())), NOW)
    assert (row.state, row.venue_order_id, todo) == (State.OPEN, "17", ())


def test_an_ok_is_never_thrown_away_whatever_attempt_it_answers() -> None:
    before = placement(State.SENDING, attempt=2)
    row, _ = decide(before, Replied(1, Acknowledged(venue_order())), NOW)
    assert row.state is State.OPEN


@pytest.mark.parametrize("verdict", [NO, BUSY, Unsent("x"), Silence("x", {}), DuplicateId("x", {})])
def test_a_word_on_attempt_1_never_touches_attempt_2(verdict: Refused) -> None:
    before = placement(State.SENDING, attempt=2)
    assert decide(before, Replied(1, verdict), NOW) == (before, ())


def test_a_refusal_rejects() -> None:
    row, _ = decide(placement(State.SENDING), Replied(1, NO), NOW)
    assert (row.state, row.reason_code, row.settled) == (State.REJECTED, "venue-rejected", True)
    assert "-2010" in (row.reason_detail or "")


def test_a_refusal_before_processing_goes_back_in_the_line_and_rests_the_lane() -> None:
    row, todo = decide(placement(State.SENDING), Replied(1, BUSY), NOW)
    assert (row.state, row.refusals, row.attempt) == (State.CLAIMED, 1, 1)
    assert row.next_at == NOW + timedelta(seconds=1)
    assert todo == (SendAgain(1.0, False),)


def test_a_refused_stamp_asks_for_the_clock() -> None:
    off = RefusedUnprocessed("-1021", "outside", {}, pause_ms=0, clock_is_off=True)
    row, todo = decide(placement(State.UNKNOWN), Replied(1, off), NOW)
    assert row.state is State.CLAIMED
    assert row.reason_code is None
    assert todo == (SendAgain(0.0, True),)


def test_refusals_end_by_count_at_the_next_cas() -> None:
    before = placement(State.CLAIMED, refusals=MAX_REFUSALS, last_refusal="busy (-1008)")
    row, _ = decide(before, Barred(Bar.EXHAUSTED), NOW)
    assert (row.state, row.reason_code) == (State.LAPSED, "attempts-exhausted")
    assert row.reason_detail == "busy (-1008)"


def test_back_off_grows_and_is_bounded() -> None:
    pauses = [
        (
            decide(placement(State.SENDING, refusals=n), Replied(1, Unsent("x")), NOW)[0].next_at
            - NOW
        )
        for n in range(MAX_REFUSALS)
    ]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= timedelta(seconds=2)


def test_a_canceled_order_that_proved_unsent_ends_canceled() -> None:
    row, todo = decide(placement(State.SENDING, cancel_requested=True), Replied(1, BUSY), NOW)
    assert (row.state, todo) == (State.CANCELED, ())


@pytest.mark.parametrize("verdict", [Silence("cut", {}), DuplicateId("in use", {})])
def test_silence_and_duplicates_are_looked_up(verdict: Silence) -> None:
    row, todo = decide(placement(State.SENDING), Replied(1, verdict), NOW)
    assert (row.state, row.reason_code) == (State.UNKNOWN, "no-word-from-venue")
    assert todo == (LookUp(),)


def test_an_unknown_order_with_the_mark_is_cancelled_too() -> None:
    _, todo = decide(placement(State.SENDING, cancel_requested=True), SenderLost("gone"), NOW)
    assert todo == (LookUp(), CancelAtVenue())


def test_a_lost_sender_makes_unknown_and_nothing_else() -> None:
    for state in set(State) - {State.SENDING}:
        before = placement(state)
        assert decide(before, SenderLost("gone"), NOW) == (before, ())


def test_proof_ends_unknown_only_and_only_its_own_attempt() -> None:
    row, _ = decide(placement(State.UNKNOWN), ProvenAbsent(1), NOW)
    assert (row.state, row.reason_code, row.settled) == (State.NOT_PLACED, "proven-absent", False)
    other = placement(State.UNKNOWN, attempt=2)
    assert decide(other, ProvenAbsent(1), NOW) == (other, ())
    sending = placement(State.SENDING)
    assert decide(sending, ProvenAbsent(1), NOW) == (sending, ())


def test_proof_with_the_mark_is_canceled() -> None:
    row, _ = decide(placement(State.UNKNOWN, cancel_requested=True), ProvenAbsent(1), NOW)
    assert row.state is State.CANCELED


def test_an_older_word_changes_nothing() -> None:
    filled = placement(State.FILLED)
    assert decide(filled, Replied(1, Acknowledged(venue_order())), NOW) == (filled, ())
    open_ = placement(State.OPEN, filled_quantity=Decimal("0.5"), filled_cost=Decimal(25_000))
    row, _ = decide(open_, Seen(venue_order(filled="0.2"), True), NOW)
    assert row is open_


def test_a_partial_fill_counts_up() -> None:
    row, _ = decide(placement(State.OPEN), Seen(venue_order(filled="0.4"), True), NOW)
    assert (row.state, row.filled_quantity) == (State.OPEN, Decimal("0.4"))


@pytest.mark.parametrize("status", [VenueStatus.FILLED, VenueStatus.CANCELED, VenueStatus.EXPIRED])
def test_an_end_waits_for_its_fills(status: VenueStatus) -> None:
    row, todo = decide(placement(State.SENDING), Seen(venue_order(status, "1"), False), NOW)
    assert (row.state, row.filled_quantity) == (State.OPEN, Decimal(1))
    assert LookUp() in todo
    row, _ = decide(row, Seen(venue_order(status, "1"), True), NOW)
    assert row.state in (State.FILLED, State.CANCELED)


def test_the_venues_own_expiry_has_its_reason() -> None:
    row, _ = decide(placement(State.OPEN), Seen(venue_order(VenueStatus.EXPIRED), True), NOW)
    assert (row.state, row.reason_code, row.settled) == (State.CANCELED, "venue-expired", False)


def test_who_canceled() -> None:
    order = venue_order(VenueStatus.CANCELED)
    asked, _ = decide(placement(State.OPEN, cancel_requested=True), Seen(order, True), NOW)
    unasked, _ = decide(placement(State.OPEN), Seen(order, True), NOW)
    assert (asked.reason_code, unasked.reason_code) == ("canceled-by-client", "canceled-at-venue")


def test_cancel_of_a_claimed_order_ends_it_unsent() -> None:
    row, todo = decide(placement(State.CLAIMED), CancelAsked(), NOW)
    assert (row.state, row.cancel_requested, todo) == (State.CANCELED, True, ())


@pytest.mark.parametrize("state", [State.SENDING, State.UNKNOWN, State.OPEN])
def test_cancel_of_what_may_be_live_leaves_its_mark_and_goes_to_the_venue(state: State) -> None:
    row, todo = decide(placement(state), CancelAsked(), NOW)
    assert (row.state, row.cancel_requested, todo) == (state, True, (CancelAtVenue(),))


def test_a_marked_order_that_is_found_live_is_cancelled_again() -> None:
    before = placement(State.UNKNOWN, cancel_requested=True)
    row, todo = decide(before, Seen(venue_order(), True), NOW)
    assert (row.state, CancelAtVenue() in todo) == (State.OPEN, True)
    again, todo = decide(row, Seen(venue_order(), True), NOW)
    assert again is row
    assert todo == (CancelAtVenue(),)


@pytest.mark.parametrize("state", [State.NOT_PLACED, State.LAPSED, State.DENIED])
def test_our_own_finals_yield_to_the_venue_as_an_incident(state: State) -> None:
    row, todo = decide(placement(state, attempt=1), Seen(venue_order(), True), NOW)
    assert row.state is State.OPEN
    assert not row.settled
    assert any(isinstance(action, Incident) for action in todo)


def test_a_canceled_order_that_is_live_after_all_is_cancelled() -> None:
    ours = placement(State.CANCELED, venue_order_id=None, cancel_requested=True, settled=True)
    row, todo = decide(ours, Seen(venue_order(), True), NOW)
    assert row.state is State.CANCELED
    assert CancelAtVenue() in todo
    assert any(isinstance(action, Incident) for action in todo)


def test_a_late_fill_corrects_an_ended_order() -> None:
    order = venue_order(VenueStatus.CANCELED, "0.3")
    row, todo = decide(placement(State.CANCELED), Seen(order, True), NOW)
    assert (row.state, row.filled_quantity) == (State.CANCELED, Decimal("0.3"))
    assert any(isinstance(action, Incident) for action in todo)
    row, todo = decide(row, Seen(venue_order(VenueStatus.FILLED, "1"), True), NOW)
    assert row.state is State.FILLED


def test_a_watch_settles_and_changes_nothing_else() -> None:
    row, _ = decide(placement(State.CANCELED), WatchEnded(), NOW)
    assert row.settled
    live = placement(State.OPEN)
    assert decide(live, WatchEnded(), NOW) == (live, ())


@pytest.mark.parametrize(
    ("bar", "state", "code"),
    [
        (Bar.CANCELED, State.CANCELED, "canceled-by-client"),
        (Bar.REVOKED, State.DENIED, "key-revoked"),
        (Bar.LAPSED, State.LAPSED, "deadline-passed"),
    ],
)
def test_bars_end_claimed_rows_only(bar: Bar, state: State, code: str) -> None:
    row, _ = decide(placement(State.CLAIMED), Barred(bar), NOW)
    assert (row.state, row.reason_code, row.attempt) == (state, code, 0)
    sent = placement(State.SENDING)
    assert decide(sent, Barred(bar), NOW) == (sent, ())


def test_fees_add_up_per_asset() -> None:
    row = with_fees(placement(State.OPEN), (Fee("BNB", Decimal("0.1")), Fee("USDT", Decimal(1))))
    row = with_fees(row, (Fee("BNB", Decimal("-0.04")),))
    assert row.fees == (Fee("BNB", Decimal("0.06")), Fee("USDT", Decimal(1)))


def test_pauses_between_look_ups_grow_from_1_to_30_s() -> None:
    assert [look_up_pause_s(age) for age in (0, 5, 50, 1_000)] == [1.0, 1.0, 5.0, 30.0]
