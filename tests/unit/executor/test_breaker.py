"""R12: what opens an account's breaker, what may leave while it is open, and what closes it."""

from typing import cast
from uuid import UUID

import pytest
from orderonce_executor.breaker import AT_ONCE, NEVER, Breaker, Cause
from orderonce_executor.budget import Budget, BudgetLimits
from orderonce_executor.lanes import Lane, Lanes
from orderonce_executor.placement import Placement
from orderonce_executor.ports import Venue
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.venue import (
    Acknowledged,
    DuplicateId,
    PlaceVerdict,
    Refused,
    RefusedUnprocessed,
    Silence,
    Unsent,
)

from tests.unit.executor.builders import breaker, placement, venue_order

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)
SILENCE = Silence("no answer", {})
REFUSED = Refused("-2010", "no funds", {})
BUSY = RefusedUnprocessed("-1003", "too many requests", {}, 1_000)
UNREACHABLE = Unsent("connection refused", unreachable=True)
OURS = Unsent("half of the window has passed")
ANSWERS = (Acknowledged(venue_order()), REFUSED, DuplicateId("yours", {}))


def opened(at: float = 0.0) -> Breaker:
    """Opened by three silences; the next probe may leave five seconds later."""
    made = breaker(failures=3, pause_s=5)
    turns = [made.heard(UUID(int=n), SILENCE, at) for n in (91, 92, 93)]
    assert [turn is None for turn in turns] == [True, True, False]
    assert made.is_open
    return made


def test_a_closed_one_lets_all_leave() -> None:
    made = breaker()
    assert made.ready(0.0, 64) == 64
    assert made.next_at() == AT_ONCE


@pytest.mark.parametrize("failure", [SILENCE, UNREACHABLE], ids=["silence", "unreachable"])
def test_failures_in_a_row_open_it(failure: PlaceVerdict) -> None:
    made = breaker(failures=3, pause_s=5)
    assert made.heard(A, failure, 1.0) is None
    assert made.heard(B, failure, 1.0) is None
    turn = made.heard(C, failure, 1.0)
    assert turn is not None
    assert (turn.event, turn.why, turn.failures) == ("breaker-opened", "failures", 3)
    assert made.ready(5.9, 64) == 0
    assert made.next_at() == 6.0


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda one: type(one).__name__)
def test_an_answer_ends_the_row_whatever_it_says(answer: PlaceVerdict) -> None:
    made = breaker(failures=3)
    for _ in range(5):
        assert made.heard(A, SILENCE, 0.0) is None
        assert made.heard(A, SILENCE, 0.0) is None
        assert made.heard(A, answer, 0.0) is None


@pytest.mark.parametrize("word", [BUSY, OURS], ids=["asked for rest", "our own reason"])
def test_what_says_nothing_about_the_venue_neither_counts_nor_ends_the_row(
    word: PlaceVerdict,
) -> None:
    """Guard: an order that cannot be sent must not pause its neighbours; the budget has 429."""
    made = breaker(failures=2)
    assert [made.heard(A, word, 0.0) for _ in range(9)] == [None] * 9
    made.heard(A, SILENCE, 0.0)
    made.heard(A, word, 0.0)
    assert made.heard(A, SILENCE, 0.0) is not None


def test_one_probe_leaves_after_the_pause_and_no_second_one() -> None:
    made = opened()
    assert made.ready(4.9, 64) == 0
    assert made.ready(5.0, 64) == 1
    made.take(A)
    assert made.ready(99.0, 64) == 0
    assert made.next_at() == NEVER


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda one: type(one).__name__)
def test_the_answer_to_the_probe_closes(answer: PlaceVerdict) -> None:
    made = opened()
    made.take(A)
    turn = made.heard(A, answer, 6.0)
    assert turn is not None
    assert (turn.event, turn.why) == ("breaker-closed", "probe")
    assert made.ready(6.0, 64) == 64
    assert made.heard(B, SILENCE, 6.0) is None, "a new row begins"


def test_a_silent_probe_begins_another_pause_and_no_line_of_the_log() -> None:
    made = opened()
    made.take(A)
    assert made.heard(A, SILENCE, 7.0) is None
    assert made.ready(11.9, 64) == 0
    assert made.ready(12.0, 64) == 1
    assert made.openings[Cause.FAILURES] == 1


