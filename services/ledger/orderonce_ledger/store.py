"""One typed function per query that books, opens or reconciles; `reads.py` has those that only
show. Decides nothing.

`Books` is one transaction: what it adds becomes visible together, or never was.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from orderonce_shared.domain.money import render_amount
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import Fee, VenueFill
from orderonce_shared.runtime.database import Pool
from orderonce_shared.runtime.queries import load_queries

from orderonce_ledger.breaks import LedgerTrade, ProofLine
from orderonce_ledger.core import CLASSES, Amounts, Journal, Ours, Trade
from orderonce_ledger.ports import (
    Admitted,
    BreakRow,
    Cursor,
    Evidence,
    Head,
    OpenBreak,
    RunRow,
)

# A writer asks for ids on a second connection of the pool (of 4 at least): with as many writers as
# connections each would wait for another's for ever.
WRITERS = 3
QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

Row = Mapping[str, Any]
# Postgres (or its driver) will never take these rows, however often they are sent. Not among them:
# a key that is taken and a sealed journal, which speak of another writer at the same moment.
Refused = (
    asyncpg.CheckViolationError,
    asyncpg.NotNullViolationError,
    asyncpg.ForeignKeyViolationError,
    asyncpg.DataError,
    UnicodeEncodeError,
)
# The database is not there, or not well: the same question may be asked again.
DATABASE_TROUBLE = asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError


class Directory:
    """Ids of accounts, kept in memory: the rows never change. Made outside of the booking
    transaction, so that an id in memory is always in the database too."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[tuple[str, str], tuple[int, int]] = {}

    async def ids(
        self, wanted: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[int, int]]:
        """(path, asset code) -> (account id, asset id), made where missing."""
        missing = sorted({pair for pair in wanted if pair not in self._known})
        if missing:
            paths, codes = [pair[0] for pair in missing], [pair[1] for pair in missing]
            classes = [CLASSES[path.partition(":")[0]] for path in paths]
            await self._pool.execute(QUERIES["add_assets"], codes)
            await self._pool.execute(QUERIES["add_accounts"], paths, codes, classes)
            for row in await self._pool.fetch(QUERIES["account_ids"], paths, codes):
                self._known[row["path"], row["code"]] = (row["account_id"], row["asset_id"])
        return self._known


