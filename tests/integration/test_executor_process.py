"""One executor as a real process on real servers: what its ports, its lock and its end promise.

Whole stories (deaths between two steps, faults of the venue, cancels) are in tests/e2e.
"""

import asyncio
import json
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from orderonce_shared.contracts.commands import PlaceCommand, command_headers
from orderonce_shared.contracts.events import OrderEvent
from orderonce_shared.contracts.topics import COMMANDS, EVENTS, PARTITIONS, Headers
from orderonce_shared.domain.order import OrderType, Side
from orderonce_shared.runtime.ids import new_order_id
from orderonce_shared.runtime.kafka_publisher import Outgoing, Publisher
from orderonce_shared.runtime.tracing import new_traceparent

from tests.line import Child, until
from tests.servers import Database

ACCOUNTS = 4


def place(account: str = "paper-1", seconds: float = 30, **changes: Any) -> PlaceCommand:
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "order_id": new_order_id(),
        "client": "bot",
        "key": "key-" + secrets.token_hex(8),
        "account": account,
        "venue": "paper",
        "symbol": "BTC/USDT",
        "side": Side.BUY,
        "type": OrderType.MARKET,
        "quantity": Decimal("0.001"),
        "accepted_at": now,
        "expires_at": now + timedelta(seconds=seconds),
    }
    return PlaceCommand(**{**values, **changes})


@dataclass
class Rig:
    """A paper exchange, an executor that can be started, and the topics between them and us."""

    prefix: str
    executor: Child
    http: httpx.AsyncClient
    owner: "asyncpg.Pool[Any]"
    publisher: Publisher
    consumer: AIOKafkaConsumer
    admin_url: str
    control_url: str
    events: list[OrderEvent] = field(default_factory=list)

    async def start(self, **env: str) -> None:
        self.executor.start(env)
        await self.executor.wait_ready(self.http)

    async def send(self, *commands: PlaceCommand, schema: str | None = None) -> None:
        records = []
        for command in commands:
            headers: Headers = command_headers(command, new_traceparent())
            if schema is not None:
                headers = [(n, schema.encode() if n == "schema" else v) for n, v in headers]
            topic = self.prefix + COMMANDS
            records.append(Outgoing(topic, command.account, command.encode(), headers))
        assert all(await self.publisher.publish(records))

    async def status(self, *commands: PlaceCommand) -> list[str | None]:
        """The last said status of each."""
        for records in (await self.consumer.getmany(timeout_ms=20)).values():
            self.events += [OrderEvent.decode(record.value) for record in records]
        latest: dict[Any, OrderEvent] = {}
        for event in self.events:
            if event.order_id not in latest or event.version >= latest[event.order_id].version:
                latest[event.order_id] = event
        return [latest[c.order_id].status.value if c.order_id in latest else None for c in commands]

    async def wait_for(self, status: str, *commands: PlaceCommand, limit_s: float = 30) -> None:
        async def all_are() -> bool:
            return set(await self.status(*commands)) == {status}

        await until(all_are, limit_s, f"{len(commands)} orders are {status}")

    async def executed(self) -> int:
        answer = await self.http.get(f"{self.control_url}/control/orders")
        return len(answer.json()["orders"])

    async def troubles(self) -> dict[str, str]:
        answer = await self.http.get(f"{self.admin_url}/readyz")
        found: dict[str, str] = answer.json()["troubles"]
        return found


