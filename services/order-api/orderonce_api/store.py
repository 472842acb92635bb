"""The order API's only door to Postgres: one typed function per query, and errors sorted by what
they prove.

`StatementFailed` and `TryAgain`: rolled back, nothing happened. `Busy` and `KeyHeld`: rolled back
after the lock time-out. `Lost`: no answer; the statement may have been committed, so nobody may
conclude anything from it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from orderonce_shared.runtime.bearer import Bearer, Caller
from orderonce_shared.runtime.database import Connection, Pool, open_connection
from orderonce_shared.runtime.queries import load_queries
from pydantic import SecretStr

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
LOCK_LIMIT_MS = 1_000  # how long a twin or a halt may hold us up
STATEMENT_LIMIT_MS = 4_000
KEY_RELATION = "idempotency_key_"  # the partitions' names begin with it
ANSWER_LIMIT_S = 5.0  # later than Postgres' own limit, so that its word usually comes first
CONNECT_LIMIT_S = 3.0
_WRITER_SETTINGS = {
    "lock_timeout": str(LOCK_LIMIT_MS),
    "statement_timeout": str(STATEMENT_LIMIT_MS),
    "plan_cache_mode": "force_generic_plan",  # planning each batch would cost more than running it
}

Row = Any  # asyncpg.Record: columns by name


class StoreError(Exception):
    """Base of what can go wrong here."""


class StatementFailed(StoreError):
    """Refused by the database; nothing was written."""


class TryAgain(StoreError):
    """Deadlock or serialization failure; nothing was written."""


class Busy(StoreError):
    """A lock was not to be had in time; nothing was written."""


class KeyHeld(Busy):
    """The lock was another's on a row of an idempotency key: certainly a twin."""


class Lost(StoreError):
    """No answer: the database is away, or was lost in the middle. What was asked may have
    happened.
    """


@contextmanager
def _sorted_errors() -> Iterator[None]:
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        # Whom it waited for stands in the context, where the words are in the server's language
        # and the relation's name is not: `while locking tuple (0,1) in relation "…"`.
        held = KEY_RELATION in (error.context or "")
        raise (KeyHeld if held else Busy)(str(error)) from error
    except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
        raise TryAgain(str(error)) from error
    except (
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.IdleInTransactionSessionTimeoutError,  # we were frozen; the session is ended
        asyncpg.ReadOnlySQLTransactionError,
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.InternalClientError,  # a connection that was cut under its own feet
        asyncpg.ObjectNotInPrerequisiteStateError,  # a database that takes no connections
        OSError,
        TimeoutError,
    ) as error:
        raise Lost(f"{type(error).__name__}: {error}") from error
    except asyncpg.PostgresError as error:
        raise StatementFailed(f"{type(error).__name__}: {error}") from error
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError):  # an argument that no column can hold
            raise StatementFailed(f"{type(error).__name__}: {error}") from error
        raise Lost(f"{type(error).__name__}: {error}") from error


