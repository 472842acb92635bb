"""Each type of break, alone, with the effect that explains its difference of the balances."""

from datetime import timedelta
from decimal import Decimal

import pytest
from orderonce_ledger.breaks import BreakType, Comparison, compare, prove
from orderonce_ledger.core import Amounts, effect, minus
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import Fee, VenueFill

from tests.unit.ledger.making import NOON, at_venue, changed, fill, in_ledger

LATER = NOON + timedelta(minutes=5)


def _against(venue: list[VenueFill], ledger: list[VenueFill]) -> Comparison:
    return compare(
        [at_venue(one) for one in venue],
        [in_ledger(one, n) for n, one in enumerate(ledger, start=1)],
        young_since=LATER,
    )


def _types(result: Comparison) -> list[BreakType]:
    return [one.type for one in result.breaks]


def test_equal_trades_match_and_nothing_else_is_said() -> None:
    result = _against([fill(1), fill(2)], [fill(2), fill(1)])
    assert len(result.matches) == 2
    assert not result.breaks
    assert not result.in_flight


def test_missing_in_ledger_carries_the_whole_trade() -> None:
    result = _against([fill(1)], [])
    assert _types(result) == [BreakType.MISSING_IN_LEDGER]
    assert result.breaks[0].effect == effect(fill(1))


def test_missing_at_venue_carries_it_the_other_way() -> None:
    result = _against([], [fill(1)])
    assert _types(result) == [BreakType.MISSING_AT_VENUE]
    assert result.breaks[0].effect == minus({}, effect(fill(1)))


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"quantity": Decimal("0.6"), "cost": Decimal(36000)}, [BreakType.QTY]),
        ({"price": Decimal(61000), "cost": Decimal(30500)}, [BreakType.PRICE]),
        (
            {"quantity": Decimal(1), "price": Decimal(7), "cost": Decimal(7)},
            [BreakType.QTY, BreakType.PRICE],
        ),
        ({"cost": Decimal("30000.00000001")}, [BreakType.PRICE]),
        ({"fees": (Fee("BNB", Decimal("0.00007042")),)}, [BreakType.FEE_AMOUNT]),
        ({"fees": (Fee("BNB", Decimal("-0.00007041")),)}, [BreakType.FEE_AMOUNT]),
        ({"fees": (Fee("USDT", Decimal("0.00007041")),)}, [BreakType.FEE_ASSET]),
        ({"fees": ()}, [BreakType.FEE_ASSET]),
        (
            {"quantity": Decimal("0.6"), "fees": (Fee("BTC", Decimal(1)),)},
            [BreakType.QTY, BreakType.FEE_ASSET],
        ),
    ],
)
def test_each_field_has_its_break_and_the_effects_explain_the_difference(
    field: dict[str, object], expected: list[BreakType]
) -> None:
    theirs, ours = changed(fill(1), **field), fill(1)
    result = _against([theirs], [ours])
    assert _types(result) == expected
    assert not result.matches
    _explains(result, minus(effect(theirs), effect(ours)))


def test_the_last_digit_counts() -> None:
    ours = fill(1, quantity="1.000000000000000001", price="1")
    theirs = fill(1, quantity="1.000000000000000002", price="1")
    result = _against([theirs], [ours])
    assert _types(result) == [BreakType.QTY]
    assert result.breaks[0].effect["BTC"] == Decimal("0.000000000000000001")


def test_a_difference_in_the_scale_or_the_maker_flag_is_none() -> None:
    ours, theirs = fill(1, quantity="0.5"), changed(fill(1, quantity="0.50000"), liquidity="maker")
    assert not _against([theirs], [ours]).breaks


def test_a_row_listed_twice_is_named_and_moves_nothing() -> None:
    result = _against([fill(1), fill(1)], [fill(1)])
    assert _types(result) == [BreakType.DUPLICATE_AT_VENUE]
    assert not result.breaks[0].effect
    assert len(result.matches) == 1


def test_of_two_contents_the_booked_one_is_taken() -> None:
    other = changed(fill(1), quantity=Decimal(9))
    for said in ([fill(1), other], [other, fill(1)]):
        result = _against(said, [fill(1)])
        assert _types(result) == [BreakType.DUPLICATE_AT_VENUE]


def test_a_self_trade_is_no_duplicate() -> None:
    halves = [fill(1, order=1), fill(1, order=2, side=Side.SELL)]
    result = _against(halves, halves)
    assert not result.breaks
    assert len(result.matches) == 2


def test_the_young_are_in_flight_in_both_directions() -> None:
    coming, ahead = fill(1, at=LATER), fill(2, at=LATER, quantity="0.1")
    result = _against([coming], [ahead])
    assert not result.breaks
    assert result.in_flight == minus(effect(coming), effect(ahead))
    old = _against([fill(1, at=LATER - timedelta(microseconds=1))], [])
    assert _types(old) == [BreakType.MISSING_IN_LEDGER]


def test_a_bare_difference_stays_in_the_proof() -> None:
    lines = prove({"BTC": Decimal(3)}, {"BTC": Decimal(2), "ETH": Decimal(1)}, {}, {})
    assert [(line.asset, line.proof) for line in lines] == [
        ("BTC", Decimal(1)),
        ("ETH", Decimal(-1)),
    ]
    explained = prove({"BTC": Decimal(3)}, {"BTC": Decimal(2)}, {"BTC": Decimal(1)}, {})
    assert explained[0].proof == 0


def _explains(result: Comparison, gap: Amounts) -> None:
    lines = prove(gap, {}, _sum(result), result.in_flight)
    assert all(line.proof == 0 for line in lines), lines


def _sum(result: Comparison) -> Amounts:
    total: Amounts = {}
    for one in result.breaks:
        total = minus(total, minus({}, one.effect))
    return total