class Books:
    """One transaction on the books."""

    def __init__(self, connection: Any, directory: Directory) -> None:
        self._connection = connection
        self._directory = directory

    async def add_records(
        self, origin: str, evidence: Sequence[Evidence]
    ) -> dict[tuple[str, bytes], int]:
        """(key, hash) -> record id of those not heard before."""
        rows = await self._connection.fetch(
            QUERIES["add_records"],
            origin,
            [one.account for one in evidence],
            [one.key for one in evidence],
            [one.digest for one in evidence],
            [one.payload for one in evidence],
        )
        return {(row["natural_key"], row["payload_hash"]): row["record_id"] for row in rows}

    async def lock_heads(self, accounts: Iterable[str]) -> dict[str, Head]:
        """The heads of those accounts whose books are open; the locks last as long as the
        transaction."""
        rows = await self._connection.fetch(QUERIES["lock_heads"], sorted(set(accounts)))
        return {row["account"]: Head(**dict(row)) for row in rows}

    async def booked(self, keys: Sequence[str]) -> dict[str, bytes]:
        rows = await self._connection.fetch(QUERIES["booked_keys"], keys)
        return {row["source_key"]: row["payload_hash"] for row in rows}

    async def add_journals(
        self, journals: Sequence[Journal], fills: Sequence[tuple[Journal, Trade, Ours]] = ()
    ) -> None:
        """Journals with their entries, in chain order, and what those of fills are about."""
        pairs = {(e.dr, e.asset) for journal in journals for e in journal.draft.entries}
        pairs |= {(e.cr, e.asset) for journal in journals for e in journal.draft.entries}
        ids = await self._directory.ids(pairs)
        await self._connection.execute(
            QUERIES["add_journals"],
            *_columns(10, (_journal_row(journal) for journal in journals)),
            *_columns(8, (row for journal in journals for row in _entry_rows(journal, ids))),
            *_columns(17, (_fill_row(*fill) for fill in fills)),
        )

    async def park(self, records: Sequence[tuple[int, str]]) -> None:
        """(record id, account) of fills that wait for their account's opening."""
        if not records:
            return
        ids, accounts = [one[0] for one in records], [one[1] for one in records]
        await self._connection.execute(QUERIES["park"], ids, accounts)

    async def take_parked(self, account: str, limit: int) -> list[tuple[int, str]]:
        """(record id, payload) in the order heard, out of the waiting room."""
        rows = await self._connection.fetch(QUERIES["take_parked"], account, limit)
        return sorted((row["record_id"], row["payload"]) for row in rows)

    async def add_shard(self, account: str, venue: str, opened_at: datetime) -> Head | None:
        """None when the account's books are open already."""
        row = await self._connection.fetchrow(QUERIES["add_shard"], account, venue, opened_at)
        return None if row is None else Head(**dict(row))

    async def add_cursors(self, account: str, openings: Mapping[str, int]) -> None:
        await self._connection.execute(
            QUERIES["add_cursors"], account, list(openings), list(openings.values())
        )

    async def move_cursors(self, account: str, following: Mapping[str, int]) -> None:
        await self._connection.execute(
            QUERIES["move_cursors"], account, list(following), list(following.values())
        )

    async def add_snapshots(
        self, account: str, run_id: UUID | None, taken_at: datetime, balances: Amounts
    ) -> None:
        await self._connection.execute(
            QUERIES["add_snapshots"],
            account,
            run_id,
            taken_at,
            list(balances),
            list(balances.values()),
        )

    async def fills_in_window(
        self, account: str, first: Mapping[str, int], keys: Sequence[str]
    ) -> list[LedgerTrade]:
        """Booked fills per symbol from a trade number on, and those of `keys` wherever they are."""
        rows = await self._connection.fetch(
            QUERIES["fills_in_window"], account, list(first), list(first.values()), keys
        )
        return [_ledger_trade(row) for row in rows]

    async def balances(self, path: str) -> dict[str, Decimal]:
        rows = await self._connection.fetch(QUERIES["balances"], path)
        return {row["asset"]: row["amount"] for row in rows}

    async def open_breaks(self, account: str) -> list[OpenBreak]:
        rows = await self._connection.fetch(QUERIES["open_breaks"], account)
        return [_open_break(row) for row in rows]

    async def raise_breaks(
        self, account: str, run_id: UUID | None, breaks: Sequence[BreakRow]
    ) -> None:
        await self._connection.execute(
            QUERIES["raise_breaks"],
            account,
            run_id,
            [one.break_id for one in breaks],
            [one.type for one in breaks],
            [one.key for one in breaks],
            [one.symbol for one in breaks],
            [_amounts_text(one.effect) for one in breaks],
            [json.dumps(one.detail) for one in breaks],
        )

    async def resolve_breaks(self, run_id: UUID, gone: Sequence[tuple[UUID, str]]) -> None:
        """(break id, the evidence in words)."""
        ids, why = [one[0] for one in gone], [one[1] for one in gone]
        await self._connection.execute(QUERIES["resolve_breaks"], run_id, ids, why)

    async def add_run(self, run: RunRow) -> None:
        await self._connection.execute(
            QUERIES["add_run"],
            run.run_id,
            run.account,
            run.status,
            run.reason,
            run.full,
            run.asked_by,
            run.started_at,
            run.statement_at,
            run.venue_trades,
            run.ledger_trades,
            run.matched,
            run.breaks,
        )

    async def statement_records(self, keys: Sequence[str]) -> dict[tuple[str, bytes], int]:
        """(key, hash) -> record id of the statement's evidence."""
        rows = await self._connection.fetch(QUERIES["statement_records"], keys)
        return {(row["natural_key"], row["payload_hash"]): row["record_id"] for row in rows}

    async def statement_words(self, keys: Sequence[str]) -> dict[str, int]:
        """Keys for which the statement has had more than one content, with how many."""
        rows = await self._connection.fetch(QUERIES["statement_words"], keys)
        return {row["natural_key"]: row["versions"] for row in rows}

    async def add_matches(
        self, run_id: UUID, account: str, matches: Sequence[tuple[int, int, int]]
    ) -> None:
        """(record id, shard, seq)."""
        columns: list[list[int]] = [[one[place] for one in matches] for place in range(3)]
        await self._connection.execute(QUERIES["add_matches"], run_id, account, *columns)

    async def add_proof(self, run_id: UUID, account: str, lines: Sequence[ProofLine]) -> None:
        await self._connection.execute(
            QUERIES["add_proof"],
            run_id,
            account,
            [line.asset for line in lines],
            [line.venue for line in lines],
            [line.ledger for line in lines],
            [line.explained for line in lines],
            [line.in_flight for line in lines],
        )