class Writer:
    """One connection for one group commit, kept between batches and thrown away after any doubt."""

    def __init__(self, url: SecretStr, application: str) -> None:
        self._url = url
        self._application = application
        self._connection: Connection | None = None

    async def fetch(self, query: str, *arguments: Any) -> list[Row]:
        with _sorted_errors():
            connection = await self._ready()
            try:
                rows: list[Row] = await connection.fetch(
                    QUERIES[query], *arguments, timeout=ANSWER_LIMIT_S
                )
            except (OSError, TimeoutError, asyncpg.InternalClientError, asyncpg.InterfaceError):
                self._discard()
                raise
            return rows

    async def _ready(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._discard()
            async with asyncio.timeout(CONNECT_LIMIT_S):
                self._connection = await open_connection(
                    self._url, application=self._application, settings=_WRITER_SETTINGS
                )
        return self._connection

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """At the end of the process."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close(timeout=CONNECT_LIMIT_S)


class PlaceRow(NamedTuple):
    """One line for `accept`, in the order of its arrays."""

    client: str
    key: str
    command_id: UUID
    fingerprint: bytes
    canonical: str
    http_status: int
    body: bytes
    key_id: str
    account: str
    venue: str
    symbol: str
    side: str
    type: str
    quantity: Decimal | None
    price: Decimal | None
    time_in_force: str
    post_only: bool
    client_tag: str | None
    client_order_id: str
    payload_hash: str
    traceparent: str
    deadline: datetime
    denial_code: str | None
    denial_detail: str | None
    schema: str
    quote_quantity: Decimal | None


class CancelRow(NamedTuple):
    """One line for `accept_cancels`, in the order of its arrays."""

    client: str
    key: str
    command_id: UUID
    fingerprint: bytes
    canonical: str
    http_status: int
    body: bytes
    key_id: str
    account: str
    order_id: UUID
    traceparent: str


def columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows to the arrays that unnest takes."""
    return [list(column) for column in zip(*rows, strict=True)]


async def look_up(writer: Writer, asked: Sequence[tuple[str, str, str, str, str]]) -> list[Row]:
    """(client, key, account, symbol, kid) each -> a row each, in order."""
    return await writer.fetch("look_up", *columns(asked))


async def look_up_cancels(writer: Writer, asked: Sequence[tuple[str, str, UUID, str]]) -> list[Row]:
    """(client, key, order_id, kid) each -> a row each, in order."""
    return await writer.fetch("look_up_cancels", *columns(asked))


async def accept(
    writer: Writer, rows: Sequence[PlaceRow], *, version: int, now: datetime
) -> dict[tuple[str, str], Row]:
    """One committed statement. (client, key) -> the row of the key, whoever made it; ours carry
    the command_id that was offered, and accept_seq and timeline.
    """
    found = await writer.fetch("accept", *columns(rows), version, now)
    return {(row["client"], row["key"]): row for row in found}


async def accept_cancels(
    writer: Writer, rows: Sequence[CancelRow], *, version: int, now: datetime
) -> dict[tuple[str, str], Row]:
    found = await writer.fetch("accept_cancels", *columns(rows), version, now)
    return {(row["client"], row["key"]): row for row in found}


class Store:
    """Reads and the small writes: through the pool, one statement each unless it says otherwise."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def _fetch(self, query: str, *arguments: Any) -> list[Row]:
        with _sorted_errors():
            async with self._pool.acquire(timeout=CONNECT_LIMIT_S) as connection:
                rows: list[Row] = await connection.fetch(
                    QUERIES[query], *arguments, timeout=ANSWER_LIMIT_S
                )
                return rows

    async def _one(self, query: str, *arguments: Any) -> Row | None:
        rows = await self._fetch(query, *arguments)
        return rows[0] if rows else None

    async def _after(self, first: str, query: str, *arguments: Any) -> list[Row]:
        """One statement after another (a LOCK TABLE, a SET LOCAL) in one transaction: what that is
        for stands in queries.sql.
        """
        with _sorted_errors():
            async with (
                self._pool.acquire(timeout=CONNECT_LIMIT_S) as connection,
                connection.transaction(),
            ):
                await connection.execute(QUERIES[first], timeout=ANSWER_LIMIT_S)
                rows: list[Row] = await connection.fetch(
                    QUERIES[query], *arguments, timeout=ANSWER_LIMIT_S
                )
                return rows

    async def take_due(self, limit: int, longest_pause_s: float) -> list[Row]:
        return await self._fetch("take_due", limit, longest_pause_s)

    async def ask_again(self, quiet_s: float, longest_pause_s: float, limit: int) -> int:
        """Puts quiet orders back into the outbox; gives how many. Planned anew each time: a plan
        made while the outbox was empty reads all of it for every order once it is long.
        """
        return len(await self._after("plan_anew", "ask_again", quiet_s, longest_pause_s, limit))

    async def retry_soon(self, keys: Sequence[tuple[str, str]]) -> None:
        await self._fetch("retry_soon", *columns(keys))

    async def resting_letters(self, letter_ids: Sequence[UUID]) -> set[UUID]:
        """Of these, the letters that were not replayed."""
        return {row["letter_id"] for row in await self._fetch("resting_letters", letter_ids)}

    async def measure_line(self, topic: str, refused_in_a_row: int) -> dict[str, datetime]:
        rows = await self._fetch("measure_line", topic, refused_in_a_row)
        return {row["account"]: row["oldest"] for row in rows}

    async def measure_outbox(self, topic: str) -> tuple[int, float]:
        """Unclaimed commands, and the age of the oldest in seconds; `topic` is the commands'."""
        row = (await self._fetch("measure_outbox", topic))[0]
        return row["unclaimed"], row["oldest_s"] or 0.0

    async def follow_events(
        self, events: Sequence[tuple[Any, ...]], claims: Sequence[tuple[str, str]]
    ) -> Row:
        claimed = columns(claims) if claims else [[], []]
        return (await self._fetch("follow_events", *columns(events), *claimed))[0]

    async def follow_fills(self, fills: Sequence[tuple[Any, ...]]) -> int:
        return len(await self._fetch("follow_fills", *columns(fills)))

    async def order_by_id(self, client: str, order_id: UUID) -> Row | None:
        return await self._one("order_by_id", order_id, client)

    async def order_by_key(self, client: str, key: str) -> Row | None:
        return await self._one("order_by_key", client, key)

    async def list_orders(self, client: str, *asked: Any, limit: int) -> list[Row]:
        """`asked`: the parameters of the query between client and limit, in their order."""
        return await self._after("plan_anew", "list_orders", client, *asked, limit)

    async def settled_orders(self, asked: Sequence[tuple[UUID, bool]]) -> list[Row]:
        """(order id, whether `open` is an answer) each -> the orders that have settled."""
        return await self._fetch("settled_orders", *columns(asked)) if asked else []

    async def order_events(self, order_id: UUID, limit: int) -> list[Row]:
        return await self._fetch("order_events", order_id, limit)

    async def order_fills(self, order_id: UUID, limit: int) -> list[Row]:
        return await self._fetch("order_fills", order_id, limit)

    async def accounts(self, names: list[str] | None) -> list[Row]:
        return await self._fetch("accounts", names)

    async def instruments(self, venue: str) -> list[Row]:
        return await self._fetch("instruments", venue)

    async def database_time(self) -> datetime:
        moment: datetime = (await self._fetch("database_time"))[0][0]
        return moment

    async def create_key(self, *values: Any) -> Row:
        return (await self._fetch("create_key", *values))[0]

    async def list_keys(self) -> list[Row]:
        return await self._fetch("list_keys")

    async def revoke_key(self, kid: str, reason: str | None) -> tuple[Row | None, bool]:
        """(the key, whether it may be revoked): the second is False for the
        last living admin key.
        """
        with _sorted_errors():
            async with (
                self._pool.acquire(timeout=CONNECT_LIMIT_S) as connection,
                connection.transaction(),
            ):
                await connection.execute(QUERIES["lock_keys"], timeout=ANSWER_LIMIT_S)
                found = await connection.fetchrow(QUERIES["find_key"], kid)
                if found is None:
                    return None, True
                is_admin = found["status"] == "active" and "admin" in found["scopes"]
                if is_admin and not await connection.fetchval(QUERIES["other_admin_keys"], kid):
                    return found, False
                revoked = await connection.fetchrow(QUERIES["revoke_key"], kid, reason)
                return revoked or found, True

    async def admit_account(self, account: str, venue: str, venue_uid: str) -> Row | None:
        """None when the name or the venue's user is taken."""
        return await self._one("admit_account", account, venue, venue_uid)

    async def halt_account(self, account: str, reason: str | None) -> Row | None:
        rows = await self._after("lock_accounts", "halt_account", account, reason)
        return rows[0] if rows else None

    async def resume_account(self, account: str) -> Row | None:
        rows = await self._after("lock_accounts", "resume_account", account)
        return rows[0] if rows else None

    async def on_the_wire(self, account: str) -> list[str]:
        return [str(row["order_id"]) for row in await self._fetch("on_the_wire", account)]


async def identify(bearer: Bearer, authorization: str | None) -> Caller:
    """Raises CredentialsInvalidError, or StoreError when the database cannot be asked."""
    with _sorted_errors():
        return await bearer.identify(authorization)
