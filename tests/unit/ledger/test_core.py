"""Fills to entries, normalised hashes, the chain."""

import hashlib
import json
from datetime import timedelta
from decimal import Decimal

import pytest
from orderonce_ledger.core import (
    Draft,
    Entry,
    Ruling,
    Trade,
    Unbookable,
    chain,
    draft_fill,
    draft_opening,
    effect,
    genesis,
    natural_key,
    payload_hash,
    preimage,
    rule,
)
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import VenueFill

from tests.unit.ledger.making import ACCOUNT, NOON, VENUE, changed, fill

VENUE_PATH, TRADING = "venue:paper:paper-1:spot", "trading:paper:paper-1"
FEES, REBATES = "fees:paper:paper-1", "rebates:paper:paper-1"


def _trade(made: VenueFill) -> Trade:
    return Trade(VENUE, ACCOUNT, made)


def _draft(made: VenueFill) -> Draft:
    trade = _trade(made)
    return draft_fill(trade, natural_key(trade), payload_hash(trade))


def test_a_buy_with_its_fee_in_a_third_asset() -> None:
    made = fill(7, quantity="1.5", price="50000", fees=(("BNB", "0.00007041"),))
    assert _draft(made).entries == (
        Entry(VENUE_PATH, TRADING, "BTC", Decimal("1.5"), "base"),
        Entry(TRADING, VENUE_PATH, "USDT", Decimal("75000.0"), "quote"),
        Entry(FEES, VENUE_PATH, "BNB", Decimal("0.00007041"), "fee"),
    )


def test_a_sell_books_the_gross_amount_and_the_fee_beside_it() -> None:
    made = fill(7, side=Side.SELL, quantity="2", price="100", fees=(("USDT", "0.2"),))
    assert _draft(made).entries == (
        Entry(VENUE_PATH, TRADING, "USDT", Decimal(200), "quote"),
        Entry(TRADING, VENUE_PATH, "BTC", Decimal(2), "base"),
        Entry(FEES, VENUE_PATH, "USDT", Decimal("0.2"), "fee"),
    )


def test_rebates_and_several_fees_are_entries_of_their_own() -> None:
    made = fill(7, fees=(("BNB", "-0.01"), ("USDT", "3"), ("GT", "1.5")))
    assert _draft(made).entries[2:] == (
        Entry(VENUE_PATH, REBATES, "BNB", Decimal("0.01"), "rebate"),
        Entry(FEES, VENUE_PATH, "USDT", Decimal(3), "fee"),
        Entry(FEES, VENUE_PATH, "GT", Decimal("1.5"), "fee"),
    )


def test_the_two_halves_of_a_self_trade_are_two_journals() -> None:
    buy, sell = fill(9, order=1), fill(9, order=2, side=Side.SELL)
    assert natural_key(_trade(buy)) != natural_key(_trade(sell))
    same_order = fill(9, order=1, side=Side.SELL)
    assert natural_key(_trade(buy)) != natural_key(_trade(same_order))


def test_eighteen_digits_stay_exact() -> None:
    made = fill(1, quantity="1234567890.123456789012345678", price="0.000000000000000001")
    entries = _draft(made).entries
    assert str(entries[0].amount) == "1234567890.123456789012345678"
    assert effect(made)["BTC"] == Decimal("1234567890.123456789012345678")


@pytest.mark.parametrize(
    "field",
    [
        {"quantity": Decimal("0.50000001")},
        {"price": Decimal("60000.01")},
        {"side": Side.SELL},
        {"trade_id": "8"},
        {"venue_order_id": "8"},
        {"symbol": "BTC/USDC"},
        {"fees": ()},
        {"traded_at": NOON + timedelta(milliseconds=1)},
    ],
)
def test_the_hash_sees_every_economic_field(field: dict[str, object]) -> None:
    made = fill(7)
    assert payload_hash(_trade(changed(made, **field))) != payload_hash(_trade(made))


def test_the_hash_sees_nothing_else() -> None:
    made = fill(7, fees=(("BNB", "1"), ("USDT", "2")))
    same = changed(
        fill(7, quantity="0.50000", price="60000", fees=(("USDT", "2.0"), ("BNB", "1.00"))),
        liquidity="maker",
        raw={"other": "dialect"},
        traded_at=NOON + timedelta(microseconds=999),
    )
    assert payload_hash(_trade(same)) == payload_hash(_trade(made))
    assert payload_hash(_trade(changed(made, cost=Decimal(1)))) == payload_hash(_trade(made))


@pytest.mark.parametrize(
    "bad",
    [
        {"quantity": Decimal(0)},
        {"price": Decimal(0)},
        {"cost": Decimal(-1)},
        {"symbol": "BTCUSDT"},
        {"symbol": "BTC/BTC"},
    ],
)
def test_what_no_journal_can_say_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(Unbookable):
        _draft(changed(fill(7), **bad))


def test_an_opening_has_one_journal_per_asset_that_is_held() -> None:
    held = {"USDT": Decimal("5.0"), "BTC": Decimal(1), "ETH": Decimal(0)}
    drafts = draft_opening(VENUE, ACCOUNT, held, NOON)
    assert [d.entries[0].asset for d in drafts] == ["BTC", "USDT"]
    assert drafts[0].entries == (
        Entry(VENUE_PATH, "opening:paper:paper-1", "BTC", Decimal(1), "opening"),
    )
    with pytest.raises(Unbookable):
        draft_opening(VENUE, ACCOUNT, {"BTC": Decimal(-1)}, NOON)


def test_a_chain_links_each_journal_to_the_one_before() -> None:
    drafts = [_draft(fill(n)) for n in (1, 2, 3)]
    start = genesis(1, ACCOUNT)
    links = chain(1, 0, start, drafts)
    assert [link.seq for link in links] == [1, 2, 3]
    assert [link.prev_hash for link in links] == [start, links[0].hash, links[1].hash]
    text = preimage(1, 2, drafts[1])
    assert links[1].hash == hashlib.sha256(links[0].hash + text.encode()).digest()
    assert json.loads(text)[-1][0][4] == "0.5"
    assert genesis(1, "paper-2") != start


@pytest.mark.parametrize(
    ("booked", "opening", "ruling"),
    [
        (None, None, Ruling.WAIT),
        (None, 6, Ruling.BOOK),
        (None, 7, Ruling.COVERED),
        (None, 8, Ruling.COVERED),
        (b"same", 6, Ruling.REPEAT),
        (b"other", 6, Ruling.AMENDED),
        (b"other", None, Ruling.AMENDED),
    ],
)
def test_rulings(booked: bytes | None, opening: int | None, ruling: Ruling) -> None:
    assert rule(_trade(fill(7)), b"same", booked, opening) is ruling


@pytest.mark.parametrize("trade_id", ["", "7a", "-7", "٧", "1" * 19])
def test_a_trade_id_that_cannot_be_ordered_is_refused(trade_id: str) -> None:
    with pytest.raises(Unbookable):
        rule(_trade(changed(fill(7), trade_id=trade_id)), b"", None, 0)
