"""What the verbs need of a venue: one account, seen through a key that can only read."""

from decimal import Decimal
from typing import Protocol

from orderonce_shared.domain.venue import VenueFill


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
