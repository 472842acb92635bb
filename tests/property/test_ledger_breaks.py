"""Planted breaks of every type in random books: all are found, nothing else is, in any order, and
the proof is zero."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from orderonce_ledger.breaks import BreakType, compare, prove
from orderonce_ledger.core import Amounts, effect, minus, plus
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import Fee, VenueFill

from tests.unit.ledger.making import NOON, at_venue, fill, in_ledger

YOUNG = NOON + timedelta(minutes=5)


@dataclass
class Scene:
    """What each side knows, and what a perfect judge would say."""

    venue: list[VenueFill] = field(default_factory=list)
    ledger: list[VenueFill] = field(default_factory=list)
    expected: Counter[tuple[BreakType, str]] = field(default_factory=Counter)
    in_flight: Amounts = field(default_factory=dict)

    def expect(self, type_: BreakType, made: VenueFill) -> None:
        self.expected[type_, at_venue(made).key] += 1


def _same(scene: Scene, made: VenueFill) -> None:
    scene.venue.append(made)
    scene.ledger.append(made)


def _not_booked(scene: Scene, made: VenueFill) -> None:
    scene.venue.append(made)
    scene.expect(BreakType.MISSING_IN_LEDGER, made)


def _not_at_venue(scene: Scene, made: VenueFill) -> None:
    scene.ledger.append(made)
    scene.expect(BreakType.MISSING_AT_VENUE, made)


def _coming(scene: Scene, made: VenueFill) -> None:
    young = replace(made, traded_at=YOUNG + timedelta(seconds=1))
    scene.venue.append(young)
    scene.in_flight = plus(scene.in_flight, effect(young))


def _ahead(scene: Scene, made: VenueFill) -> None:
    young = replace(made, traded_at=YOUNG)
    scene.ledger.append(young)
    scene.in_flight = minus(scene.in_flight, effect(young))


def _twice(scene: Scene, made: VenueFill) -> None:
    scene.venue += [made, made]
    scene.ledger.append(made)
    scene.expect(BreakType.DUPLICATE_AT_VENUE, made)


def _differs(type_: BreakType, **fields: object) -> Callable[[Scene, VenueFill], None]:
    def plant(scene: Scene, made: VenueFill) -> None:
        scene.venue.append(made)
        scene.ledger.append(replace(made, **fields))  # type: ignore[arg-type]
        scene.expect(type_, made)

    return plant


PLANTS: list[Callable[[Scene, VenueFill], None]] = [
    _same,
    _same,
    _not_booked,
    _not_at_venue,
    _coming,
    _ahead,
    _twice,
    _differs(BreakType.QTY, quantity=Decimal("0.123456789012345678")),
    _differs(BreakType.PRICE, price=Decimal("1.000000000000000001")),
    _differs(BreakType.PRICE, cost=Decimal("29999.999999999999999999")),
    _differs(BreakType.FEE_AMOUNT, fees=(Fee("BNB", Decimal("0.5")),)),
    _differs(BreakType.FEE_ASSET, fees=(Fee("GT", Decimal("0.5")),)),
]


def _scene(choices: list[int]) -> Scene:
    scene = Scene()
    for number, choice in enumerate(choices, start=1):
        side = Side.BUY if number % 2 else Side.SELL
        PLANTS[choice](scene, fill(number, side=side, quantity=f"0.{number}"))
    return scene


@settings(deadline=None)
@given(st.lists(st.integers(0, len(PLANTS) - 1), max_size=40), st.randoms(use_true_random=False))
def test_recall_and_precision_are_one_in_any_order(
    choices: list[int], source: random.Random
) -> None:
    scene = _scene(choices)
    venue = [at_venue(made) for made in scene.venue]
    ledger = [in_ledger(made, n) for n, made in enumerate(scene.ledger, start=1)]
    result = compare(venue, ledger, young_since=YOUNG)
    found = Counter((one.type, one.key) for one in result.breaks)
    assert found == scene.expected
    assert result.in_flight == scene.in_flight
    source.shuffle(venue)
    source.shuffle(ledger)
    assert compare(venue, ledger, young_since=YOUNG) == result


@settings(deadline=None)
@given(st.lists(st.integers(0, len(PLANTS) - 1), max_size=40))
def test_breaks_and_flights_explain_the_whole_difference(choices: list[int]) -> None:
    scene = _scene(choices)
    once = {at_venue(made).key: made for made in scene.venue}
    theirs = plus(*(effect(made) for made in once.values()))
    ours = plus(*(effect(made) for made in scene.ledger))
    result = compare(
        [at_venue(made) for made in scene.venue],
        [in_ledger(made, n) for n, made in enumerate(scene.ledger, start=1)],
        young_since=YOUNG,
    )
    explained = plus(*(one.effect for one in result.breaks))
    assert all(line.proof == 0 for line in prove(theirs, ours, explained, result.in_flight))


def test_every_type_but_the_two_that_need_more_than_two_lists_is_planted() -> None:
    planted = {type_ for type_, _ in _scene(list(range(len(PLANTS)))).expected}
    assert planted == set(BreakType) - {BreakType.BALANCE, BreakType.AMENDED}
