"""The service as a process, on the real Kafka: start, accept, publish, follow, die, stop."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from orderonce_shared.contracts.commands import PlaceCommand, decode_command
from orderonce_shared.domain.identity import client_order_id

from tests.integration.test_order_api_follow import snapshot
from tests.unit.order_api.world import admit, fresh_key, instrument, limit_order, place

PEPPER = "cd" * 32
READY_S = 30.0


class Service:
    def __init__(self, process: asyncio.subprocess.Process, url: str, admin: str) -> None:
        self.process = process
        self.url = url
        self.admin = admin

    async def ready(self) -> None:
        async with httpx.AsyncClient(base_url=self.admin) as admin:
            async with asyncio.timeout(READY_S):
                while True:
                    try:
                        if (await admin.get("/readyz")).status_code == 200:
                            return
                    except httpx.TransportError:
                        assert self.process.returncode is None, "the service ended"
                    await asyncio.sleep(0.1)

    def client(self, key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=10
        )


def settings(database: Any, kafka: str, prefix: str) -> dict[str, str]:
    return {
        **os.environ,
        "ORDER_API_DATABASE_URL": database.order_api_url,
        "ORDER_API_KAFKA_BOOTSTRAP": kafka,
        "ORDER_API_TOPIC_PREFIX": prefix,
        "ORDER_API_PEPPER": PEPPER,
    }


@asynccontextmanager
async def service(
    env: dict[str, str], free_port: Callable[[], int], failpoints: str = ""
) -> AsyncIterator[Service]:
    port, admin_port = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orderonce_api",
        env={
            **env,
            "ORDER_API_PORT": str(port),
            "ORDER_API_ADMIN_PORT": str(admin_port),
            "ORDER_API_FAILPOINTS": failpoints,
        },
    )
    made = Service(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}")
    try:
        await made.ready()
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def prepare(database: Any, env: dict[str, str]) -> str:
    """An account, an instrument, and a key made on the command line."""
    owner = await asyncpg.connect(database.owner_url)
    await admit(owner, "paper-1", "1")
    await instrument(owner, "BTC/USDT")
    await owner.close()
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "orderonce_api",
            "create-key",
            "--client",
            "bot",
            "--accounts",
            "*",
        ),
        *("--scopes", "orders:read,orders:write,orders:cancel,admin", "--name", "test"),
        env=env,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    (line,) = out.decode().splitlines()
    answer = json.loads(line)
    assert set(answer) == {"kid", "key"}
    return str(answer["key"])


@asynccontextmanager
async def commands(kafka: str, prefix: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        f"{prefix}orders.commands", bootstrap_servers=kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def next_place(consumer: AIOKafkaConsumer, limit_s: float = 15.0) -> PlaceCommand:
    record = await asyncio.wait_for(consumer.getone(), limit_s)
    command = decode_command(None, record.value)
    assert isinstance(command, PlaceCommand)
    assert record.key == command.account.encode()
    return command


async def test_accept_publish_follow_and_stop(
    database: Any, kafka_bootstrap: str, topic_prefix: str, free_port: Callable[[], int]
) -> None:
    env = settings(database, kafka_bootstrap, topic_prefix)
    key = await prepare(database, env)
    async with (
        service(env, free_port) as api,
        api.client(key) as bot,
        commands(kafka_bootstrap, topic_prefix) as consumer,
    ):
        idempotency_key = fresh_key()
        reply = await place(bot, idempotency_key)
        assert reply.status_code == 202
        command = await next_place(consumer)
        assert str(command.order_id) == reply.json()["order_id"]
        order = (await bot.get(reply.headers["location"])).json()
        assert order["client_order_id"] == client_order_id("bot", idempotency_key)
        event = snapshot(order, 1, status="sending", claimed_keys=[idempotency_key])
        async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
            await producer.send_and_wait(f"{topic_prefix}orders.events", event.encode(), b"paper-1")
        async with asyncio.timeout(15):
            while order["status"] != "sending":
                await asyncio.sleep(0.05)
                order = (await bot.get(reply.headers["location"])).json()
        owner = await asyncpg.connect(database.owner_url)
        assert await owner.fetchval("SELECT count(*) FROM api.outbox") == 0
        await owner.close()
        metrics = (await bot.get(f"{api.admin}/metrics")).text
        assert 'orderonce_api_accepts_total{kind="place"} 1.0' in metrics
        assert (await bot.get(f"{api.admin}/livez")).status_code == 200
        api.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(api.process.wait(), 12) == 0


async def test_orders_are_accepted_while_kafka_is_away(
    database: Any, kafka_bootstrap: str, topic_prefix: str, free_port: Callable[[], int]
) -> None:
    """The 202 never waits for Kafka; what was accepted meanwhile goes out through a process that
    reaches it.
    """
    away = settings(database, f"127.0.0.1:{free_port()}", topic_prefix)
    key = await prepare(database, away)
    port, admin_port = str(free_port()), str(free_port())
    ports = {"ORDER_API_PORT": port, "ORDER_API_ADMIN_PORT": admin_port}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orderonce_api", env={**away, **ports}
    )
    api = Service(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}")
    try:
        async with api.client(key) as bot:
            async with asyncio.timeout(READY_S):
                while True:
                    try:
                        reply = await place(bot)
                        break
                    except httpx.TransportError:
                        await asyncio.sleep(0.1)
            assert reply.status_code == 202
            ready = await bot.get(f"{api.admin}/readyz")
            assert ready.status_code == 503
            assert ready.json()["troubles"]
    finally:
        process.kill()
        await process.wait()
    env = settings(database, kafka_bootstrap, topic_prefix)
    async with service(env, free_port), commands(kafka_bootstrap, topic_prefix) as consumer:
        assert str((await next_place(consumer)).order_id) == reply.json()["order_id"]


async def test_raw_bytes_that_are_not_http(
    database: Any, kafka_bootstrap: str, topic_prefix: str, free_port: Callable[[], int]
) -> None:
    """Through the real server: a body of 10 MB, a NUL in a header, two lengths; the next request
    is served.
    """
    env = settings(database, kafka_bootstrap, topic_prefix)
    key = await prepare(database, env)
    body = json.dumps(limit_order()).encode()

    def request(extra: bytes, payload: bytes, length: int | None = None) -> bytes:
        size = len(payload) if length is None else length
        return (
            b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
            b"\r\nAuthorization: Bearer "
            + key.encode()
            + b"\r\nIdempotency-Key: "
            + fresh_key().encode()
            + b"\r\nContent-Length: %d\r\n" % size
            + extra
            + b"\r\n"
            + payload
        )

    async with service(env, free_port) as api:
        port = int(api.url.rsplit(":", 1)[1])
        for raw, expected in (
            (request(b"", body), b"202"),
            (request(b"Idempotency-Key: " + b"x" * 16 + b"\r\n", body), b"400"),
            (request(b"X-Bad: a\0b\r\n", body), b"400"),
            (request(b"", b" " * 10_000_000), b"413"),
            (request(b"", b"", 10_000_000), b"413"),
            (b"\0\1\2\3\r\n\r\n", b"400"),
            (request(b"", body), b"202"),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(raw)
            line = await asyncio.wait_for(reader.readline(), 10)
            assert line.split(b" ")[1] == expected, (raw[:60], line)
            writer.close()
