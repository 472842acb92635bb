"""What the verbs need from the outside: a store that compares before it sets, and a venue. Tests
bring their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from orderonce_shared.contracts.topics import Headers
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.order import Instrument
from orderonce_shared.domain.venue import (
    CancelVerdict,
    FindVerdict,
    PlaceRequest,
    PlaceVerdict,
    VenueFill,
)

from orderonce_executor.core import Bar, Seen
from orderonce_executor.placement import Placement


@dataclass(frozen=True, slots=True)
class Letter:
    """A record to be published. `topic` is without the installation's prefix."""

    topic: str
    key: str
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Posted:
    """A letter in the outbox, with its row's id."""

    id: int
    letter: Letter


@dataclass(frozen=True, slots=True)
class Words:
    """What was said about one attempt, kept whether or not it could be applied."""

    attempt: int
    verdict: PlaceVerdict


@dataclass(frozen=True, slots=True)
class Change:
    """One row to be changed from `before` to `after`, with what came along. `after is before`
    stores words and fills alone."""

    before: Placement
    after: Placement
    fills: tuple[VenueFill, ...] = ()
    words: Words | None = None
    seen: Seen | None = None  # kept as evidence when it changes the row
    absence: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """`rows`: per change the row as it is now, or None where the comparison missed and only the
    words were kept."""

    rows: list[Placement | None]
    posted: list[Posted] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CasResult:
    """What the CAS to SENDING made of the rows it was asked for."""

    sent: list[Placement] = field(default_factory=list)
    barred: list[tuple[Placement, Bar]] = field(default_factory=list)
    waiting: list[Placement] = field(
        default_factory=list
    )  # halted, or the venue's clock is unknown
    stale: list[Placement] = field(default_factory=list)  # somebody else changed the row


@dataclass(frozen=True, slots=True)
class SendLimits:
    """Limits of one CAS batch. Smallest window per venue; no smaller one may go out."""

    window_ms: int
    smallest_ms: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Due:
    """Which rows of ours are due: in one of these states, not in `held`, at most `limit`, oldest
    due time first."""

    states: tuple[State, ...]
    held: Sequence[UUID] = ()
    limit: int = 500


class Store(Protocol):
    async def record(self, changes: Sequence[Change]) -> Recorded:
        """One transaction: fills, rows by CAS on (timeline, version), words, outbox."""
        ...

    async def load(self, order_ids: Sequence[UUID]) -> list[Placement]:
        """The rows as they are now, fees counted from the recorded fills."""
        ...

    async def due(self, what: Due) -> list[Placement]: ...

    async def marked(self, limit: int) -> list[Placement]:
        """Rows of ours that might be live although their cancel was accepted."""
        ...

    async def waiting_words(self, limit: int) -> list[tuple[UUID, Words]]:
        """Words that came when their row had moved on."""
        ...

    async def words_applied(self, order_id: UUID, attempt: int) -> None: ...

    async def recorded_fills(self, order_id: UUID) -> tuple[int, Decimal]:
        """(count, summed quantity) of the order's recorded fills."""
        ...

    async def postpone(self, order_ids: Sequence[UUID], pauses_s: Sequence[float]) -> None:
        """Moves due times only: no version, no event."""
        ...


class Venue(Protocol):
    """One account at one venue: shared.venues.adapter.Door."""

    async def place(self, request: PlaceRequest) -> PlaceVerdict: ...

    async def find(
        self, terms_symbol: str, client_order_id: str, *, signed_at_ms: int
    ) -> FindVerdict: ...

    async def cancel(self, symbol: str, client_order_id: str) -> CancelVerdict: ...

    async def order_fills(self, symbol: str, venue_order_id: str) -> list[VenueFill]: ...

    async def trades(
        self,
        symbol: str,
        *,
        from_id: str | None = None,
        since_ms: int | None = None,
        limit: int = 1000,
    ) -> list[VenueFill]: ...

    async def time_ms(self) -> int: ...

    async def instruments(self) -> list[Instrument]: ...

    async def reference_prices(self, symbols: Sequence[str]) -> dict[str, Decimal]: ...

    async def uid(self) -> str: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Offset:
    """Venue's clock minus the database's, in milliseconds, with half of the round trip that
    measured it."""

    offset_ms: int
    uncertain_ms: int
    measured_at: datetime
