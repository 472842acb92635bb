"""For any trade: nothing is created or lost, and the entries say what the trade did."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from orderonce_ledger.core import (
    Draft,
    Trade,
    chain,
    draft_fill,
    effect,
    genesis,
    natural_key,
    payload_hash,
)
from orderonce_shared.domain.money import multiply
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import Fee, VenueFill

amounts = st.decimals(
    min_value=Decimal("1E-18"), max_value=Decimal("1E15"), places=18, allow_nan=False
)
signed = st.builds(
    lambda amount, paid: amount if paid else amount.copy_negate(), amounts, st.booleans()
)
fees = st.lists(
    st.builds(Fee, st.sampled_from(["BNB", "USDT", "BTC", "GT"]), signed), max_size=4
).map(tuple)
times = st.integers(0, 10**13).map(
    lambda micros: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
)


@st.composite
def fills(draw: st.DrawFn) -> VenueFill:
    quantity, price = draw(amounts), draw(amounts)
    return VenueFill(
        symbol=draw(st.sampled_from(["BTC/USDT", "ETH/BTC", "BNB/USDT"])),
        trade_id=str(draw(st.integers(0, 10**18 - 1))),
        venue_order_id=str(draw(st.integers(0, 10**18))),
        side=draw(st.sampled_from(Side)),
        quantity=quantity,
        price=price,
        cost=multiply(quantity, price),
        fees=draw(fees),
        liquidity="taker",
        traded_at=draw(times),
    )


def _draft(made: VenueFill) -> Draft:
    trade = Trade("paper", "paper-1", made)
    return draft_fill(trade, natural_key(trade), payload_hash(trade))


def _moves(draft: Draft) -> dict[tuple[str, str], Fraction]:
    """In fractions: no decimal context can round what is compared here."""
    moved: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for entry in draft.entries:
        moved[entry.dr, entry.asset] += Fraction(entry.amount)
        moved[entry.cr, entry.asset] -= Fraction(entry.amount)
    return moved


@given(fills())
def test_each_asset_sums_to_zero_and_the_wallet_moves_by_the_trade(made: VenueFill) -> None:
    draft = _draft(made)
    moved = _moves(draft)
    by_asset: dict[str, Fraction] = defaultdict(Fraction)
    held: dict[str, Fraction] = defaultdict(Fraction)
    for (path, asset), amount in moved.items():
        by_asset[asset] += amount
        if path.startswith("venue:"):
            held[asset] += amount
    assert set(by_asset.values()) == {Fraction(0)}
    said = {asset: Fraction(amount) for asset, amount in effect(made).items()}
    assert {asset: amount for asset, amount in held.items() if amount} == said
    assert all(entry.amount > 0 and entry.dr != entry.cr for entry in draft.entries)


@given(fills())
def test_fees_and_rebates_are_never_netted(made: VenueFill) -> None:
    draft = _draft(made)
    booked = [
        (entry.asset, entry.amount if entry.role == "fee" else entry.amount.copy_negate())
        for entry in draft.entries
        if entry.role in ("fee", "rebate")
    ]
    assert booked == [(fee.asset, fee.amount) for fee in made.fees]


@given(fills(), fills())
def test_equal_hashes_mean_equal_economics(one: VenueFill, other: VenueFill) -> None:
    left, right = Trade("paper", "a", one), Trade("paper", "a", other)
    if payload_hash(left) == payload_hash(right):
        assert natural_key(left) == natural_key(right)
        assert effect(one) == effect(other)


@given(st.lists(fills(), max_size=6), st.integers(0, 6))
def test_a_chain_is_the_same_in_one_piece_or_two(made: list[VenueFill], cut: int) -> None:
    drafts = [_draft(fill) for fill in made]
    whole = chain(1, 0, genesis(1, "paper-1"), drafts)
    first = chain(1, 0, genesis(1, "paper-1"), drafts[:cut])
    head = (first[-1].seq, first[-1].hash) if first else (0, genesis(1, "paper-1"))
    assert first + chain(1, *head, drafts[cut:]) == whole
