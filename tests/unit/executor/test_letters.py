"""Letters are written without pydantic: their bytes are held to the contracts here. Kept words come
back as they were."""

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import orjson
import pytest
from orderonce_executor.events import event_letter, fill_letter, order_event
from orderonce_executor.words import verdict_from_json, verdict_name, verdict_to_json
from orderonce_shared.contracts.events import OrderEvent
from orderonce_shared.contracts.fills import FillRecord
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.venue import (
    Acknowledged,
    DuplicateId,
    Fee,
    PlaceVerdict,
    Refused,
    RefusedUnprocessed,
    Silence,
    Unsent,
    VenueStatus,
)

from tests.unit.executor.builders import fill, placement, venue_order


@pytest.mark.parametrize("state", list(State))
def test_an_event_is_the_contracts_bytes(state: State) -> None:
    row = placement(state)._replace(fees=(Fee("BNB", Decimal("-0.1")),))
    letter = event_letter(row, claimed_keys=("k" * 16,), asked_order_id=UUID(int=9))
    event = order_event(row, claimed_keys=("k" * 16,), asked_order_id=UUID(int=9))
    assert letter.value == event.encode()
    assert OrderEvent.decode(letter.value) == event
    assert letter.key == row.account


def test_a_fill_is_the_contracts_bytes() -> None:
    letter = fill_letter(placement(State.FILLED), fill())
    record = FillRecord.decode(letter.value)
    assert record.encode() == letter.value
    assert record.fees[0].amount == Decimal("0.05")


FILLED = replace(venue_order(VenueStatus.FILLED, "1"), fills=(fill(),))


@pytest.mark.parametrize(
    "verdict",
    [
        Acknowledged(FILLED),
        Refused("-2010", "no", {"code": -2010}),
        RefusedUnprocessed("-1021", "late", {"a": "b"}, 250, True),
        Unsent("no connection"),
        DuplicateId("in use", {"code": -2010}),
        Silence("cut", {"status": 502}),
    ],
)
def test_kept_words_come_back(verdict: PlaceVerdict) -> None:
    kept = orjson.loads(orjson.dumps(verdict_to_json(verdict)))
    assert verdict_from_json(verdict_name(verdict), kept) == verdict


def test_a_strange_name_is_refused() -> None:
    with pytest.raises(ValueError, match="not a verdict"):
        verdict_from_json("perhaps", {})
