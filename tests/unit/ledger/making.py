"""What the ledger's tests are made of: trades, records, and a venue that does as it is told."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from orderonce_ledger.book import Received, received
from orderonce_ledger.breaks import LedgerTrade, VenueTrade
from orderonce_ledger.core import Ours, Trade, natural_key, payload_hash, plus
from orderonce_ledger.core import effect as effect_of
from orderonce_shared.contracts.events import FeeTotal
from orderonce_shared.contracts.fills import FillRecord
from orderonce_shared.domain.money import multiply
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import Fee, VenueFill
from orderonce_shared.venues.errors import VenueUnreachable

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ACCOUNT, VENUE = "paper-1", "paper"


def fill(
    number: int,
    *,
    symbol: str = "BTC/USDT",
    side: Side = Side.BUY,
    quantity: str = "0.5",
    price: str = "60000.00",
    cost: str | None = None,
    fees: tuple[tuple[str, str], ...] = (("BNB", "0.00007041"),),
    order: int | None = None,
    at: datetime = NOON,
) -> VenueFill:
    amount, rate = Decimal(quantity), Decimal(price)
    return VenueFill(
        symbol=symbol,
        trade_id=str(number),
        venue_order_id=str(number if order is None else order),
        side=side,
        quantity=amount,
        price=rate,
        cost=multiply(amount, rate) if cost is None else Decimal(cost),
        fees=tuple(Fee(asset, Decimal(paid)) for asset, paid in fees),
        liquidity="taker",
        traded_at=at,
        raw={"id": number},
    )


def at_venue(made: VenueFill) -> VenueTrade:
    trade = Trade(VENUE, ACCOUNT, made)
    return VenueTrade(natural_key(trade), payload_hash(trade), made)


def in_ledger(made: VenueFill, seq: int = 1) -> LedgerTrade:
    trade = Trade(VENUE, ACCOUNT, made)
    return LedgerTrade(natural_key(trade), payload_hash(trade), made, 1, seq)


def record(made: VenueFill, account: str = ACCOUNT, order_id: UUID | None = None) -> bytes:
    """The same trade as the executor reports it."""
    return FillRecord(
        venue=VENUE,
        account=account,
        symbol=made.symbol,
        trade_id=made.trade_id,
        venue_order_id=made.venue_order_id,
        client_order_id=f"oo{made.venue_order_id}",
        order_id=order_id or uuid4(),
        client="bot",
        side=made.side,
        quantity=made.quantity,
        price=made.price,
        cost=made.cost,
        fees=tuple(FeeTotal(asset=fee.asset, amount=fee.amount) for fee in made.fees),
        liquidity="taker",
        traded_at=made.traded_at,
        raw=made.raw,
    ).encode()


def heard(made: VenueFill, account: str = ACCOUNT) -> Received:
    return received(
        Trade(VENUE, account, made),
        Ours(uuid4(), "bot", f"oo{made.venue_order_id}"),
        record(made, account).decode(),
    )


@dataclass
class FakeVenue:
    """One account. `on_balances` runs after each reading of the balances: the moment at which a
    venue moves."""

    opening: dict[str, Decimal] = field(default_factory=lambda: {"USDT": Decimal(10_000_000)})
    fills: list[VenueFill] = field(default_factory=list)
    now: datetime = NOON + timedelta(minutes=10)
    user: str = "1001"
    on_balances: Callable[[], None] = lambda: None
    down: str = ""
    asked: int = 0

    async def time_ms(self) -> int:
        self._ask()
        return int(self.now.timestamp() * 1000)

    async def uid(self) -> str:
        self._ask()
        return self.user

    async def trades(
        self,
        symbol: str,
        *,
        from_id: str | None = None,
        since_ms: int | None = None,
        limit: int = 1000,
    ) -> list[VenueFill]:
        self._ask()
        assert since_ms is None
        own = sorted((f for f in self.fills if f.symbol == symbol), key=lambda f: int(f.trade_id))
        if from_id is None:
            return own[-limit:]
        return [f for f in own if int(f.trade_id) >= int(from_id)][:limit]

    async def balances(self) -> dict[str, Decimal]:
        self._ask()
        held = plus(self.opening, *(effect_of(f) for f in self._real()))
        self.on_balances()
        return held

    def _real(self) -> list[VenueFill]:
        """What the venue lists twice moved the balance once."""
        return list({at_venue(f).key: f for f in self.fills}.values())

    def _ask(self) -> None:
        self.asked += 1
        if self.down:
            raise VenueUnreachable(self.down, {})


def changed(made: VenueFill, **fields: object) -> VenueFill:
    return replace(made, **fields)  # type: ignore[arg-type]
