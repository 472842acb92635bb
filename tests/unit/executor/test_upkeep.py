"""R12 in the upkeep: orders of an account that rests end at their deadline, and its UNKNOWN orders
are counted for its breaker."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from orderonce_executor.breaker import Breaker
from orderonce_executor.budget import Budget, BudgetLimits
from orderonce_executor.core import Bar, Barred
from orderonce_executor.lanes import Lane, Lanes
from orderonce_executor.metrics import Metrics
from orderonce_executor.placement import Placement
from orderonce_executor.ports import Venue
from orderonce_executor.record import Hearing
from orderonce_executor.upkeep import Upkeep
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.venue import Silence
from prometheus_client import CollectorRegistry

from tests.unit.executor.builders import breaker, placement

ROW = placement(State.CLAIMED)


class Rows:
    """A store that has these overdue rows, and UNKNOWN ones by account."""

    def __init__(self, overdue: list[Placement], unknown: dict[str, int]) -> None:
        self.late, self.unknown = overdue, unknown

    async def due(self, _: Any) -> list[Placement]:
        return []

    async def overdue(self, held: list[UUID], _: int) -> list[Placement]:
        return [row for row in self.late if row.order_id not in held]

    async def counts(self) -> dict[str, float]:
        rest = dict.fromkeys(["claimed", "sending", "open", "oldest_unknown_s", "outbox"], 0.0)
        return {**rest, "unknown": sum(self.unknown.values())}

    async def unknowns(self) -> dict[str, int]:
        return self.unknown


class Rig:
    """An upkeep over one lane that holds ROW."""

    def __init__(self, made: Breaker, overdue: list[Placement], unknown: dict[str, int]) -> None:
        self.unknown = unknown
        budget = Budget(BudgetLimits(10, 10, 0, 5))
        lane = Lane("paper-1", "paper", cast(Venue, None), budget, made, clock_trusted=True)
        self.lanes = Lanes(lambda: 100.0, {"paper-1": lane})
        self.lanes.add([ROW])
        self.heard: list[Hearing] = []
        self.log: list[tuple[str, str, str]] = []
        process = SimpleNamespace(log=SimpleNamespace(warning=self._warn))
        self.upkeep = Upkeep(
            cast(Any, Rows(overdue, unknown)), self.lanes, cast(Any, self), cast(Any, None),
            cast(Any, None), cast(Any, process), cast(Any, SimpleNamespace(monotonic=lambda: 1.0)),
            Metrics(CollectorRegistry()),
        )  # fmt: skip

    async def hear(self, hearing: Hearing) -> None:
        self.heard.append(hearing)

    def _warn(self, event: str, **fields: Any) -> None:
        self.log.append((event, fields["account"], fields["why"]))


async def test_what_waits_in_a_lane_that_rests_ends_at_its_deadline() -> None:
    """No CAS asks for it: the sweep does, and its place in memory is free again."""
    made = breaker(failures=1)
    made.heard(UUID(int=99), Silence("", {}), 0.0)
    rig = Rig(made, [ROW], {})

    await rig.upkeep.sweep()

    assert [(h.placement, h.heard) for h in rig.heard] == [(ROW, Barred(Bar.LAPSED))]
    assert not rig.lanes.held
    assert not rig.lanes.served["paper-1"].queue


@pytest.mark.parametrize("why", ["the venue asked for a pause", "its clock is not known"])
async def test_what_waits_ends_at_its_deadline_whatever_its_lane_rests_for(why: str) -> None:
    rig = Rig(breaker(), [ROW], {})
    if why.startswith("the venue"):
        rig.lanes.pause("paper-1", 3600.0)
    else:
        rig.lanes.distrust_clock("paper-1")

    await rig.upkeep.sweep()

    assert [h.placement for h in rig.heard] == [ROW]
    assert not rig.lanes.held


def test_what_was_canceled_while_it_waited_leaves_its_lane_and_nothing_else_does() -> None:
    """A silent venue's canceled orders must not take the room of other accounts."""
    other = placement(State.CLAIMED, order_id=UUID(int=70))
    sent = placement(State.CLAIMED, order_id=UUID(int=80))
    rig = Rig(breaker(), [], {})
    rig.lanes.add([other])
    rig.lanes.held.add(sent.order_id)  # taken: its task has it in hand

    rig.lanes.drop([ROW._replace(state=State.CANCELED), sent])

    assert list(rig.lanes.served["paper-1"].queue) == [other]
    assert rig.lanes.held == {other.order_id, sent.order_id}


async def test_orders_of_a_dead_process_are_no_sign_of_the_venues_silence() -> None:
    rig = Rig(breaker(unknowns=10), [], {"paper-1": 0})
    await rig.upkeep.count()
    rig.lanes.adopted(["paper-1", "another's"])
    rig.unknown["paper-1"] = 30

    await rig.upkeep.count()

    assert rig.log == []


async def test_what_waits_in_a_lane_that_sends_is_left_to_its_cas() -> None:
    rig = Rig(breaker(), [ROW], {})

    await rig.upkeep.sweep()

    assert rig.heard == []
    assert rig.lanes.held == {ROW.order_id}


@pytest.mark.parametrize(("unknown", "rests"), [(9, False), (10, True)])
async def test_unknown_orders_are_counted_by_account(unknown: int, rests: bool) -> None:
    rig = Rig(breaker(unknowns=10), [], {"paper-1": unknown, "paper-2": 90})

    await rig.upkeep.count()

    assert rig.lanes.served["paper-1"].breaker.is_open == rests
    assert rig.log == [("breaker-opened", "paper-1", "unknowns")] * rests
