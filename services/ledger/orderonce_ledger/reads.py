"""What the HTTP door shows, read only: rows as they are, for http.py to render. One function per
question."""

from typing import Any
from uuid import UUID

from orderonce_shared.runtime.database import Pool

from orderonce_ledger.store import QUERIES

Rows = list[dict[str, Any]]
Accounts = list[str] | None  # None: every account


class Reads:
    """`accounts` limits what a caller sees; each list is bounded by its `limit`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def accounts(self) -> Rows:
        return await self._rows("list_accounts")

    async def balances(self, account: str) -> Rows:
        return await self._rows("account_balances", account)

    async def last_booked(self, account: str) -> dict[str, Any] | None:
        return await self._row("last_booked", account)

    async def fills(
        self,
        accounts: Accounts,
        order_id: UUID | None,
        after: tuple[int, int] | None,
        limit: int,
    ) -> Rows:
        """Account by account, newest first. `after`: (shard, seq) where the page before ended."""
        return await self._rows("list_fills", accounts, order_id, *(after or (None, None)), limit)

    async def journal(self, shard: int, seq: int) -> dict[str, Any] | None:
        return await self._row("show_journal", shard, seq)

    async def entries(self, shard: int, seq: int) -> Rows:
        return await self._rows("show_entries", shard, seq)

    async def fill(self, shard: int, seq: int) -> dict[str, Any] | None:
        return await self._row("show_fill", shard, seq)

    async def proof(self, accounts: Accounts) -> Rows:
        return await self._rows("last_proof", accounts)

    async def last_runs(self, accounts: Accounts) -> Rows:
        return await self._rows("last_runs", accounts)

    async def breaks(
        self,
        accounts: Accounts,
        status: str | None,
        type_: str | None,
        before: UUID | None,
        limit: int,
    ) -> Rows:
        return await self._rows("list_breaks", accounts, status, type_, before, limit)

    async def break_events(self, break_ids: list[UUID]) -> Rows:
        return await self._rows("break_events", break_ids)

    async def run(self, run_id: UUID) -> Rows:
        return await self._rows("show_run", run_id)

    async def run_proof(self, run_id: UUID) -> Rows:
        return await self._rows("run_proof", run_id)

    async def _rows(self, name: str, *values: Any) -> Rows:
        return [dict(row) for row in await self._pool.fetch(QUERIES[name], *values)]

    async def _row(self, name: str, *values: Any) -> dict[str, Any] | None:
        row = await self._pool.fetchrow(QUERIES[name], *values)
        return None if row is None else dict(row)