@pytest.fixture
async def rig(
    database: Database,
    kafka_bootstrap: str,
    topic_prefix: str,
    free_port: Callable[[], int],
    tmp_path: Path,
) -> AsyncIterator[Rig]:
    port, control, admin = free_port(), free_port(), free_port()
    flags = ("--data", str(tmp_path / "paper"), "--port", str(port), "--control-port", str(control))
    paper = Child(
        "paper",
        ("-m", "orderonce_paper", *flags),
        {},
        f"http://127.0.0.1:{port}/api/v3/time",
        tmp_path / "paper.log",
    )
    paper.start()
    async with httpx.AsyncClient(timeout=10) as http:
        await paper.wait_ready(http)
        keys = json.loads((tmp_path / "paper" / "keys.json").read_text())["accounts"]
        env = {
            "EXECUTOR_DATABASE_URL": database.executor_url,
            "EXECUTOR_KAFKA_BOOTSTRAP": kafka_bootstrap,
            "EXECUTOR_TOPIC_PREFIX": topic_prefix,
            "EXECUTOR_ADMIN_PORT": str(admin),
            "EXECUTOR_CREDENTIALS": str(_credentials(tmp_path, keys)),
            "EXECUTOR_VENUE_URLS": json.dumps({"paper": f"http://127.0.0.1:{port}"}),
            "EXECUTOR_WINDOW_MS": "2000",
            "EXECUTOR_VENUE_TIMEOUT_MS": "1500",
        }
        url = f"http://127.0.0.1:{admin}"
        executor = Child(
            "executor",
            ("-m", "orderonce_executor"),
            env,
            f"{url}/readyz",
            tmp_path / "executor.log",
        )
        owner = await asyncpg.create_pool(database.owner_url, min_size=1, max_size=2)
        await owner.executemany(
            "INSERT INTO control.account (account, venue, venue_uid) VALUES ($1, 'paper', $2)",
            [(name, str(entry["uid"])) for name, entry in list(keys.items())[:ACCOUNTS]],
        )
        async with _topics(kafka_bootstrap, topic_prefix) as (publisher, consumer):
            yield Rig(
                topic_prefix,
                executor,
                http,
                owner,
                publisher,
                consumer,
                url,
                f"http://127.0.0.1:{control}",
            )
        executor.kill()
        paper.kill()
        await owner.close()


def _credentials(folder: Path, keys: dict[str, Any]) -> Path:
    accounts = {
        name: {
            "venue": "paper",
            "api_key": entry["trade"]["api_key"],
            "secret": entry["trade"]["secret"],
        }
        for name, entry in keys.items()
    }
    path = folder / "credentials.json"
    path.touch(0o600)
    path.write_text(json.dumps({"accounts": accounts}))
    return path


@asynccontextmanager
async def _topics(bootstrap: str, prefix: str) -> AsyncIterator[tuple[Publisher, AIOKafkaConsumer]]:
    publisher = Publisher(bootstrap, "test")
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    places = [TopicPartition(prefix + EVENTS, n) for n in range(PARTITIONS[EVENTS])]
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
    yield publisher, consumer
    await consumer.stop()
    await publisher.close()


async def test_sigterm_under_load_hands_over_and_nothing_is_placed_twice(rig: Rig) -> None:
    """F16: poll stops, calls in flight are finished, the rest is CLAIMED or still in the topic."""
    orders = [place(f"paper-{1 + n % ACCOUNTS}") for n in range(300)]
    await rig.start()
    await rig.send(*orders)

    async def some_are_filled() -> bool:
        return "filled" in await rig.status(*orders)

    await until(some_are_filled, 20, "the load has begun")
    await rig.executor.stop()
    assert rig.executor.exit_code == 0
    left = await rig.owner.fetch("SELECT DISTINCT state FROM executor.placement")
    assert {row["state"] for row in left} <= {"claimed", "filled"}
    await rig.start()
    await rig.wait_for("filled", *orders)
    assert await rig.executed() == len(orders)


async def test_a_kill_under_load_loses_and_doubles_nothing(rig: Rig) -> None:
    orders = [place(f"paper-{1 + n % ACCOUNTS}") for n in range(300)]
    await rig.start(EXECUTOR_FAILPOINTS="after_record@2=exit")
    await rig.send(*orders)
    assert await rig.executor.wait_dead() == 137
    await rig.start()

    async def all_final() -> bool:
        return set(await rig.status(*orders)) <= {"filled", "not_placed"}

    await until(all_final, 40, "all orders are final")
    placed = (await rig.status(*orders)).count("filled")
    assert await rig.executed() == placed


async def test_a_lost_lock_stops_the_sending_until_there_is_another(rig: Rig) -> None:
    """R8. The process goes on under a new name and takes its own rows up again."""
    await rig.start()
    await rig.owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'orderonce-executor-lock' AND datname = current_database()"
    )
    order = place()
    await rig.send(order)
    await rig.wait_for("filled", order)
    log = rig.executor.log.read_text()
    assert "lock-lost" in log
    assert log.count('"event":"owner"') == 2
    assert await rig.executed() == 1


