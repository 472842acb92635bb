"""The table: every fact has a source, and whatever it does not name proves nothing."""

import dataclasses
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orderonce_shared.domain.identity import client_order_id
from orderonce_shared.domain.order import OrderTerms, OrderType, Side, TimeInForce
from orderonce_shared.domain.venue import PlaceRequest, Silence, Unsent
from orderonce_shared.venues.errors import hear_place
from orderonce_shared.venues.evidence import (
    BINANCE,
    EVIDENCE,
    PAPER,
    Ruling,
    UnknownVenue,
    VenueEvidence,
    evidence_for,
)
from orderonce_shared.venues.evidence_page import render_evidence
from orderonce_shared.venues.wire import Passage

NAMES = {"venue", "title", "ccxt_id", "sources"}
REQUEST = PlaceRequest(
    account="a",
    terms=OrderTerms(
        account="a",
        symbol="BTC/USDT",
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=Decimal(1),
        price=Decimal(1),
        time_in_force=TimeInForce.GTC,
        post_only=False,
    ),
    client_order_id="ooabc",
    signed_at_ms=1,
    window_ms=1,
)


@pytest.mark.parametrize("row", EVIDENCE.values(), ids=lambda row: row.venue)
def test_every_fact_has_its_source(row: VenueEvidence) -> None:
    facts = {field.name for field in dataclasses.fields(row)} - NAMES
    assert set(row.sources) == facts
    assert row.has_proof_path
    assert row.client_id.accepts(client_order_id("client", "key"))
    assert 0 < row.window_smallest_ms <= row.window_default_ms <= row.window_max_ms


def test_the_numbers_that_the_protocol_waits_for() -> None:
    assert (PAPER.step_allowance_ms, PAPER.late_visibility_ms) == (1_000, 2_000)
    assert (BINANCE.step_allowance_ms, BINANCE.late_visibility_ms) == (300_000, 600_000)
    assert evidence_for("paper") is PAPER
    with pytest.raises(UnknownVenue, match="binance, paper"):
        evidence_for("kraken")


def test_a_row_without_fence_or_ladder_has_no_proof_path() -> None:
    assert not dataclasses.replace(PAPER, ladder=()).has_proof_path
    assert not dataclasses.replace(PAPER, fence="").has_proof_path


def test_words_whose_outcome_the_venue_calls_unknown_are_silence() -> None:
    for code in (-1000, -1001, -1006, -1007):
        assert BINANCE.codes[code].ruling is Ruling.SILENCE


def test_the_page_is_rendered_the_same_each_time_and_names_every_word() -> None:
    page = render_evidence()
    assert page == render_evidence()
    assert page.endswith("\n")
    for row in EVIDENCE.values():
        assert f"(`{row.venue}`)" in page
        assert all(f"`{code}`" in page for code in row.codes)


allowed = {code for code, rule in BINANCE.codes.items() if rule.ruling is not Ruling.SILENCE} | {
    code for code, _ in BINANCE.texts
}


def heard(status: int, text: str | None, *, connected: bool = True) -> Any:
    passage = Passage(connected=connected, status=status if text is not None else None, text=text)
    return hear_place(BINANCE, REQUEST, passage, ("key",))


@given(
    status=st.integers(100, 599),
    code=st.integers(-10_000, 10_000).filter(lambda code: code not in allowed),
    text=st.text(max_size=20),
)
def test_no_code_outside_the_list_ends_an_attempt(status: int, code: int, text: str) -> None:
    assert isinstance(heard(status, json.dumps({"code": code, "msg": text})), Silence)


@given(text=st.text(max_size=60))
def test_no_unknown_text_of_a_rejection_ends_an_attempt(text: str) -> None:
    if (-2010, text) not in BINANCE.texts:
        assert isinstance(heard(400, json.dumps({"code": -2010, "msg": text})), Silence)


@given(status=st.integers(500, 599), code=st.sampled_from(sorted(allowed)))
def test_no_code_with_5xx_ends_an_attempt(status: int, code: int) -> None:
    message = "Account has insufficient balance for requested action."
    assert isinstance(heard(status, json.dumps({"code": code, "msg": message})), Silence)


@given(status=st.integers(100, 599).filter(lambda s: s not in (418, 429)), text=st.text())
def test_no_words_that_are_not_the_venues_end_an_attempt(status: int, text: str) -> None:
    assert isinstance(heard(status, text), Silence)


def test_nothing_sent_is_unsent_and_nothing_heard_is_silence() -> None:
    assert isinstance(heard(0, None, connected=False), Unsent)
    assert isinstance(heard(0, None, connected=True), Silence)
