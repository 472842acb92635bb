"""The nouns of the book: orders, balances, markets, and the events that change them.

Events are the only way the book changes, and they are what the journal keeps: a book is its events
replayed. Money is Decimal; times are the venue's milliseconds.
"""

import random
from dataclasses import dataclass, field
from decimal import Decimal

from orderonce_paper.symbols import LEVELS, Symbol

ZERO = Decimal(0)

OPEN_STATES = frozenset({"NEW", "PARTIALLY_FILLED"})
PRICED_TYPES = frozenset({"LIMIT", "LIMIT_MAKER"})


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as asked for, its filters passed; `quote_quantity` for MARKET by quote amount."""

    account: str
    symbol: str
    client_id: str
    side: str
    kind: str
    time_in_force: str
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Accepted:
    symbol: str
    order_id: int
    account: str
    client_id: str
    side: str
    kind: str
    time_in_force: str
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    time: int
    event: str = "accepted"


@dataclass(frozen=True, slots=True)
class Leg:
    """One account's half of a trade. A side without a leg is the synthetic market's."""

    account: str
    order_id: int
    commission: Decimal
    commission_asset: str


@dataclass(frozen=True, slots=True)
class Traded:
    symbol: str
    trade_id: int
    taker_side: str
    price: Decimal
    quantity: Decimal
    quote: Decimal
    taker: Leg | None
    maker: Leg | None
    time: int
    event: str = "traded"

    def legs(self) -> list[tuple[Leg, str, bool]]:
        """Each account's leg with its side and whether it was the maker."""
        maker_side = "SELL" if self.taker_side == "BUY" else "BUY"
        found: list[tuple[Leg, str, bool]] = []
        if self.taker is not None:
            found.append((self.taker, self.taker_side, False))
        if self.maker is not None:
            found.append((self.maker, maker_side, True))
        return found


@dataclass(frozen=True, slots=True)
class Closed:
    """The rest of an order is gone: CANCELED by its owner, EXPIRED by its own rules."""

    symbol: str
    order_id: int
    status: str
    time: int
    event: str = "closed"
    cancel_id: str = ""  # the cancel's own client id; journals before the streams have none


@dataclass(frozen=True, slots=True)
class Quoted:
    symbol: str
    bid: Decimal
    ask: Decimal
    time: int
    event: str = "quoted"


@dataclass(frozen=True, slots=True)
class Credited:
    """A balance changed without a trade: dust, a dividend, a deduction when negative."""

    account: str
    asset: str
    amount: Decimal
    time: int
    event: str = "credited"


@dataclass(frozen=True, slots=True)
class Busted:
    symbol: str
    trade_id: int
    time: int
    event: str = "busted"


Event = Accepted | Traded | Closed | Quoted | Credited | Busted


@dataclass(slots=True)
class Order:
    made: Accepted
    sequence: int  # 1, 2, ... over all orders of the venue, as they were accepted
    status: str = "NEW"
    executed: Decimal = ZERO
    quote_executed: Decimal = ZERO
    update_time: int = 0
    trades: list[Traded] = field(default_factory=list)

    @property
    def remaining(self) -> Decimal:
        return self.made.quantity - self.executed

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATES


@dataclass(slots=True)
class Balance:
    free: Decimal = ZERO
    locked: Decimal = ZERO


@dataclass(slots=True)
class Account:
    balances: dict[str, Balance]
    orders: dict[str, list[Order]] = field(default_factory=dict)  # by symbol, oldest first
    trades: dict[str, list[Traded]] = field(default_factory=dict)
    open: dict[str, dict[int, Order]] = field(default_factory=dict)  # by symbol, by order id
    by_client_id: dict[tuple[str, str], Order] = field(default_factory=dict)  # the latest one
    update_time: int = 0


Level = tuple[Decimal, Decimal]
Resting = tuple[Decimal, int, Order]  # (price, negated for bids; order id; order): best first


@dataclass(slots=True)
class Market:
    symbol: Symbol
    bid_sizes: tuple[Decimal, ...]
    ask_sizes: tuple[Decimal, ...]
    bids: list[Level]
    asks: list[Level]
    resting_bids: list[Resting] = field(default_factory=list)
    resting_asks: list[Resting] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)  # order id n is at n - 1
    trades: list[Traded] = field(default_factory=list)  # trade id n is at n - 1
    busted: set[int] = field(default_factory=set)
    update_id: int = 1
    last_price: Decimal = ZERO


@dataclass(slots=True)
class Book:
    """The whole venue. `outside` is the synthetic market's money, `fees` the venue's own."""

    markets: dict[str, Market]
    accounts: dict[str, Account]
    outside: dict[str, Decimal]
    fees: dict[str, Decimal]
    accepted: int = 0
    changes: int = 0  # events applied; names each execution in the streams, after a restart too


def sizes_from_seed(seed: int, symbol: Symbol, side: str) -> tuple[Decimal, ...]:
    """Base quantity at each level, growing with its distance; the same for the same seed."""
    source = random.Random(f"{seed}:{symbol.name}:{side}")  # noqa: S311 - a seed, not a secret
    unit = symbol.top_size / 1000
    sizes = (source.randint(500, 1500) * (2 + level) // 2 for level in range(LEVELS))
    return tuple(max(symbol.step, (unit * size) // symbol.step * symbol.step) for size in sizes)


def levels(symbol: Symbol, best: Decimal, sizes: tuple[Decimal, ...], away: int) -> list[Level]:
    """Price levels from the best price outwards (`away` is 1 for asks, -1 for bids)."""
    priced = ((best + away * symbol.gap * n, size) for n, size in enumerate(sizes))
    return [(price, size) for price, size in priced if price >= symbol.tick]


def new_book(
    seed: int, symbols: tuple[Symbol, ...], accounts: dict[str, dict[str, Decimal]]
) -> Book:
    markets = {}
    for symbol in symbols:
        bid_sizes = sizes_from_seed(seed, symbol, "BUY")
        ask_sizes = sizes_from_seed(seed, symbol, "SELL")
        markets[symbol.name] = Market(
            symbol=symbol,
            bid_sizes=bid_sizes,
            ask_sizes=ask_sizes,
            bids=levels(symbol, symbol.bid, bid_sizes, -1),
            asks=levels(symbol, symbol.ask, ask_sizes, 1),
            last_price=symbol.bid,
        )
    opened = {
        name: Account({asset: Balance(free=amount) for asset, amount in balances.items()})
        for name, balances in accounts.items()
    }
    return Book(markets, opened, outside={}, fees={})
