"""A holder of locks that has stopped: acceptance says so at once, and the database ends it."""

import asyncio
import time
from typing import Any

import asyncpg
import pytest
from orderonce_shared.runtime import database as runtime
from orderonce_shared.runtime.database import open_connection, open_pool
from pydantic import SecretStr

from tests.unit.order_api.world import fresh_key, place, problem, world

HALT = "LOCK TABLE control.account IN EXCLUSIVE MODE"


async def test_a_batch_behind_a_lock_is_answered_together(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        async with made.owner.transaction():
            await made.owner.execute(HALT)
            started = time.monotonic()
            replies = await asyncio.gather(*(place(bot, key) for key in [key] * 2 + [None] * 30))
            assert time.monotonic() - started < 4.0  # two batches, a lock time-out each
        for reply in replies:
            assert (reply.status_code, problem(reply)) == (503, "unavailable")
            assert reply.json()["transient"] is True
            assert reply.headers["Retry-After"] == "1"
        assert (await place(bot, key)).status_code == 202


async def test_a_single_order_behind_a_halt_is_not_called_a_twin(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        async with made.owner.transaction():
            await made.owner.execute(HALT)
            reply = await place(bot)
        assert (reply.status_code, problem(reply)) == (503, "unavailable")


async def test_a_frozen_halt_is_ended_by_the_database(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "IDLE_IN_TRANSACTION_LIMIT_S", 0.5)
    async with world(database) as made, made.client() as bot:
        frozen = made.api.pool
        connection = await frozen.acquire()
        await connection.execute("BEGIN")
        await connection.execute(HALT)
        await asyncio.sleep(1.0)
        assert (await place(bot)).status_code == 202
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.execute("SELECT 1")
        await frozen.release(connection)


async def test_every_connection_has_the_limit(database: Any) -> None:
    url = SecretStr(database.order_api_url)
    pool = await open_pool(url, application="test", size=1)
    connection = await open_connection(url, application="test")
    try:
        for asked in (pool, connection):
            shown = await asked.fetchval("SHOW idle_in_transaction_session_timeout")
            assert shown == "5s"
    finally:
        await connection.close()
        await pool.close()
