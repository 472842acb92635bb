"""PURE: what each order of a run asks for: spread over accounts and symbols, small, buying and
selling by turns, so that no balance runs out and nothing is left resting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal

TIMES_LEAST = (
    3  # quantities are so many times the venue's least order: a falling price is no denial
)
# Quantities of the paper exchange's markets, used where no order API tells the instruments.
PAPER_QUANTITIES = {"BTC/USDT": "0.001", "ETH/USDT": "0.01", "SOL/USDT": "0.1"}
ACROSS = Decimal("1.01")  # an ioc order's limit lies so far beyond the reference price

Kind = Literal["market", "ioc"]


@dataclass(frozen=True)
class Market:
    """One symbol to trade: how much of it, and for ioc orders at which limits."""

    symbol: str
    quantity: str
    buy_limit: str | None = None
    sell_limit: str | None = None


@dataclass(frozen=True)
class Asked:
    """One order's terms; amounts are text."""

    account: str
    symbol: str
    side: Literal["buy", "sell"]
    type: Literal["market", "limit"]
    quantity: str
    price: str | None
    time_in_force: Literal["gtc", "ioc"]

    def body(self, tag: str) -> dict[str, Any]:
        """The body of POST /v1/orders."""
        told: dict[str, Any] = {
            "account": self.account, "symbol": self.symbol, "side": self.side, "type": self.type,
            "quantity": self.quantity, "client_tag": tag,
        }  # fmt: skip
        if self.price is not None:
            told |= {"price": self.price, "time_in_force": self.time_in_force}
        return told


@dataclass(frozen=True)
class Spread:
    """Gives order n its terms, always the same ones: accounts by turns, then symbols, then sides.
    Each account buys and sells each symbol equally often.
    """

    accounts: Sequence[str]
    markets: Sequence[Market]
    kind: Kind = "market"

    def order(self, number: int) -> Asked:
        """Order `number`, from 0."""
        turn, account = divmod(number, len(self.accounts))
        turn, symbol = divmod(turn, len(self.markets))
        market, buys = self.markets[symbol], turn % 2 == 0
        side: Literal["buy", "sell"] = "buy" if buys else "sell"
        name = self.accounts[account]
        if self.kind == "market":
            return Asked(name, market.symbol, side, "market", market.quantity, None, "gtc")
        limit = market.buy_limit if buys else market.sell_limit
        return Asked(name, market.symbol, side, "limit", market.quantity, limit, "ioc")


def markets_of(
    symbols: Sequence[str], instruments: Sequence[Mapping[str, Any]], quantity: str | None
) -> list[Market]:
    """The chosen symbols with quantities that the venue takes. Raises ValueError naming the symbol
    that cannot be traded."""
    known = {row["symbol"]: row for row in instruments}
    return [_market(symbol, known.get(symbol), quantity) for symbol in symbols]


def paper_markets(symbols: Sequence[str], quantity: str | None) -> list[Market]:
    """Markets where nothing tells the instruments. Raises ValueError for a symbol whose quantity
    is neither given nor the paper exchange's."""
    made = []
    for symbol in symbols:
        chosen = quantity or PAPER_QUANTITIES.get(symbol)
        if chosen is None:
            raise ValueError(f"{symbol}: give --quantity, no order API tells its steps here")
        made.append(Market(symbol, chosen))
    return made


def _market(symbol: str, row: Mapping[str, Any] | None, quantity: str | None) -> Market:
    if row is None or row["reference_price"] is None:
        raise ValueError(f"{symbol}: the venue's list of instruments has no price for it")
    price, tick = Decimal(row["reference_price"]), Decimal(row["tick_size"])
    step, least = Decimal(row["step_size"]), Decimal(row["min_notional"] or 0)
    wanted = max(TIMES_LEAST * least / price, Decimal(row["min_quantity"] or 0), step)
    steps = (wanted / step).to_integral_value(ROUND_CEILING)
    return Market(
        symbol,
        quantity or format(steps * step, "f"),
        format((price * ACROSS) // tick * tick, "f"),
        format((price / ACROSS) // tick * tick, "f"),
    )