class Store:
    """The ledger's database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._directory = Directory(pool)
        self._writers = asyncio.Semaphore(WRITERS)

    @contextlib.asynccontextmanager
    async def books(self) -> AsyncIterator[Books]:
        """One transaction. Postgres checks each statement when it ends, and at the commit that no
        journal stayed without entries."""
        async with (
            self._writers,
            self._pool.acquire() as connection,
            connection.transaction(),
        ):
            yield Books(connection, self._directory)

    async def admitted(self) -> list[Admitted]:
        return [Admitted(**dict(row)) for row in await self._pool.fetch(QUERIES["admitted"])]

    async def symbols(self, venue: str) -> list[str]:
        return [row["symbol"] for row in await self._pool.fetch(QUERIES["symbols"], venue)]

    async def cursors(self, account: str) -> dict[str, Cursor]:
        rows = await self._pool.fetch(QUERIES["cursors"], account)
        return {
            row["symbol"]: Cursor(
                row["symbol"], row["opening_trade_number"], row["next_trade_number"]
            )
            for row in rows
        }

    async def parked_symbols(self) -> dict[str, set[str]]:
        """account -> symbols of the fills that wait."""
        waiting: dict[str, set[str]] = {}
        for row in await self._pool.fetch(QUERIES["parked_accounts"]):
            waiting.setdefault(row["account"], set()).add(row["symbol"])
        return waiting

    async def symbols_without_cursor(self) -> dict[str, set[str]]:
        """account -> symbols that came after the account's opening."""
        missing: dict[str, set[str]] = {}
        for row in await self._pool.fetch(QUERIES["symbols_without_cursor"]):
            missing.setdefault(row["account"], set()).add(row["symbol"])
        return missing

    async def recomputed_balances(self, account: str) -> dict[tuple[str, str], Decimal]:
        """(path, asset) -> the sum of every posting, for comparison with the kept balances."""
        rows = await self._pool.fetch(QUERIES["recomputed_balances"], account)
        return {(row["path"], row["asset"]): row["amount"] for row in rows}

    async def vital_signs(self) -> Row:
        row = await self._pool.fetchrow(QUERIES["vital_signs"])
        assert row is not None
        return dict(row)


def _columns(width: int, rows: Iterable[tuple[Any, ...]]) -> Iterable[Sequence[Any]]:
    """Rows of `width` members -> one array per column, also when there are no rows."""
    return list(zip(*rows, strict=True)) or [()] * width


def _journal_row(journal: Journal) -> tuple[Any, ...]:
    draft = journal.draft
    return (
        journal.shard,
        journal.seq,
        draft.kind,
        draft.source,
        draft.source_key,
        draft.payload_hash,
        draft.event_at,
        len(draft.entries),
        journal.prev_hash,
        journal.hash,
    )


def _entry_rows(
    journal: Journal, ids: Mapping[tuple[str, str], tuple[int, int]]
) -> list[tuple[Any, ...]]:
    rows = []
    for line, entry in enumerate(journal.draft.entries, start=1):
        dr, asset = ids[entry.dr, entry.asset]
        cr, _ = ids[entry.cr, entry.asset]
        rows.append((journal.shard, journal.seq, line, asset, dr, cr, entry.amount, entry.role))
    return rows


def _fill_row(journal: Journal, trade: Trade, ours: Ours) -> tuple[Any, ...]:
    fill = trade.fill
    return (
        journal.shard,
        journal.seq,
        trade.account,
        trade.venue,
        fill.symbol,
        fill.trade_id,
        fill.venue_order_id,
        ours.client_order_id,
        ours.order_id,
        ours.client,
        fill.side.value,
        fill.quantity,
        fill.price,
        fill.cost,
        json.dumps([[fee.asset, render_amount(fee.amount)] for fee in fill.fees]),
        fill.liquidity,
        fill.traded_at,
    )


def _amounts_text(amounts: Amounts) -> str:
    return json.dumps({asset: render_amount(amount) for asset, amount in amounts.items()})


def _open_break(row: asyncpg.Record) -> OpenBreak:
    effect = {asset: Decimal(text) for asset, text in row["effect"].items()}
    return OpenBreak(
        row["break_id"], row["type"], row["natural_key"], row["symbol"], effect, row["detail"]
    )


def _ledger_trade(row: asyncpg.Record) -> LedgerTrade:
    fill = VenueFill(
        symbol=row["symbol"],
        trade_id=row["trade_id"],
        venue_order_id=row["venue_order_id"],
        side=Side(row["side"]),
        quantity=row["quantity"],
        price=row["price"],
        cost=row["cost"],
        fees=tuple(Fee(asset, Decimal(amount)) for asset, amount in row["fees"]),
        liquidity=row["liquidity"],
        traded_at=row["traded_at"],
    )
    return LedgerTrade(row["source_key"], row["payload_hash"], fill, row["shard"], row["seq"])
