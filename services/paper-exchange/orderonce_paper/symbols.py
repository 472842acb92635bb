"""The markets of the venue: their rules, first quotes and synthetic depth, as data.

A market is a row here and nowhere else. XRPBTC moves in steps of 8 digits; WEIUSDT in steps of 18,
and its commissions are never rounded, so that an 18-digit amount can be followed to the last digit.
"""

from dataclasses import dataclass
from decimal import Decimal

D = Decimal

LEVELS = 20  # synthetic price levels on each side of a book
TAKER_FEE = D("0.001")
MAKER_FEE = D("0.0008")


@dataclass(frozen=True, slots=True)
class Symbol:
    """Rules of one market. Amounts in base or quote units; `gap` is the price between levels."""

    name: str
    base: str
    quote: str
    digits: int  # decimals that a price or quantity may carry (-1111 beyond)
    commission_digits: int
    tick: Decimal
    step: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    max_price: Decimal
    min_notional: Decimal
    max_notional: Decimal
    bid: Decimal
    ask: Decimal
    gap: Decimal
    top_size: Decimal
    taker_fee: Decimal = TAKER_FEE
    maker_fee: Decimal = MAKER_FEE


SYMBOLS: tuple[Symbol, ...] = (
    Symbol(
        "BTCUSDT",
        "BTC",
        "USDT",
        8,
        8,
        tick=D("0.01"),
        step=D("0.00001"),
        min_quantity=D("0.00001"),
        max_quantity=D("9000"),
        max_price=D("1000000"),
        min_notional=D("5"),
        max_notional=D("9000000"),
        bid=D("60000.00"),
        ask=D("60001.00"),
        gap=D("1.00"),
        top_size=D("2"),
    ),
    Symbol(
        "ETHUSDT",
        "ETH",
        "USDT",
        8,
        8,
        tick=D("0.01"),
        step=D("0.0001"),
        min_quantity=D("0.0001"),
        max_quantity=D("9000"),
        max_price=D("1000000"),
        min_notional=D("5"),
        max_notional=D("9000000"),
        bid=D("3000.00"),
        ask=D("3000.10"),
        gap=D("0.10"),
        top_size=D("20"),
    ),
    Symbol(
        "SOLUSDT",
        "SOL",
        "USDT",
        8,
        8,
        tick=D("0.01"),
        step=D("0.001"),
        min_quantity=D("0.001"),
        max_quantity=D("90000"),
        max_price=D("100000"),
        min_notional=D("5"),
        max_notional=D("9000000"),
        bid=D("150.00"),
        ask=D("150.02"),
        gap=D("0.02"),
        top_size=D("300"),
    ),
    Symbol(
        "XRPBTC",
        "XRP",
        "BTC",
        8,
        8,
        tick=D("0.00000001"),
        step=D("0.00000001"),
        min_quantity=D("0.00000001"),
        max_quantity=D("9000000"),
        max_price=D("1000"),
        min_notional=D("0.00001"),
        max_notional=D("900"),
        bid=D("0.00001000"),
        ask=D("0.00001001"),
        gap=D("0.00000001"),
        top_size=D("50000"),
    ),
    Symbol(
        "WEIUSDT",
        "WEI",
        "USDT",
        18,
        24,
        tick=D("0.01"),
        step=D("0.000000000000000001"),
        min_quantity=D("0.000000000000000001"),
        max_quantity=D("9000000"),
        max_price=D("1000000"),
        min_notional=D("0.000000000000000001"),
        max_notional=D("9000000"),
        bid=D("1.00"),
        ask=D("1.01"),
        gap=D("0.01"),
        top_size=D("100000"),
    ),
)

OPENING_BALANCES: dict[str, Decimal] = {
    "BTC": D("1000"),
    "ETH": D("20000"),
    "SOL": D("400000"),
    "XRP": D("10000000"),
    "WEI": D("5000000"),
    "USDT": D("100000000"),
}

ACCOUNTS: tuple[str, ...] = tuple(f"paper-{n}" for n in range(1, 9))
