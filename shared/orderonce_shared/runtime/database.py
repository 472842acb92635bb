"""Connections to Postgres: one pool per service, checked at the start for the settings that
durability rests on (R11).
"""

import asyncio
from functools import partial

import asyncpg
import orjson
from pydantic import SecretStr

from orderonce_shared.runtime.database_url import reason
from orderonce_shared.runtime.process import LONGEST_PAUSE_S, Process

# What a commit is worth depends on these; a service that promises durability does not start without
# them.
DURABLE_SETTINGS = {"fsync": "on", "full_page_writes": "on"}
DURABLE_COMMITS = frozenset({"on", "remote_apply", "remote_write"})
COMMAND_TIMEOUT_S = (
    30.0  # a statement of ours takes milliseconds; longer means the database is not well
)
CONNECT_TIMEOUT_S = 10.0
# A process that is frozen in the middle of a transaction keeps its locks, and one of a halt stops
# every acceptance. Our transactions wait for nothing but the database (house rule 11), so that one
# that is silent for so long has lost its process: Postgres rolls it back and ends the session.
IDLE_IN_TRANSACTION_LIMIT_S = 5.0

# How often a service that has its pool looks whether Postgres is there, and for how long.
LOOK_EVERY_S = 2.0
LOOK_LIMIT_S = 5.0

# Our statements find rows by key. Postgres plans each of them once per connection, often while its
# tables are empty, and would read the whole, growing table until the next ANALYZE makes it think
# again (decision 0040). Compiling a statement costs more than any of them takes.
BY_KEY = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}

Pool = asyncpg.Pool
Connection = asyncpg.Connection


class NoDatabaseError(RuntimeError):
    """Postgres answered once, and does not any more."""


class NotDurableError(RuntimeError):
    """The server would acknowledge commits that a power cut can take back."""


def _server_settings(application: str) -> dict[str, str]:
    return {
        "application_name": application,
        "timezone": "UTC",
        **BY_KEY,
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_LIMIT_S * 1000:.0f}",
    }


async def _prepare(connection: "asyncpg.Connection") -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: orjson.dumps(value).decode(),
        decoder=orjson.loads,
    )


async def _keep(_: "asyncpg.Connection") -> None:
    """Given back as it is. asyncpg would ask the server to forget session state each time, a round
    trip per statement; ours set none (locks of a session live on connections of their own), and a
    transaction that was left open asyncpg rolls back before it calls this.
    """


async def open_pool(url: SecretStr, *, application: str, size: int = 8) -> "asyncpg.Pool":
    """A pool whose connections speak jsonb as Python objects. Connect directly: transaction-mode
    poolers break prepared statements and session locks. Raises NotDurableError, OSError or
    asyncpg.PostgresError.
    """
    pool = await asyncpg.create_pool(
        url.get_secret_value(),
        min_size=1,
        max_size=size,
        init=_prepare,
        reset=_keep,
        command_timeout=COMMAND_TIMEOUT_S,
        timeout=CONNECT_TIMEOUT_S,
        server_settings=_server_settings(application),
    )
    assert pool is not None
    try:
        await require_durable(pool)
    except BaseException:
        await pool.close()
        raise
    return pool


async def pool_when_ready(
    process: Process, url: SecretStr, *, setting: str, application: str, size: int
) -> "asyncpg.Pool | None":
    """The pool as soon as Postgres answers and lets us in, in whatever order things start; None
    when the process stops before. What is in the way, now or later, is told by /readyz with the
    setting to look at, and at the start once by the log. Raises NotDurableError.
    """
    told = None
    process.health.trouble("database", "not connected yet")
    while not process.stopping.is_set():
        try:
            pool = await open_pool(url, application=application, size=size)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            why = reason(url, setting, error)
            process.health.trouble("database", why)
            if why != told:
                process.log.error("database-refused", why=why)
                told = why
            await process.pause(LONGEST_PAUSE_S)
        else:
            process.health.fine("database")
            watch = partial(_look, pool, url, setting)
            process.start(process.repeat("database", watch, every_s=LOOK_EVERY_S), "database")
            return pool
    return None


async def _look(pool: "asyncpg.Pool", url: SecretStr, setting: str) -> None:
    """Whether Postgres still answers. What the loops meet when it does not they tell as they met
    it: which server it is, and by which setting, none of them knows.
    """
    try:
        async with asyncio.timeout(LOOK_LIMIT_S):
            await pool.fetchval("SELECT 1")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise NoDatabaseError(reason(url, setting, error)) from error


async def open_connection(
    url: SecretStr, *, application: str, settings: dict[str, str] | None = None
) -> "asyncpg.Connection":
    """One connection outside every pool, for a verb that keeps it and throws it away after any
    doubt: a pool would reset it after each use, and loses a place for good when one is cut in
    mid-statement. Raises OSError, TimeoutError or asyncpg.PostgresError.
    """
    connection = await asyncpg.connect(
        url.get_secret_value(),
        command_timeout=COMMAND_TIMEOUT_S,
        timeout=CONNECT_TIMEOUT_S,
        server_settings={**_server_settings(application), **(settings or {})},
    )
    await _prepare(connection)
    return connection


async def require_durable(pool: "asyncpg.Pool") -> None:
    """Raises NotDurableError unless fsync, full_page_writes and synchronous_commit are on."""
    for name, wanted in DURABLE_SETTINGS.items():
        found = await pool.fetchval("SELECT current_setting($1)", name)
        if found != wanted:
            raise NotDurableError(f"Postgres runs with {name} = {found}; orderonce needs {wanted}")
    commit = await pool.fetchval("SELECT current_setting('synchronous_commit')")
    if commit not in DURABLE_COMMITS:
        raise NotDurableError(
            f"Postgres runs with synchronous_commit = {commit}; orderonce needs on"
        )