def test_those_that_left_before_do_not_speak_for_the_probe() -> None:
    """Guard: sixty silences of one outage are one opening, and do not put the probe off."""
    made = opened()
    assert made.heard(B, SILENCE, 4.0) is None
    assert made.heard(C, REFUSED, 4.0) is None
    assert made.ready(5.0, 64) == 1
    made.take(A)
    assert made.heard(B, REFUSED, 6.0) is None
    assert made.is_open


@pytest.mark.parametrize("word", [None, BUSY, OURS], ids=["never left", "busy", "our own"])
def test_a_probe_without_a_word_gives_its_place_back(word: PlaceVerdict | None) -> None:
    """Guard: a probe that was canceled, lapsed or put off must not keep the account waiting."""
    made = opened()
    made.take(A)
    if word is not None:
        assert made.heard(A, word, 6.0) is None
    made.give_back(A)
    assert made.is_open
    assert made.ready(6.0, 64) == 1


def test_the_end_of_another_does_not_free_the_probes_place() -> None:
    made = opened()
    made.take(A)
    made.give_back(B)
    assert made.ready(9.0, 64) == 0


def test_many_unknown_orders_open_it() -> None:
    made = breaker(unknowns=10, pause_s=5)
    assert made.counted(9, 0.0) is None
    turn = made.counted(10, 1.0)
    assert turn is not None
    assert (turn.event, turn.why, turn.unknowns) == ("breaker-opened", "unknowns", 10)
    assert made.openings == {Cause.FAILURES: 0, Cause.UNKNOWNS: 1}
    assert made.next_at() == 6.0


def test_unknown_orders_from_before_an_answer_count_no_more_and_new_ones_do() -> None:
    """Guard: proof of absence takes minutes; an account whose venue answers trades meanwhile."""
    made = breaker(unknowns=10)
    made.counted(30, 0.0)
    made.take(A)
    made.heard(A, REFUSED, 6.0)
    assert [made.counted(n, 7.0) for n in (30, 39, 25, 34)] == [None] * 4
    assert made.counted(35, 8.0) is not None, "ten more than the fewest since"


# with the lanes around it


def lanes(now: list[float], made: Breaker, rows: int = 4) -> Lanes:
    budget = Budget(BudgetLimits(requests_per_s=1_000, burst=100, reserve=0, in_flight=64))
    lane = Lane("paper-1", "paper", cast(Venue, None), budget, made, clock_trusted=True)
    all_lanes = Lanes(lambda: now[0], {"paper-1": lane})
    all_lanes.add(row(n) for n in range(1, rows + 1))
    return all_lanes


def row(n: int) -> Placement:
    return placement(State.CLAIMED)._replace(order_id=UUID(int=n))


def test_a_lane_that_rests_gives_out_one_probe_at_a_time() -> None:
    now = [4.0]
    held = lanes(now, opened())
    assert held.take(64) == []
    assert held.next_take_in() == pytest.approx(1.0)
    now[0] = 5.0
    (probe,) = held.take(64)
    assert held.take(64) == []
    assert held.next_take_in() == NEVER
    held.give_back(probe, unused=True)  # its CAS said that it lapsed
    (second,) = held.take(64)
    assert second.order_id != probe.order_id


def test_another_account_does_not_rest() -> None:
    held = lanes([0.0], opened())
    budget = Budget(BudgetLimits(10, 10, 0, 5))
    other = Lane("paper-2", "paper", cast(Venue, None), budget, breaker(), clock_trusted=True)
    held.served["paper-2"] = other
    held.add([row(50)._replace(account="paper-2")])
    assert held.going_to_cas() == [UUID(int=50)]
    assert [p.account for p in held.take(64)] == ["paper-2"]


def test_what_lapsed_while_it_waited_leaves_the_lane_and_makes_room() -> None:
    now = [5.0]
    held = lanes(now, opened(), rows=3)
    before = held.room()
    held.drop([row(1), row(2)])
    assert held.room() == before + 2
    assert [p.order_id for p in held.take(64)] == [C]
