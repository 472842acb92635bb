"""R7's three steps on a virtual clock: the order of steps, whose clock counts, and what is not an
answer."""

import asyncio
from dataclasses import dataclass, field

import pytest
from orderonce_executor.placement import Placement
from orderonce_executor.resolve import Bounds, Closed, Steps, prove_absence
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.venue import Absent, CannotAsk, FindVerdict, Found
from orderonce_shared.venues.errors import VenueUnreachable

from tests.unit.executor.builders import placement, venue_order

BOUNDS = Bounds(step_allowance_ms=1_000, late_visibility_ms=2_000)
CLOSES_MS = 1_000_000 + 5_000 + 1_000  # stamp + window + step allowance of the builder's row


@dataclass
class World:
    """A venue with its own clock, and ours. `log` is what was asked, in order."""

    venue_ms: int | None
    now: float = 100.0
    answers: FindVerdict = field(default_factory=lambda: Absent({}))
    log: list[str] = field(default_factory=list)

    async def venue_time_ms(self) -> int:
        self.log.append("time")
        if self.venue_ms is None:
            raise VenueUnreachable("no answer", {})
        return self.venue_ms

    async def find(self) -> FindVerdict:
        self.log.append(f"find@{self.now}")
        return self.answers

    def monotonic(self) -> float:
        return self.now


def step(world: World, closed: Closed | None = None, row: Placement | None = None) -> Steps:
    return asyncio.run(prove_absence(world, row or placement(State.UNKNOWN), BOUNDS, closed))


def test_an_open_window_is_waited_for_on_the_venues_clock() -> None:
    steps = step(World(venue_ms=CLOSES_MS))
    assert steps.closed is None
    assert steps.proven is None
    assert steps.wait_s == pytest.approx(0.001)


def test_without_the_venues_time_nothing_is_closed() -> None:
    assert step(World(venue_ms=None)) == Steps(None)


def test_after_the_window_the_bound_passes_on_our_own_clock_before_the_look_up() -> None:
    world = World(venue_ms=CLOSES_MS + 1)
    steps = step(world)
    assert world.log == ["time"]
    assert steps.closed == Closed(1, CLOSES_MS + 1, 100.0)
    assert steps.wait_s == pytest.approx(2.001)
    world.now = 102.0  # exactly the bound is not past it
    assert step(world, steps.closed).proven is None
    assert world.log == ["time"]
    world.now = 102.01
    proof = step(world, steps.closed)
    assert world.log == ["time", "find@102.01"]
    assert proof.proven is not None
    assert proof.proven["venue_time_ms"] == CLOSES_MS + 1


def test_cannot_ask_is_never_not_found() -> None:
    world = World(CLOSES_MS + 1, now=200.0, answers=CannotAsk("one rung is silent", {}))
    steps = step(world, Closed(1, CLOSES_MS + 1, 100.0))
    assert (steps.proven, steps.found) == (None, None)


def test_what_is_found_at_the_last_step_is_found() -> None:
    world = World(CLOSES_MS + 1, now=200.0, answers=Found(venue_order()))
    steps = step(world, Closed(1, CLOSES_MS + 1, 100.0))
    assert steps.proven is None
    assert steps.found == Found(venue_order())


def test_the_closed_window_of_another_attempt_counts_for_nothing() -> None:
    world = World(venue_ms=CLOSES_MS - 500, now=200.0)
    steps = step(world, Closed(1, CLOSES_MS + 1, 100.0), placement(State.UNKNOWN, attempt=2))
    assert steps.proven is None
    assert steps.closed is None
