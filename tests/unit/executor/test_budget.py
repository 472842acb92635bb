"""Creates leave the reserve to cancels and look-ups; a lane gives out only what may leave now."""

from typing import cast
from uuid import UUID

from orderonce_executor.budget import Budget, BudgetLimits
from orderonce_executor.lanes import Lane, Lanes
from orderonce_executor.ports import Venue
from orderonce_shared.domain.lifecycle import State

from tests.unit.executor.builders import breaker, placement

LIMITS = BudgetLimits(requests_per_s=10, burst=10, reserve=4, in_flight=5)


def test_creates_stop_at_the_reserve_and_questions_do_not() -> None:
    budget = Budget(LIMITS)
    assert budget.creates_ready(0.0) == 5  # connections
    for _ in range(5):
        budget.take_create()
        budget.give_back()
    assert budget.creates_ready(0.0) == 1  # tokens above the reserve
    budget.take_create()
    assert budget.creates_ready(0.0) == 0
    assert [budget.take_question(0.0) for _ in range(4)] == [0, 0, 0, 0]
    assert budget.take_question(0.0) > 0  # late rather than lost


def test_tokens_come_back_with_time_and_never_beyond_the_burst() -> None:
    budget = Budget(LIMITS)
    for _ in range(5):
        budget.take_create()
    assert budget.creates_ready(0.0) == 0
    for _ in range(5):
        budget.give_back(unused=True)
    assert budget.creates_ready(1_000.0) == 5
    assert budget.tokens == 10


def test_a_pause_stops_creates_only() -> None:
    budget = Budget(LIMITS)
    budget.pause(0.0, 2.0)
    assert budget.creates_ready(1.9) == 0
    assert budget.take_question(1.9) == 0
    assert budget.creates_ready(2.0) == 5


def lanes(*accounts: str) -> Lanes:
    made = Lanes(lambda: 0.0)
    for name in accounts:
        budget, venue = Budget(LIMITS), cast(Venue, None)
        lane = Lane(name, "paper", venue, budget, breaker(), clock_trusted=True)
        made.served[name] = lane
    return made


def test_lanes_take_turns_and_one_paused_account_holds_up_nobody() -> None:
    made = lanes("a", "b", "c")
    rows = [
        placement(State.CLAIMED)._replace(order_id=UUID(int=n), account="abc"[n % 3])
        for n in range(30)
    ]
    made.add(rows)
    made.pause("b", 1.0)
    taken = [row.account for row in made.take(64)]
    assert taken == ["a", "c"] * 5
    assert made.take(64) == []  # all connections are in use


def test_a_row_is_in_hand_once() -> None:
    made = lanes("a")
    row = placement(State.CLAIMED)._replace(account="a")
    made.add([row, row])
    made.add([row])
    assert len(made.take(64)) == 1
    assert made.take(64) == []


def test_nothing_leaves_before_the_clock_is_measured_again() -> None:
    made = lanes("a")
    made.add([placement(State.CLAIMED)._replace(account="a")])
    made.distrust_clock("a")
    assert made.take(64) == []