async def test_another_history_is_refused(rig: Rig) -> None:
    """R13: nothing is claimed or sent, and readyz says what an operator can do."""
    await rig.owner.execute("INSERT INTO executor.timeline (timeline) VALUES ('1:00000001')")
    rig.executor.start()

    async def refuses() -> bool:
        try:
            return "timeline" in await rig.troubles()
        except httpx.HTTPError:
            return False

    await until(refuses, 20, "the executor refuses")
    await rig.send(place())
    await asyncio.sleep(2)
    assert "failed over or was restored" in (await rig.troubles())["timeline"]
    assert await rig.owner.fetchval("SELECT count(*) FROM executor.placement") == 0
    await rig.executor.stop()
    assert rig.executor.exit_code == 0


async def test_a_newer_schema_parks_its_partition_and_no_other(rig: Rig) -> None:
    """F14: not discarded, not stepped over; the other partitions go on."""
    await rig.start()
    before, newer, behind, other = (place(f"paper-{n}") for n in (1, 1, 1, 2))
    await rig.send(before)
    await rig.send(newer, schema="place.v9")
    await rig.send(behind, other)
    await rig.wait_for("filled", before, other)
    later = place("paper-2")
    await rig.send(later)
    await rig.wait_for("filled", later)
    assert await rig.status(newer, behind) == [None, None]
    (trouble,) = (await rig.troubles()).values()
    assert "place.v9" in trouble
    positions = await rig.owner.fetch("SELECT * FROM executor.position ORDER BY next_offset")
    assert [row["next_offset"] for row in positions] == [1, 2]


async def test_a_header_that_is_not_text_takes_no_neighbour_along(rig: Rig) -> None:
    """FastStream decodes all headers of a batch before we see it, and steps over what fails."""
    orders = [place() for _ in range(4)]
    strange: list[Headers] = [
        [("x", b"\xff")],
        [("traceparent", b"\xff\x00")],
        [("x", None)],  # type: ignore[list-item]
        command_headers(orders[3], new_traceparent()),
    ]
    topic = rig.prefix + COMMANDS
    records = [
        Outgoing(topic, order.account, order.encode(), headers)
        for order, headers in zip(orders, strange, strict=True)
    ]
    assert all(await rig.publisher.publish(records))
    await rig.start()
    await rig.wait_for("filled", *orders)
    assert await rig.executed() == len(orders)


async def test_a_key_of_another_user_of_the_venue_is_not_used(rig: Rig) -> None:
    await rig.owner.execute(
        "UPDATE control.account SET venue_uid = '999' WHERE account = 'paper-1'"
    )
    rig.executor.start()

    async def refused() -> bool:
        try:
            return "999" in (await rig.troubles()).get("account paper-1", "")
        except httpx.HTTPError:
            return False

    await until(refused, 20, "the account is refused")
    order, fine = place("paper-1", seconds=2), place("paper-2")
    await rig.send(order, fine)
    await rig.wait_for("filled", fine)
    await rig.wait_for("lapsed", order)
    assert await rig.executed() == 1


async def test_the_admin_port_tells(rig: Rig) -> None:
    await rig.start()
    assert (await rig.http.get(f"{rig.admin_url}/livez")).status_code == 200
    order = place()
    await rig.send(order)
    await rig.wait_for("filled", order)
    text = (await rig.http.get(f"{rig.admin_url}/metrics")).text
    assert 'orderonce_executor_verdicts_total{verdict="acknowledged"} 1.0' in text
    assert "orderonce_executor_claims_total 1.0" in text
    assert 'orderonce_executor_venue_clock_offset_seconds{account="paper-1"}' in text


async def test_it_starts_before_its_database_and_its_venue(rig: Rig) -> None:
    """Whatever order things start in: not ready, and saying why, instead of dead."""
    rig.executor.env["EXECUTOR_VENUE_URLS"] = json.dumps({"paper": "http://127.0.0.1:9"})
    rig.executor.start()

    async def says_why() -> bool:
        try:
            return "does not answer" in (await rig.troubles()).get("account paper-1", "")
        except httpx.HTTPError:
            return False

    await until(says_why, 20, "it says that the venue is away")
    rig.executor.signal(signal.SIGTERM)
    await until(lambda: not rig.executor.running, 12, "it has stopped")
    assert rig.executor.exit_code == 0
