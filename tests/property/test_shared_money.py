"""Money against exact fractions: no digit is ever lost or invented."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orderonce_shared.domain.money import (
    AmountError,
    add,
    average_price,
    canonical_amount,
    is_multiple,
    multiply,
    parse_amount,
    render_amount,
)

digits = st.text("0123456789", min_size=1, max_size=20)
places = st.text("0123456789", min_size=1, max_size=18)
texts = st.one_of(digits, st.builds(lambda whole, part: f"{whole}.{part}", digits, places))
amounts = texts.map(parse_amount)


@given(texts)
def test_render_gives_back_what_was_parsed(text: str) -> None:
    rendered = render_amount(parse_amount(text))

    whole, _, part = text.partition(".")
    assert rendered == (whole.lstrip("0") or "0") + ("." + part if part else "")
    assert parse_amount(rendered) == parse_amount(text)


@given(st.text(max_size=30))
def test_whatever_is_let_through_is_plain(text: str) -> None:
    try:
        amount = parse_amount(text)
    except AmountError:
        return
    assert set(text) <= set("0123456789.")
    assert Fraction(amount) == Fraction(text)


@given(amounts, amounts)
def test_products_and_sums_are_exact(left: Decimal, right: Decimal) -> None:
    assert Fraction(multiply(left, right)) == Fraction(left) * Fraction(right)
    assert Fraction(add(left, right)) == Fraction(left) + Fraction(right)


@given(amounts, amounts)
def test_canonical_text_is_equal_exactly_for_equal_values(left: Decimal, right: Decimal) -> None:
    assert (canonical_amount(left) == canonical_amount(right)) == (left == right)
    assert Fraction(canonical_amount(left)) == Fraction(left)


@given(amounts, amounts.filter(bool))
def test_average_is_the_nearest_of_18_places(cost: Decimal, quantity: Decimal) -> None:
    shown = average_price(cost, quantity)

    assert shown is not None
    exact = Fraction(cost) / Fraction(quantity)
    assert abs(Fraction(shown) - exact) <= Fraction(1, 2 * 10**18)


@given(amounts.filter(bool), st.integers(0, 10**9))
def test_multiples_lie_on_the_grid(step: Decimal, count: int) -> None:
    on_grid = multiply(step, Decimal(count))

    assert is_multiple(on_grid, step)
    half = multiply(step, Decimal("0.5"))
    assert not is_multiple(add(on_grid, half), step)


@given(st.floats())
def test_no_float_gets_in_or_out(number: float) -> None:
    with pytest.raises(AmountError):
        parse_amount(number)
    with pytest.raises(TypeError):
        render_amount(number)  # type: ignore[arg-type]
