"""The table of states is consistent with itself, with what a client sees, and with its reasons."""

import pytest
from orderonce_shared.domain.lifecycle import (
    FINAL,
    FINAL_BY_VENUE,
    FINAL_STATUSES,
    MIGHT_BE_LIVE,
    TRANSITIONS,
    State,
    Status,
    is_final,
    status_of,
)
from orderonce_shared.domain.reasons import REASON_TEXT, DenialCode, EndingCode


def test_every_state_is_final_live_or_waiting() -> None:
    assert FINAL.isdisjoint(MIGHT_BE_LIVE)
    assert FINAL | MIGHT_BE_LIVE | {State.CLAIMED} == set(State)
    assert FINAL_BY_VENUE < FINAL


def test_the_venues_finals_absorb() -> None:
    """Nothing leads out of FILLED or REJECTED; out of CANCELED only a fill that was late."""
    out_of_venues_finals = {pair for pair in TRANSITIONS if pair[0] in FINAL_BY_VENUE}

    assert out_of_venues_finals <= {
        (State.CANCELED, State.CANCELED),
        (State.CANCELED, State.FILLED),
    }


def test_our_own_finals_yield_only_to_the_venue_and_as_an_incident() -> None:
    for (before, after), why in TRANSITIONS.items():
        if before in FINAL - FINAL_BY_VENUE:
            assert why.startswith("incident"), (before, after)
            assert after in {State.OPEN, State.FILLED, State.CANCELED}


def test_nothing_goes_back_to_sending_but_by_a_cas_from_claimed() -> None:
    assert [before for before, after in TRANSITIONS if after is State.SENDING] == [State.CLAIMED]


def test_unknown_is_only_left_by_evidence() -> None:
    """Not to LAPSED, DENIED or SENDING: nothing that we conclude by ourselves."""
    left_to = {after for before, after in TRANSITIONS if before is State.UNKNOWN}

    assert left_to.isdisjoint({State.LAPSED, State.DENIED, State.SENDING})


def test_every_state_can_be_reached_and_every_unsettled_one_left() -> None:
    assert {after for _, after in TRANSITIONS} | {State.CLAIMED} == set(State)
    for state in set(State) - FINAL:
        assert any(before is state and after is not state for before, after in TRANSITIONS)


@pytest.mark.parametrize("state", State)
def test_what_a_client_sees(state: State) -> None:
    shown = status_of(state)

    assert shown is (Status.ACCEPTED if state is State.CLAIMED else Status(state.value))
    assert is_final(state) == (shown in FINAL_STATUSES)


def test_every_reason_has_one_text_and_a_public_form() -> None:
    codes = [*DenialCode, *EndingCode]

    assert set(REASON_TEXT) == set(codes)
    assert len({code.value for code in codes}) == len(codes)
    assert len(set(REASON_TEXT.values())) == len(codes)
    assert all(code.value == code.name.lower().replace("_", "-") for code in codes)
