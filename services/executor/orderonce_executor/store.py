"""The executor's rows in Postgres: one typed function per query of queries.sql, and the
transactions made of them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast
from uuid import UUID

import asyncpg
import orjson
from orderonce_shared.contracts.wire import render_time
from orderonce_shared.domain.money import render_amount
from orderonce_shared.domain.order import Instrument
from orderonce_shared.domain.venue import Fee, VenueFill
from orderonce_shared.runtime.database import Connection, Pool
from orderonce_shared.runtime.queries import load_queries

from orderonce_executor.core import MAX_REFUSALS, with_fees
from orderonce_executor.events import event_letter, fill_letter
from orderonce_executor.placement import Placement
from orderonce_executor.ports import (
    CasResult,
    Change,
    Due,
    Letter,
    Posted,
    Recorded,
    SendLimits,
    Words,
)
from orderonce_executor.rows import (
    Row,
    cas_result,
    dump,
    headers_to_text,
    placement,
    posted_of,
    save_columns,
    versioned,
    with_fees_now,
)
from orderonce_executor.words import (
    bytes_left,
    fees_from_json,
    fees_to_json,
    order_to_json,
    verdict_from_json,
    verdict_name,
    verdict_to_json,
)

SILENCE_LIMIT_S = 10.0  # ten heartbeats of a process that holds its lock (R8)
Q = load_queries(Path(__file__).parent / "queries.sql")

# What a lost or busy database raises; the caller's loop tries again.
DATABASE_TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
POISON = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)  # one row's own fault
DEADLOCK_TRIES = 3
# Beyond 64 KiB asyncpg grows a statement's buffer by 1 KiB at a time, and copies it each time.
POST_ROWS = 64


class TimelineError(RuntimeError):
    """The database is on another history than these rows: a fail-over or a restore (R13)."""


class RacedError(RuntimeError):
    """Another process claimed the same keys at the same moment: the batch is read again."""


class PgStore:
    """Rows of one process. `owner` is who it is now: a new one each time its lock was lost."""

    def __init__(self, pool: Pool, owner: UUID, timeline: str) -> None:
        self.pool = pool
        self.owner = owner
        self.timeline = timeline

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.pool.acquire() as connection, connection.transaction():
            yield cast(Connection, connection)  # the pool's proxy offers the same

    # ---- R6

    async def record(self, changes: Sequence[Change]) -> Recorded:
        """One transaction; dies before the commit: nothing is stored and the venue is asked again
        (R7); in it: the same; after: the letters wait in the outbox."""
        if not changes:
            return Recorded([])
        for attempt in range(DEADLOCK_TRIES):
            try:
                async with self.transaction() as connection:
                    return await self.record_in(connection, changes)
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                if attempt == DEADLOCK_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def record_in(self, connection: Connection, changes: Sequence[Change]) -> Recorded:
        fresh = await _insert_fills(connection, changes)
        rows: list[Placement | None] = []
        afters: list[Placement] = []
        recount = [
            c.before.order_id
            for c, fills in zip(changes, fresh, strict=True)
            if len(fills) < len(c.fills)
        ]
        recounted = await self._fees_of(connection, recount)
        for change, fills in zip(changes, fresh, strict=True):
            fees = tuple(fee for fill in fills for fee in fill.fees)
            after = with_fees(change.after, fees) if fees else change.after
            total = recounted.get(change.before.order_id)
            if total is not None and total != after.fees:
                after = after._replace(fees=total)
            afters.append(after)
        writes = [i for i, c in enumerate(changes) if afters[i] is not c.before]
        hits = await self._save(connection, [changes[i].before for i in writes], afters, writes)
        for i, change in enumerate(changes):
            rows.append(hits.get(i) if afters[i] is not change.before else change.before)
        await _keep_words(connection, changes, rows)
        letters = [
            fill_letter(change.after, fill)
            for change, fills in zip(changes, fresh, strict=True)
            for fill in fills
        ]
        letters += [event_letter(hits[i]) for i in sorted(hits)]
        return Recorded(rows, await self.post(connection, letters))

    async def _fees_of(
        self, connection: Connection, order_ids: list[UUID]
    ) -> dict[UUID, tuple[Fee, ...]]:
        """Fee totals from the recorded fills: for orders some of whose fills were recorded
        before."""
        if not order_ids:
            return {}
        found = await connection.fetch(Q["load"], order_ids)
        return {row["order_id"]: fees_from_json(row["fees_now"]) for row in found}

    async def _save(
        self,
        connection: Connection,
        befores: list[Placement],
        afters: list[Placement],
        writes: list[int],
    ) -> dict[int, Placement]:
        if not writes:
            return {}
        new = [afters[i] for i in writes]
        columns = save_columns(befores, new)
        found = await connection.fetch(Q["save"], *columns, self.timeline)
        by_id = {row["order_id"]: row for row in found}
        hits: dict[int, Placement] = {}
        for i in writes:
            row = by_id.get(afters[i].order_id)
            if row is not None:
                hits[i] = versioned(afters[i], row["version"], row["updated_at"])
        return hits

    async def post(self, connection: Connection, letters: Sequence[Letter]) -> list[Posted]:
        posted: list[Posted] = []
        for begin in range(0, len(letters), POST_ROWS):
            some = letters[begin : begin + POST_ROWS]
            found = await connection.fetch(
                Q["post"],
                self.owner,
                [x.topic for x in some],
                [x.key for x in some],
                [x.value for x in some],
                [headers_to_text(x) for x in some],
            )
            ids = sorted(row["id"] for row in found)
            assert len(ids) == len(some)
            posted += [Posted(id, letter) for id, letter in zip(ids, some, strict=True)]
        return posted

    # ---- R4

    async def cas_sending(self, asked: Sequence[Placement], limits: SendLimits) -> CasResult:
        """One autocommitted statement. Dies before it: the rows are CLAIMED and another sends them;
        after it: they are SENDING with stamp and window stored, and R7 asks the venue about
        them."""
        by_id = {p.order_id: p for p in asked}
        assert len(by_id) == len(asked), "one row is asked for once"
        found = await self.pool.fetch(
            Q["cas_sending"],
            list(by_id),
            [p.version for p in asked],
            sorted({p.account for p in asked}),
            sorted({p.key_id for p in asked if p.key_id is not None}),
            list(limits.smallest_ms),
            list(limits.smallest_ms.values()),
            limits.window_ms,
            self.timeline,
            MAX_REFUSALS,
            self.owner,
        )
        return cas_result(by_id, found)

    # ---- what is due

    async def load(self, order_ids: Sequence[UUID]) -> list[Placement]:
        rows = await self.pool.fetch(Q["load"], list(order_ids))
        return [with_fees_now(row) for row in rows]

    async def due(self, what: Due) -> list[Placement]:
        rows = await self.pool.fetch(
            Q["due"], self.owner, [s.value for s in what.states], list(what.held), what.limit
        )
        return [placement(row) for row in rows]

    async def lost_senders(
        self, older_than_s: float, held: Sequence[UUID], limit: int
    ) -> list[Placement]:
        rows = await self.pool.fetch(
            Q["lost_senders"], self.owner, timedelta(seconds=older_than_s), list(held), limit
        )
        return [placement(row) for row in rows]

    async def marked(self, limit: int) -> list[Placement]:
        return [placement(row) for row in await self.pool.fetch(Q["marked"], self.owner, limit)]

    async def overdue(self, held: Sequence[UUID], limit: int) -> list[Placement]:
        rows = await self.pool.fetch(Q["overdue"], self.owner, list(held), limit)
        return [placement(row) for row in rows]

    async def waiting_words(self, limit: int) -> list[tuple[UUID, Words]]:
        rows = await self.pool.fetch(Q["waiting_words"], self.owner, limit)
        return [
            (
                row["order_id"],
                Words(row["attempt"], verdict_from_json(row["verdict"], row["word"])),
            )
            for row in rows
        ]

    async def words_applied(self, order_id: UUID, attempt: int) -> None:
        await self.pool.execute(Q["words_applied"], order_id, attempt)

    async def recorded_fills(self, order_id: UUID) -> tuple[int, Decimal]:
        row = await self.pool.fetchrow(Q["fills_of_order"], order_id)
        assert row is not None
        return row["count"], row["quantity"]

    async def postpone(self, order_ids: Sequence[UUID], pauses_s: Sequence[float]) -> None:
        if order_ids:
            await self.pool.execute(Q["postpone"], list(order_ids), list(pauses_s))

    async def look_again(self, account: str) -> None:
        await self.pool.execute(Q["look_again"], self.owner, account)

    # ---- outbox

    async def posted(self, ids: Sequence[int]) -> None:
        await self.pool.execute(Q["posted"], list(ids))

    async def sweep_outbox(self, held: Sequence[int], limit: int) -> list[Posted]:
        rows = await self.pool.fetch(Q["sweep_outbox"], self.owner, list(held), limit)
        return [posted_of(row) for row in rows]

    # ---- owners

    async def dead_processes(self) -> list[UUID]:
        rows = await self.pool.fetch(Q["dead_processes"])
        return [row["process_id"] for row in rows if row["process_id"] != self.owner]

    async def adopt(self, dead: Sequence[UUID], limit: int) -> list[Placement]:
        rows = await self.pool.fetch(Q["adopt"], self.owner, list(dead), limit)
        return [placement(row) for row in rows]

    async def adopt_outbox(self, dead: Sequence[UUID], limit: int) -> list[Posted]:
        rows = await self.pool.fetch(Q["adopt_outbox"], self.owner, list(dead), limit)
        return [posted_of(row) for row in rows]

    async def forget_processes(self, dead: Sequence[UUID]) -> None:
        await self.pool.execute(Q["forget_processes"], list(dead))

    # ---- markets and clocks

    async def present_timeline(self) -> str:
        return str(await self.pool.fetchval(Q["timeline"]))

    async def accounts(self, names: Sequence[str]) -> list[Row]:
        return list(await self.pool.fetch(Q["accounts"], list(names)))

    async def database_clock_ms(self) -> int:
        return int(await self.pool.fetchval(Q["database_clock"]))

    async def save_clock(self, account: str, venue: str, offset_ms: int, uncertain_ms: int) -> None:
        await self.pool.execute(Q["save_clock"], account, venue, offset_ms, uncertain_ms)

    async def save_instruments(self, venue: str, rows: Sequence[Instrument]) -> None:
        await self.pool.execute(
            Q["save_instruments"],
            venue,
            [i.symbol for i in rows],
            [i.base for i in rows],
            [i.quote for i in rows],
            [i.tick_size for i in rows],
            [i.step_size for i in rows],
            [i.min_quantity for i in rows],
            [i.max_quantity for i in rows],
            [i.min_notional for i in rows],
            [i.quote_step for i in rows],
        )

    async def save_reference_prices(self, venue: str, prices: dict[str, Decimal]) -> None:
        await self.pool.execute(
            Q["save_reference_prices"], venue, list(prices), list(prices.values())
        )

    async def counts(self) -> Row:
        return await self.pool.fetchrow(Q["counts"], self.owner)

    async def unknowns(self) -> dict[str, int]:
        """Account -> its UNKNOWN orders, where there are any."""
        rows = await self.pool.fetch(Q["unknowns"], self.owner)
        return {row["account"]: row["orders"] for row in rows}


async def remember_timeline(pool: Pool) -> tuple[str, str]:
    """(the history that our rows belong to, the present one)."""
    await pool.execute(Q["remember_timeline"])
    ours = str(await pool.fetchval(Q["remembered_timeline"]))
    return ours, str(await pool.fetchval(Q["timeline"]))


async def begin_process(connection: Connection, process_id: UUID, host: str, pid: int) -> None:
    """Makes this process alive for as long as `connection` lives. Raises RacedError if the lock is
    taken."""
    async with connection.transaction():
        lock_id = await connection.fetchval(Q["begin_process"], process_id, host, pid)
        if not await connection.fetchval(Q["hold_lock"], lock_id):
            raise RacedError("the lock of a new process is held already")


async def heartbeat(connection: Connection, limit_s: float) -> None:
    await connection.fetchval(Q["database_clock"], timeout=limit_s)


async def end_backend(pool: Pool, backend_pid: int) -> None:
    """Ends our former session at the server, should it live on there behind a broken connection."""
    await pool.fetchval(Q["end_backend"], backend_pid)


async def open_session(url: str, silence_limit_s: float = SILENCE_LIMIT_S) -> Connection:
    """A connection of our own, outside the pool: a pool would release the session's locks.

    Postgres ends it when it has been silent for `silence_limit_s`: a process that is frozen keeps
    its socket, and its orders would wait for it for ever. Should it wake, its CAS misses, and what
    it had on the wire is refused by the window.
    """
    settings = {
        "application_name": "orderonce-executor-lock",
        "idle_session_timeout": str(int(silence_limit_s * 1000)),
    }
    return await asyncpg.connect(url, timeout=10.0, server_settings=settings)


async def _insert_fills(connection: Connection, changes: Sequence[Change]) -> list[list[VenueFill]]:
    """The new fills of each change, in its order."""
    pairs = [(change.before, fill) for change in changes for fill in change.fills]
    if not pairs:
        return [[] for _ in changes]
    found = await connection.fetch(
        Q["insert_fills"],
        [p.venue for p, _ in pairs],
        [p.account for p, _ in pairs],
        [f.symbol for _, f in pairs],
        [f.trade_id for _, f in pairs],
        [f.venue_order_id for _, f in pairs],
        [f.side.value for _, f in pairs],
        [p.order_id for p, _ in pairs],
        [render_amount(f.quantity) for _, f in pairs],
        [render_amount(f.price) for _, f in pairs],
        [render_amount(f.cost) for _, f in pairs],
        [orjson.dumps(fees_to_json(f.fees)).decode() for _, f in pairs],
        [f.liquidity for _, f in pairs],
        [render_time(f.traded_at) for _, f in pairs],
        [orjson.dumps(f.raw, default=str).decode() for _, f in pairs],
    )
    new = {(r["order_id"], r["trade_id"], r["venue_order_id"], r["side"]) for r in found}
    fresh: list[list[VenueFill]] = []
    for change in changes:
        mine: list[VenueFill] = []
        for fill in change.fills:
            name = (
                change.before.order_id,
                fill.trade_id,
                fill.venue_order_id,
                fill.side.value,
            )
            if name in new:
                new.discard(name)
                mine.append(fill)
        fresh.append(mine)
    return fresh


async def _keep_words(
    connection: Connection, changes: Sequence[Change], rows: Sequence[Placement | None]
) -> None:
    spoken = [(c, c.words, row) for c, row in zip(changes, rows, strict=True) if c.words]
    if spoken:
        await connection.execute(
            Q["keep_words"],
            [c.before.order_id for c, _, _ in spoken],
            [w.attempt for _, w, _ in spoken],
            [bytes_left(w.verdict) for _, w, _ in spoken],
            [verdict_name(w.verdict) for _, w, _ in spoken],
            [dump(verdict_to_json(w.verdict)) for _, w, _ in spoken],
            [row is not None for _, _, row in spoken],
        )
    seen = [
        (c, c.seen)
        for c, row in zip(changes, rows, strict=True)
        if c.seen and row is not c.before and row
    ]
    if seen:
        await connection.execute(
            Q["keep_seen"],
            [c.before.order_id for c, _ in seen],
            [c.before.attempt for c, _ in seen],
            [s.source.value for _, s in seen],
            [dump(order_to_json(s.order)) for _, s in seen],
        )
    for change in changes:
        if change.absence is not None:
            await connection.execute(
                Q["keep_absence"],
                change.before.order_id,
                change.before.attempt,
                dump(change.absence),
            )
