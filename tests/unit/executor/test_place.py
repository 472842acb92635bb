"""When an order's connection is free for the next one."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from orderonce_executor.budget import Budget, BudgetLimits
from orderonce_executor.lanes import Lane, Lanes
from orderonce_executor.metrics import Metrics
from orderonce_executor.place import UNRECORDED_MAX, Sender
from orderonce_executor.placement import Placement
from orderonce_executor.ports import CasResult, SendLimits
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.venue import (
    Acknowledged,
    PlaceRequest,
    PlaceVerdict,
    RefusedUnprocessed,
    Silence,
)
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.process import Process
from prometheus_client import CollectorRegistry

from tests.unit.executor.builders import breaker, placement, venue_order

LIMIT_S = 5.0
PAUSE = RefusedUnprocessed("-1003", "too many requests", {}, 60_000, clock_is_off=False)


class Recorder:
    """Never done with storing: everything that it hears stays in `jobs`."""

    def __init__(self) -> None:
        self.jobs: list[object] = []
        self.heard = asyncio.Event()
        self.released = asyncio.Event()

    def on_the_wire(self, _: object) -> None: ...

    def off_the_wire(self, _: object) -> None: ...

    async def hear(self, hearing: object) -> None:
        self.jobs.append(hearing)
        self.heard.set()
        await self.released.wait()


class World:
    """One account with one connection; the venue answers every create with `verdict`."""

    def __init__(self, verdict: PlaceVerdict) -> None:
        self.verdict, self.recorder = verdict, Recorder()
        budget = Budget(BudgetLimits(requests_per_s=100, burst=100, reserve=0, in_flight=1))
        door = cast(Any, SimpleNamespace(place=self._answer))
        lane = Lane("paper-1", "paper", door, budget, breaker(), clock_trusted=True)
        clock = SimpleNamespace(monotonic=lambda: 100.0)
        self.lanes = Lanes(clock.monotonic, {"paper-1": lane})
        self.process = Process(configure_logs("test"))
        self.sender = Sender(
            cast(Any, SimpleNamespace(cas_sending=self._cas)), self.lanes,
            cast(Any, self.recorder), cast(Any, SimpleNamespace(alive=True)),
            SendLimits(5_000, {"paper": 100}), self.process, cast(Any, clock),
            Metrics(CollectorRegistry()), Failpoints(),
        )  # fmt: skip
        self.lanes.add([placement(State.CLAIMED, order_id=UUID(int=n)) for n in (1, 2)])

    async def _cas(self, asked: list[Placement], _: object) -> CasResult:
        sent = [placement(State.SENDING, order_id=p.order_id) for p in asked]
        return CasResult(sent=sent)

    async def _answer(self, _: PlaceRequest) -> PlaceVerdict:
        return self.verdict

    async def first_is_heard(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self.recorder.heard.wait()


@pytest.fixture
async def running() -> AsyncIterator[Any]:
    made: list[tuple[World, asyncio.Task[None]]] = []

    def start(world: World) -> World:
        made.append((world, asyncio.create_task(world.sender.run())))
        return world

    yield start
    for world, task in made:
        world.recorder.released.set()
        world.process.stopping.set()
        world.lanes.wake.set()
        await asyncio.wait_for(task, LIMIT_S)


async def test_an_acknowledged_order_frees_its_connection_before_it_is_stored(running: Any) -> None:
    world = running(World(Acknowledged(venue_order())))
    async with asyncio.timeout(LIMIT_S):
        while len(world.recorder.jobs) < 2:
            world.recorder.heard.clear()
            await world.recorder.heard.wait()
    assert world.lanes.held == {UUID(int=1), UUID(int=2)}, "in hand until they are stored"


@pytest.mark.parametrize("verdict", [PAUSE, Silence("nothing", {})])
async def test_any_other_answer_holds_it_until_it_is_stored(
    running: Any, verdict: PlaceVerdict
) -> None:
    """A refusal's pause comes with its record: nothing may leave before."""
    world = running(World(verdict))
    await world.first_is_heard()
    assert world.lanes.take(64) == []
    assert world.lanes.served["paper-1"].budget.creates_in_flight == 1


async def test_records_that_have_fallen_behind_hold_it_too(running: Any) -> None:
    world = World(Acknowledged(venue_order()))
    world.recorder.jobs += [object()] * UNRECORDED_MAX
    running(world)
    await world.first_is_heard()
    assert world.lanes.take(64) == []
