"""The one door from text to money: what it lets through, what it refuses, and that nothing is
rounded."""

from decimal import Decimal
from typing import Any

import pytest
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


@pytest.mark.parametrize(
    "text",
    ["0", "0.0", "1", "0.00100", "007", "99999999999999999999.999999999999999999"],
)
def test_plain_notation_keeps_its_scale(text: str) -> None:
    assert str(parse_amount(text)) == str(Decimal(text))
    assert render_amount(parse_amount(text)) == str(Decimal(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " 1",
        "1 ",
        "1\n",
        "1\t",
        "1\0",
        "+1",
        "-1",
        "-0",
        "1e3",
        "1E3",
        "NaN",
        "nan",
        "sNaN",
        "Infinity",
        "-inf",
        ".5",
        "5.",
        "1.2.3",
        "1,5",
        "1_000",
        "0x10",
        "١",  # an Arabic digit: Decimal alone would read it
        "１",  # a full-width digit
        "1٠",
        "100000000000000000000",  # 10^20
        "0.0000000000000000001",  # 19 places
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(AmountError):
        parse_amount(text)


@pytest.mark.parametrize("value", [0.1, 1, True, None, b"1", Decimal(1), ["1"], float("nan")])
def test_only_text_is_parsed(value: Any) -> None:
    """A JSON number has been through a binary float in many clients before it gets here."""
    with pytest.raises(AmountError, match="string"):
        parse_amount(value)


@pytest.mark.parametrize("value", [0.1, 1, "1", Decimal("NaN"), Decimal("Infinity")])
def test_only_a_finite_decimal_is_rendered(value: Any) -> None:
    with pytest.raises(TypeError):
        render_amount(value)


def test_rendering_never_uses_an_exponent() -> None:
    assert render_amount(Decimal("1E-8")) == "0.00000001"
    assert render_amount(Decimal("1E+3")) == "1000"


def test_canonical_text_is_one_per_value() -> None:
    for text in ("0.00100", "0.001", "0.0010"):
        assert canonical_amount(Decimal(text)) == "0.001"
    for text in ("0", "0.000", "0E+5", "-0"):
        assert canonical_amount(Decimal(text)) == "0"
    assert canonical_amount(Decimal("1E+3")) == canonical_amount(Decimal("1000.00")) == "1000"


def test_products_and_sums_are_not_rounded_to_28_digits() -> None:
    most = Decimal("99999999999999999999.999999999999999999")
    least = Decimal("0.000000000000000001")

    assert multiply(most, least) == Decimal("99.999999999999999999999999999999999999")
    assert add(most, least) == Decimal("100000000000000000000")


def test_average_price() -> None:
    assert average_price(Decimal("0"), Decimal("0")) is None
    assert str(average_price(Decimal("50.0000"), Decimal("0.00100"))) == "50000"
    third = average_price(Decimal("1"), Decimal("3"))
    assert third == Decimal("0.333333333333333333")
    tiny = average_price(Decimal("0.000000000000000001"), Decimal("99999999999999999999"))
    assert tiny == 0
    largest = average_price(Decimal("99999999999999999999"), Decimal("0.000000000000000001"))
    assert largest is not None
    assert render_amount(largest) == "99999999999999999999" + "0" * 18


def test_the_grid_is_checked_exactly() -> None:
    assert is_multiple(Decimal("0.3"), Decimal("0.1"))  # with floats 0.3 % 0.1 is 0.1
    assert is_multiple(Decimal("0"), Decimal("0.1"))
    assert not is_multiple(Decimal("0.30000000000000001"), Decimal("0.1"))
    assert is_multiple(Decimal("99999999999999999999.99999999"), Decimal("0.00000001"))
