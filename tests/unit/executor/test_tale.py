"""What a stream tells of one order, in any order and any number of times, adds up to one word."""

from decimal import Decimal
from itertools import permutations

import pytest
from orderonce_executor.known import ENDED_MAX, Known
from orderonce_executor.tale import Tale
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import VenueFill, VenueOrder, VenueStatus

from tests.unit.executor.builders import NOW, placement


def fill(trade_id: str, quantity: str) -> VenueFill:
    amount = Decimal(quantity)
    return VenueFill(
        "BTC/USDT", trade_id, "1", Side.BUY, amount, Decimal(100), amount * 100, (), "taker", NOW
    )


def told(status: VenueStatus, filled: str, *fills: VenueFill) -> VenueOrder:
    amount = Decimal(filled)
    return VenueOrder("BTC/USDT", "1", "one", status, amount, amount * 100, {"z": filled}, fills)


LIFE = (
    told(VenueStatus.OPEN, "0"),
    told(VenueStatus.OPEN, "0.4", fill("1", "0.4")),
    told(VenueStatus.OPEN, "0.4", fill("1", "0.4")),
    told(VenueStatus.FILLED, "1", fill("2", "0.6")),
)


@pytest.mark.parametrize("reports", list(permutations(LIFE)))
def test_any_order_and_repeats_add_up_to_the_same(reports: tuple[VenueOrder, ...]) -> None:
    tale = Tale.begin(reports[0])
    for one in reports[1:]:
        before = tale.word
        tale.hear(one)
        assert tale.word.filled_quantity >= before.filled_quantity
    assert (tale.word.status, tale.word.filled_quantity) == (VenueStatus.FILLED, 1)
    assert sorted(tale.fills) == ["1", "2"]
    assert tale.whole


def test_a_cancel_that_had_not_counted_the_fill() -> None:
    tale = Tale.begin(told(VenueStatus.CANCELED, "0"))
    tale.hear(told(VenueStatus.OPEN, "0.4", fill("1", "0.4")))
    assert (tale.word.status, tale.word.filled_quantity) == (VenueStatus.CANCELED, Decimal("0.4"))
    assert tale.whole


def test_a_missing_trade_is_noticed_and_can_be_learned() -> None:
    tale = Tale.begin(LIFE[3])
    assert not tale.whole
    tale.learn((fill("1", "0.4"), fill("2", "0.6")))
    assert tale.whole


def test_each_trade_is_handed_on_once() -> None:
    tale = Tale.begin(LIFE[1])
    first = tale.fresh()
    tale.handed_on(first)
    tale.hear(LIFE[2])
    assert tale.fresh() == ()
    tale.hear(LIFE[3])
    assert [one.trade_id for one in (*first, *tale.fresh())] == ["1", "2"]


def test_known_rows_never_go_back() -> None:
    known = Known()
    row = placement(State.OPEN, version=3)
    known.note(row)
    known.note(row._replace(version=2, state=State.SENDING))
    assert known.get(row.client_order_id) is row
    ended = row._replace(version=4, state=State.FILLED)
    known.note(ended)
    known.note(row)
    assert known.get(row.client_order_id) is ended
    assert not known.live


def test_ended_rows_are_forgotten_oldest_first() -> None:
    known = Known()
    row = placement(State.FILLED)
    for number in range(ENDED_MAX + 1):
        known.note(row._replace(client_order_id=f"id-{number}"))
    assert known.get("id-0") is None
    assert known.get("id-1") is not None


def test_a_row_that_was_never_sent_is_nobodys_business() -> None:
    known = Known()
    known.note(placement(State.CLAIMED))
    assert not known.live
