"""What /metrics says about a lane is what its budget did."""

from typing import cast
from uuid import UUID

from orderonce_executor.budget import Budget, BudgetLimits
from orderonce_executor.lane_numbers import LaneNumbers
from orderonce_executor.lanes import Lane, Lanes
from orderonce_executor.ports import Venue
from orderonce_shared.domain.venue import Silence
from prometheus_client import CollectorRegistry

from tests.unit.executor.builders import breaker

PAPER = {"account": "paper-1"}


def test_budget_use_is_told_by_account() -> None:
    now = [0.0]
    lanes, registry = Lanes(lambda: now[0]), CollectorRegistry()
    LaneNumbers(lanes, registry)
    value = registry.get_sample_value
    assert value("orderonce_executor_budget_tokens", PAPER) is None, "no lane yet"

    budget = Budget(BudgetLimits(requests_per_s=10, burst=20, reserve=5, in_flight=3))
    lanes.served["paper-1"] = Lane("paper-1", "paper", cast(Venue, None), budget, breaker())
    assert value("orderonce_executor_budget_tokens", PAPER) == 20
    assert value("orderonce_executor_budget_burst_tokens", PAPER) == 20
    assert value("orderonce_executor_budget_reserve_tokens", PAPER) == 5

    budget.take_create()
    budget.take_create()
    assert value("orderonce_executor_lane_creates_in_flight", PAPER) == 2
    budget.give_back()
    budget.give_back(unused=True)
    assert value("orderonce_executor_budget_tokens", PAPER) == 19
    taken = "orderonce_executor_budget_taken_tokens_total"
    assert value(taken, {**PAPER, "use": "creates"}) == 1, "what never left was not taken"

    budget.take_question(now[0], weight=29)
    assert value("orderonce_executor_budget_tokens", PAPER) == -10
    assert value(taken, {**PAPER, "use": "questions"}) == 29
    assert value("orderonce_executor_budget_wait_seconds_total", PAPER) == 1.0
    now[0] = 2.0
    assert value("orderonce_executor_budget_tokens", PAPER) == 10, "it fills up with time"


def test_an_open_breaker_is_told_by_account_and_its_openings_by_cause() -> None:
    lanes, registry = Lanes(lambda: 0.0), CollectorRegistry()
    LaneNumbers(lanes, registry)
    budget = Budget(BudgetLimits(requests_per_s=10, burst=20, reserve=5, in_flight=3))
    made = breaker(failures=2)
    lanes.served["paper-1"] = Lane("paper-1", "paper", cast(Venue, None), budget, made)
    value = registry.get_sample_value
    openings = "orderonce_executor_breaker_openings_total"
    made.heard(UUID(int=1), Silence("", {}), 0.0)
    assert value("orderonce_executor_breaker_open", PAPER) == 0
    assert value(openings, {**PAPER, "cause": "failures"}) == 0, "an increase needs a beginning"

    made.heard(UUID(int=2), Silence("", {}), 0.0)

    assert value("orderonce_executor_breaker_open", PAPER) == 1
    assert value(openings, {**PAPER, "cause": "failures"}) == 1
    assert value(openings, {**PAPER, "cause": "unknowns"}) == 0
