"""Fingerprints and checks under arbitrary orders."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from orderonce_api import core
from orderonce_shared.domain.order import Instrument, OrderTerms, OrderType, Side, TimeInForce
from orderonce_shared.domain.reasons import DenialCode

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
AMOUNTS = st.decimals(min_value="0.000000000000000001", max_value="99999999999999999999", places=18)
SMALL = st.integers(1, 10**6).map(lambda n: Decimal(n).scaleb(-4))


@st.composite
def orders(draw: st.DrawFn, amounts: st.SearchStrategy[Decimal] = AMOUNTS) -> OrderTerms:
    kind = draw(st.sampled_from(OrderType))
    limit = kind is OrderType.LIMIT
    return OrderTerms(
        draw(st.sampled_from(["paper-1", "paper-2"])),
        draw(st.sampled_from(["BTC/USDT", "ETH/USDT"])),
        draw(st.sampled_from(Side)),
        kind,
        draw(amounts),
        draw(amounts) if limit else None,
        draw(st.sampled_from(TimeInForce)) if limit else TimeInForce.GTC,
        draw(st.booleans()) if limit else False,
    )


TAGS = st.none() | st.text(min_size=1, max_size=8)


def text_of(terms: OrderTerms, tag: str | None) -> str:
    return core.canonical_text("POST", "/v1/orders", core.canonical_place(terms, None, tag))


@given(orders(), TAGS, st.integers(0, 12))
def test_trailing_zeros_change_nothing(terms: OrderTerms, tag: str | None, zeros: int) -> None:
    padded = Decimal(f"{terms.quantity:f}" + "0" * zeros)
    same = OrderTerms(
        terms.account,
        terms.symbol,
        terms.side,
        terms.type,
        padded,
        terms.price,
        terms.time_in_force,
        terms.post_only,
    )
    assert core.fingerprint(terms.account, text_of(terms, tag)) == core.fingerprint(
        same.account, text_of(same, tag)
    )


@given(orders(), TAGS, orders(), TAGS)
def test_equal_fingerprints_mean_equal_orders(
    one: OrderTerms, tag: str | None, two: OrderTerms, other_tag: str | None
) -> None:
    first, second = text_of(one, tag), text_of(two, other_tag)
    same = one == two and tag == other_tag
    assert (core.fingerprint(one.account, first) == core.fingerprint(two.account, second)) == same
    assert (core.differing_fields(first, second) == ()) == same


@given(
    orders(SMALL),
    SMALL,
    SMALL,
    SMALL,
    SMALL,
    SMALL,
    st.none() | SMALL,
    st.none() | SMALL,
    st.booleans(),
    st.integers(-5, 5),
)
def test_checks_agree_with_fractions(
    terms: OrderTerms,
    tick: Decimal,
    step: Decimal,
    least: Decimal,
    most: Decimal,
    notional_min: Decimal,
    quantity_cap: Decimal | None,
    notional_cap: Decimal | None,
    halted: bool,
    seconds: int,
) -> None:
    """The same rules once more, over exact fractions and without an order of calls."""
    rules = Instrument(
        "paper", terms.symbol, "A", "B", tick, step, least, most, notional_min, Decimal("7"), NOW
    )
    facts = core.Facts(NOW, halted, venue_loaded=True, instrument=rules)
    deadline = NOW + timedelta(seconds=seconds)
    quantity = Fraction(terms.quantity)
    price = Fraction(7) if terms.price is None else Fraction(terms.price)
    broken = {
        DenialCode.EXPIRES_IN_PAST: seconds <= 0,
        DenialCode.ACCOUNT_HALTED: halted,
        DenialCode.QUANTITY_STEP: (quantity / Fraction(step)).denominator != 1,
        DenialCode.QUANTITY_MIN: quantity < Fraction(least),
        DenialCode.QUANTITY_MAX: quantity > Fraction(most),
        DenialCode.PRICE_TICK: terms.price is not None
        and (price / Fraction(tick)).denominator != 1,
        DenialCode.NOTIONAL_MIN: price * quantity < Fraction(notional_min),
        DenialCode.QUANTITY_CAP: quantity_cap is not None and quantity > Fraction(quantity_cap),
        DenialCode.NOTIONAL_CAP: notional_cap is not None
        and price * quantity > Fraction(notional_cap),
    }
    expected = next((core.Deny(code) for code in DenialCode if broken.get(code)), core.Pass())
    assert core.check(terms, deadline, facts, core.Caps(quantity_cap, notional_cap)) == expected
