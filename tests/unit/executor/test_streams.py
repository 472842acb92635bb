"""The verb that listens, on a recorder of its own: what it records, leaves, and asks REST for."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from orderonce_executor.budget import Budget, BudgetLimits
from orderonce_executor.core import Seen, decide
from orderonce_executor.known import Known
from orderonce_executor.lanes import Lane, Lanes
from orderonce_executor.metrics import Metrics
from orderonce_executor.placement import Placement
from orderonce_executor.record import Hearing, Signals
from orderonce_executor.stream import Streams, _Ear
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.venue import VenueFill
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.process import Process
from orderonce_shared.venues.stream import Report
from prometheus_client import CollectorRegistry

from tests.stacks.program import until
from tests.unit.executor.builders import NOW, breaker, placement
from tests.unit.venues.test_reports import report, trade

LIMIT_S = 5.0


class Clock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Recorder:
    """Decides and keeps, as the real one; `misses` comparisons fail first."""

    known: Known = field(default_factory=Known)
    in_hand: set[UUID] = field(default_factory=set)
    heard: list[Hearing] = field(default_factory=list)
    misses: int = 0

    def off_the_wire(self, row: Placement) -> None: ...

    async def hear(self, hearing: Hearing) -> Placement | None:
        self.heard.append(hearing)
        if self.misses:
            self.misses -= 1
            return None
        after, _ = decide(hearing.placement, hearing.heard, NOW)
        after = after._replace(version=hearing.placement.version + 1)
        self.known.note(after)
        return after


@dataclass
class World:
    """A Streams verb and what it touched."""

    streams: Streams
    recorder: Recorder
    lane: Lane
    looked_again: list[str]
    postponed: list[UUID]
    asked_fills: list[str]
    rest_fills: list[VenueFill]

    def tell(self, **changes: Any) -> None:
        self.tell_raw(report(**changes))

    def tell_raw(self, raw: dict[str, Any]) -> None:
        self.streams.heard(Report(raw.get("C") or raw["c"], raw))

    async def quiet(self) -> None:
        """Nothing waits to be judged, and nothing is being recorded."""
        told = self.streams.told
        await until(
            lambda: not any(one.timer or one.task for one in told.values()), LIMIT_S, "quiet"
        )

    def words(self, outcome: str) -> float:
        return self.streams.metrics.stream_words.labels(outcome)._value.get()

    def reports(self, outcome: str) -> float:
        return self.streams.metrics.stream_reports.labels(outcome)._value.get()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    looked, postponed, asked, fills = [], [], [], cast(list[VenueFill], [])
    recorder = Recorder()

    async def look_again(account: str) -> None:
        looked.append(account)

    async def load(ids: list[UUID]) -> list[Placement]:
        rows = [*recorder.known.live.values(), *recorder.known.ended.values()]
        return [row for row in rows if row.order_id in ids]

    async def postpone(ids: list[UUID], _: list[float]) -> None:
        postponed.extend(ids)

    async def order_fills(symbol: str, _: str) -> list[VenueFill]:
        asked.append(symbol)
        return fills

    async def take_turn(_: Placement) -> None: ...

    clock = Clock()
    lanes = Lanes(clock.monotonic)
    door = SimpleNamespace(order_fills=order_fills)
    budget = Budget(BudgetLimits(100, 100, 10, 10))
    lane = Lane("paper-1", "paper", cast(Any, door), budget, breaker())
    lanes.served["paper-1"] = lane
    store = SimpleNamespace(look_again=look_again, load=load, postpone=postpone)
    streams = Streams(
        cast(Any, store), lanes, cast(Any, recorder),
        cast(Any, SimpleNamespace(take_turn=take_turn)), Signals(),
        Process(configure_logs("test")), cast(Any, clock), Metrics(CollectorRegistry()),
        lambda _: None,
    )  # fmt: skip
    yield World(streams, recorder, lane, looked, postponed, asked, fills)
    await streams.finish()


def known(world: World, state: State = State.SENDING, **changes: Any) -> Placement:
    """A row in hand, called as the reports call it."""
    row = placement(state, client_order_id="ours-1", **changes)
    world.recorder.known.note(row)
    return row


ALL_OF_IT = {"l": "0.01000000", "Y": "500.00000000"}


async def test_filled_while_the_create_is_out(world: World) -> None:
    known(world)
    world.tell()
    world.tell_raw(trade(**ALL_OF_IT))
    await world.quiet()
    (heard,) = world.recorder.heard
    assert isinstance(heard.heard, Seen)
    assert (heard.heard.source, heard.heard.fills_known) == ("stream", True)
    assert [one.trade_id for one in heard.fills] == ["7"]
    row = world.recorder.known.get("ours-1")
    assert row is not None
    assert row.state is State.FILLED
    assert not world.streams.told, "the tale of an ended order is over"


async def test_what_the_answer_has_said_is_not_recorded_again(world: World) -> None:
    row = known(world)
    world.tell_raw(trade(**ALL_OF_IT))
    filled = row._replace(
        state=State.FILLED, version=row.version + 1, settled=True, venue_order_id="42",
        filled_quantity=Decimal("0.01"), filled_cost=Decimal(500),
    )  # fmt: skip
    world.recorder.known.note(filled)
    await world.quiet()
    assert not world.recorder.heard
    assert world.words("known") == 1


async def test_an_answer_in_hand_goes_first(world: World) -> None:
    row = known(world)
    world.recorder.in_hand.add(row.order_id)
    world.tell()
    await asyncio.sleep(0.35)  # past the grace for an answer
    assert not world.recorder.heard
    world.recorder.in_hand.clear()
    await world.quiet()
    assert len(world.recorder.heard) == 1


async def test_a_missing_trade_is_asked_for_and_each_is_handed_on_once(world: World) -> None:
    known(world, State.OPEN, venue_order_id="42")
    last = trade()
    first = trade(t=6, l="0.00600000", Y="300.00000000", z="0.00600000", Z="300.00000000",
                  X="PARTIALLY_FILLED")  # fmt: skip
    world.rest_fills.extend(
        fill for raw in (first, last) for fill in Report("ours-1", raw).read("BTC/USDT").fills
    )
    world.tell_raw(last)
    await world.quiet()
    assert world.asked_fills == ["BTC/USDT"]
    assert sorted(f.trade_id for h in world.recorder.heard for f in h.fills) == ["6", "7"]
    row = world.recorder.known.get("ours-1")
    assert row is not None
    assert row.state is State.FILLED


async def test_shuffled_reports_need_no_question(world: World) -> None:
    known(world, State.OPEN, venue_order_id="42")
    first = trade(t=6, l="0.00600000", Y="300.00000000", z="0.00600000", Z="300.00000000",
                  X="PARTIALLY_FILLED")  # fmt: skip
    world.tell_raw(trade())
    (told,) = world.streams.told.values()
    await until(lambda: told.waited_for_gap, LIMIT_S, "judged once: a trade is missing")
    world.tell_raw(first)
    world.tell_raw(first)
    await world.quiet()
    assert not world.asked_fills
    (heard,) = world.recorder.heard
    assert sorted(one.trade_id for one in heard.fills) == ["6", "7"]


async def test_a_missed_comparison_is_decided_again_and_then_left_to_rest(world: World) -> None:
    row = known(world)
    world.recorder.misses = 1
    world.tell()
    await world.quiet()
    assert len(world.recorder.heard) == 2
    world.recorder.misses = 9
    world.tell_raw(trade(**ALL_OF_IT))
    await world.quiet()
    assert world.postponed == [row.order_id]
    assert world.words("missed") == 1


async def test_a_rejection_is_not_believed(world: World) -> None:
    """It may be of attempt 1 while attempt 2 is out."""
    known(world)
    world.tell(x="REJECTED", X="REJECTED")
    await world.quiet()
    assert not world.recorder.heard
    assert world.reports("unreadable") == 1


async def test_somebody_elses_order_is_counted_and_ignored(world: World) -> None:
    known(world)
    world.tell(c="a-person-at-the-venue")
    world.tell(x="CANCELED", X="CANCELED", c="ours-1", C="a-persons-order")
    await world.quiet()
    assert not world.recorder.heard
    assert world.reports("foreign") == 2


async def test_rest_looks_when_a_subscription_begins_and_when_it_ends(world: World) -> None:
    ear = _Ear(world.streams, world.lane)
    for turn, up in ((ear.on_up, True), (lambda: ear.on_down("cut"), False), (ear.on_up, True)):
        turn()
        assert world.lane.stream_up is up
        assert world.streams.wake.is_set()
        await world.streams.step()
    assert world.looked_again == ["paper-1"] * 3
    assert world.streams.signals.track.is_set()


async def test_a_try_that_failed_changes_nothing(world: World) -> None:
    _Ear(world.streams, world.lane).on_down("refused")
    await world.streams.step()
    assert not world.looked_again
