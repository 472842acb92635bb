"""A service that loses Postgres after its start says which server, and which setting names it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from orderonce_shared.runtime import database as runtime
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.process import Process
from pydantic import SecretStr

from tests.line import until
from tests.servers import pick_port

LIMIT_S = 20


@dataclass
class Wire:
    """A way to Postgres that a test can cut and mend, on one port."""

    to: str
    port: int
    listening: asyncio.Server | None = None
    ends: set[asyncio.StreamWriter] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def mend(self) -> None:
        self.listening = await asyncio.start_server(self._join, "127.0.0.1", self.port)

    async def cut(self) -> None:
        assert self.listening is not None
        self.listening.close()
        for end in self.ends:
            end.transport.abort()
        self.ends.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.to)
        there = await asyncio.open_connection(parts.hostname, parts.port)
        self.ends |= {writer, there[1]}
        for source, sink in ((reader, there[1]), (there[0], writer)):
            task = asyncio.create_task(_copy(source, sink))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@asynccontextmanager
async def started(url: str) -> AsyncIterator[Process]:
    """A process that has got its pool, at this URL."""
    process = Process(configure_logs("test"))
    pool = await runtime.pool_when_ready(
        process, SecretStr(url), setting="ORDER_API_DATABASE_URL", application="test", size=2
    )
    assert pool is not None
    try:
        yield process
    finally:
        await process.finish()
        await asyncio.wait_for(pool.close(), LIMIT_S)


async def test_a_database_that_is_lost_later_is_named_with_its_setting(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else asks the database here: an idle service, too, says that it is gone, and that it
    is back.

    Guard: the look that goes on after the start.
    """
    monkeypatch.setattr(runtime, "LOOK_EVERY_S", 0.05)
    parts = urlsplit(database.order_api_url)
    assert parts.password
    wire = Wire(database.order_api_url, pick_port())
    await wire.mend()
    url = parts._replace(netloc=f"{parts.username}:{parts.password}@localhost:{wire.port}")
    async with started(url.geturl()) as process:
        assert process.health.troubles == {}
        await wire.cut()
        named = f"ORDER_API_DATABASE_URL: localhost:{wire.port}"
        await until(lambda: _says(process, named), LIMIT_S, "the server is named")
        assert parts.password not in str(process.health.troubles)
        await wire.mend()
        await until(lambda: _is_well(process), LIMIT_S, "the trouble is over")
    await wire.cut()


async def test_a_role_that_is_locked_out_later_is_named(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections are ended and no new one is let in: what the server says of it is told."""
    monkeypatch.setattr(runtime, "LOOK_EVERY_S", 0.05)
    owner: asyncpg.Connection[Any] = await asyncpg.connect(database.owner_url)
    name = urlsplit(database.order_api_url).path.lstrip("/")
    async with started(database.order_api_url) as process:
        await owner.execute(f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC, order_api')
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = $1 AND usename = 'order_api'",
            name,
        )
        await until(lambda: _says(process, f'permission denied for database "{name}"'), LIMIT_S,
                    "it says what lets it in no more")  # fmt: skip
        assert "ORDER_API_DATABASE_URL: " in process.health.troubles["database"]
        await owner.execute(f'GRANT CONNECT ON DATABASE "{name}" TO PUBLIC')
        await until(lambda: _is_well(process), LIMIT_S, "the trouble is over")
    await owner.close()


async def _says(process: Process, words: str) -> bool:
    return words in process.health.troubles.get("database", "")


async def _is_well(process: Process) -> bool:
    return "database" not in process.health.troubles
