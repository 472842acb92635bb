"""What the verbs need from outside: a venue seen through a key that can only read, and the rows of
the store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from orderonce_shared.domain.venue import VenueFill

from orderonce_ledger.core import Amounts


class Venue(Protocol):
    """Each call raises `VenueUnreachable` when there is no usable answer: an error page is never
    "no trades"."""

    async def time_ms(self) -> int:
        """The venue's clock, in milliseconds since 1970."""
        ...

    async def uid(self) -> str:
        """The venue's own id of the user behind the key."""
        ...

    async def trades(
        self,
        symbol: str,
        *,
        from_id: str | None = None,
        since_ms: int | None = None,
        limit: int = 1000,
    ) -> list[VenueFill]:
        """One page by trade id, from `from_id` on (it included), or the newest one."""
        ...

    async def balances(self) -> dict[str, Decimal]:
        """Total by asset, free and locked."""
        ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """One word about a trade, for `venue_record`. `payload` is JSON text."""

    account: str
    key: str
    digest: bytes
    payload: str


@dataclass(frozen=True, slots=True)
class Head:
    """The end of an account's chain; whoever got it in a transaction holds its lock. `openings`: up
    to which trade the opening balances reach, by symbol."""

    account: str
    shard: int
    venue: str
    seq: int
    hash: bytes
    openings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Admitted:
    """An account as the order API admitted it. `shard` is None until its books are open."""

    account: str
    venue: str
    venue_uid: str
    shard: int | None
    opened_at: datetime | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the books of a symbol begin, and where its statement is read next."""

    symbol: str
    opening: int
    next: int


@dataclass(frozen=True, slots=True)
class OpenBreak:
    break_id: UUID
    type: str
    key: str
    symbol: str | None
    effect: Amounts
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BreakRow:
    """What is written of a break that is seen now; `break_id` counts only if it is a new one."""

    break_id: UUID
    type: str
    key: str
    symbol: str | None
    effect: Amounts
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of one account. `statement_at`: the venue's clock; None when it failed."""

    run_id: UUID
    account: str
    status: str
    reason: str | None
    full: bool
    asked_by: str
    started_at: datetime
    statement_at: datetime | None = None
    venue_trades: int = 0
    ledger_trades: int = 0
    matched: int = 0
    breaks: int = 0
