"""The store of what became of idempotency keys: counts per minute, and the last conflicts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from orderonce_api.store import Row, Store, columns


class KeyStore(Store):
    async def write_counts(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """(client, minute, process id, and the five numbers of tally.What) each."""
        await self._fetch("write_counts", *columns(rows))

    async def write_conflicts(self, rows: Sequence[tuple[Any, ...]], most: int) -> None:
        """(client, conflict id, at, key, order id, differs, kid) each; the newest `most` of each
        client stay. `differs` travels joined by commas: unnest would flatten lists of lists.
        """
        flat = [(*row[:5], ",".join(row[5]), row[6]) for row in rows]
        await self._fetch("write_conflicts", *columns(flat))
        await self._fetch("forget_conflicts", sorted({row[0] for row in rows}), most)

    async def forget_counts(self, before: datetime) -> None:
        await self._fetch("forget_counts", before)

    async def counts_since(self, client: str, since: datetime) -> Row:
        return (await self._fetch("counts_since", client, since))[0]

    async def conflicts_since(
        self, client: str, since: datetime, accounts: list[str] | None, limit: int
    ) -> list[Row]:
        """Newest first, of the accounts that the caller sees (None: all)."""
        return await self._fetch("conflicts_since", client, since, accounts, limit)
