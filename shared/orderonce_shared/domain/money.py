"""Amounts are Decimal from the first byte to the last. This file is the only door from text to
money.

A binary float cannot hold 0.1; a venue that receives 0.30000000000000004 rejects it or, worse,
trades it. So a float is refused here by type, and text is accepted in plain decimal notation only
(no exponent, sign, NaN or local digits).
"""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

MAX_INTEGER_DIGITS = (
    20  # 10^20 of anything traded is a mistake; far below Postgres' CHECK (amount < 1e40)
)
MAX_DECIMAL_PLACES = 18  # wei, the finest unit in use on spot venues
MAX_BOOKED_PLACES = 30  # costs and fees are products: 18 places of quantity times a price or a rate
AVERAGE_PLACES = 18  # an average price is shown, never booked: the fills behind it are exact

# Decimal's default context rounds to 28 digits. Sums and products of amounts need 2 * 38 digits to
# stay exact.
EXACT = Context(prec=96)

_PLAIN = {
    places: re.compile(rf"[0-9]{{1,{MAX_INTEGER_DIGITS}}}(?:\.[0-9]{{1,{places}}})?", re.ASCII)
    for places in (MAX_DECIMAL_PLACES, MAX_BOOKED_PLACES)
}


class AmountError(ValueError):
    """The text is not an amount in plain decimal notation; the message can be shown to the
    sender.
    """


def parse_amount(text: object, places: int = MAX_DECIMAL_PLACES) -> Decimal:
    """`"0.00100"` -> `Decimal("0.00100")`: scale kept, zero allowed, at most 20 digits before the
    point and `places` (MAX_DECIMAL_PLACES or MAX_BOOKED_PLACES) after it.

    Raises AmountError for anything else: floats and ints (a JSON number has already been through a
    binary float in many clients), signs, exponents, NaN, non-ASCII digits, blanks.
    """
    if not isinstance(text, str):
        raise AmountError("an amount is a string in plain decimal notation, not a JSON number")
    if not _PLAIN[places].fullmatch(text):
        raise AmountError(
            "an amount is digits with an optional point: at most"
            f" {MAX_INTEGER_DIGITS} digits before it"
            f" and {places} after, no sign, no exponent"
        )
    return Decimal(text)


def render_amount(amount: Decimal) -> str:
    """Plain notation with the scale that the amount has: `Decimal("1E-8")` -> `"0.00000001"`.
    Exact.
    """
    if not isinstance(amount, Decimal) or not amount.is_finite():
        raise TypeError(f"not a finite Decimal: {type(amount).__name__}")
    return format(amount, "f")


def canonical_amount(amount: Decimal) -> str:
    """One text per value, for hashes: `Decimal("0.00100")` and `Decimal("0.001")` both give
    `"0.001"`.
    """
    return render_amount(amount.normalize(EXACT)) if amount else "0"


def multiply(left: Decimal, right: Decimal) -> Decimal:
    """The exact product (price times quantity), never rounded to the default context's 28
    digits.
    """
    return EXACT.multiply(left, right)


def add(left: Decimal, right: Decimal) -> Decimal:
    """The exact sum."""
    return EXACT.add(left, right)


def average_price(cost: Decimal, quantity: Decimal) -> Decimal | None:
    """cost / quantity to 18 places, trailing zeros dropped; None when nothing was filled."""
    if quantity == 0:
        return None
    shown = EXACT.divide(cost, quantity).quantize(
        Decimal(1).scaleb(-AVERAGE_PLACES), rounding=ROUND_HALF_EVEN, context=EXACT
    )
    return Decimal(format(shown.normalize(EXACT), "f"))


def is_multiple(amount: Decimal, step: Decimal) -> bool:
    """Whether `amount` lies on the grid of `step` (tick size or step size), exactly."""
    return EXACT.remainder(amount, step) == 0
