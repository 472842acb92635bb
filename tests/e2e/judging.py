"""Shorthands of the end-to-end tests: the auditor's judgement, an order's history, records."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from orderonce_shared.contracts.commands import (
    CancelCommand,
    Command,
    PlaceCommand,
    command_headers,
)
from orderonce_shared.contracts.events import OrderEvent
from orderonce_shared.contracts.topics import COMMANDS, EVENTS, PARTITIONS, Headers, prefixed
from orderonce_shared.runtime.ids import new_order_id
from orderonce_shared.runtime.tracing import new_traceparent

from tests.auditor import Doors, Finding, audit_settled, report
from tests.line import Line, until
from tests.workload import Bot, Json

SETTLE_S = 25.0


async def findings(
    line: Line, bot: Bot, *accounts: str, limit_s: float = SETTLE_S
) -> list[Finding]:
    """What the auditor finds once all has settled. Other bots use these accounts too."""
    doors = Doors(line.api_urls, line.control_url, line.ledger_url, bot.bearer, accounts)
    return await audit_settled(doors, bot.record, limit_s=limit_s, exclusive=False)


async def assert_clean(line: Line, bot: Bot, *accounts: str, limit_s: float = SETTLE_S) -> None:
    """The auditor finds nothing."""
    found = await findings(line, bot, *(accounts or ("paper-1",)), limit_s=limit_s)
    assert not found, report(found)


async def history(bot: Bot, order_id: str) -> list[str]:
    """Every status that the order has had, oldest first."""
    rows = (await bot.get(f"/v1/orders/{order_id}/events"))["events"]
    return [row["status"] for row in rows]


def in_seconds(seconds: float) -> str:
    """A deadline, as a bot writes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def place_command(client: str, key: str, **changes: Any) -> PlaceCommand:
    """A market order as a program with a producer's key writes it."""
    now = datetime.now(UTC)
    values: Json = {
        "order_id": new_order_id(), "client": client, "key": key, "account": "paper-1",
        "venue": "paper", "symbol": "BTC/USDT", "side": "buy", "type": "market",
        "quantity": "0.00100", "accepted_at": now, "expires_at": now + timedelta(seconds=30),
        **changes,
    }  # fmt: skip
    return PlaceCommand.model_validate(values)


def cancel_command(place: PlaceCommand, key: str) -> CancelCommand:
    """The cancel of that place."""
    return CancelCommand(
        order_id=place.order_id, client=place.client, key=key, account=place.account,
        venue=place.venue, symbol=place.symbol, place_key=place.key, seq=2,
        accepted_at=datetime.now(UTC),
    )  # fmt: skip


class Records:
    """A producer and a reader of the line's topics, as any program with the rights is."""

    def __init__(self, line: Line) -> None:
        self._bootstrap = line.common["KAFKA_BOOTSTRAP"]
        self._prefix = line.common["TOPIC_PREFIX"]

    @property
    def prefix(self) -> str:
        """Of the line's topics."""
        return self._prefix

    async def write(self, *commands: Command) -> None:
        """Commands in this order, acknowledged by the broker."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all")
        await producer.start()
        try:
            for command in commands:
                await producer.send_and_wait(
                    prefixed(self._prefix, COMMANDS),
                    command.encode(),
                    key=command.account.encode(),
                    headers=command_headers(command, new_traceparent()),
                )
        finally:
            await producer.stop()

    async def write_bytes(self, key: str, value: bytes) -> None:
        """One record of any bytes, without headers."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all")
        await producer.start()
        try:
            await producer.send_and_wait(prefixed(self._prefix, COMMANDS), value, key=key.encode())
        finally:
            await producer.stop()

    async def write_raw(
        self, key: bytes | None, value: bytes, headers: Headers, topic: str = COMMANDS
    ) -> None:
        """One record of any key, bytes and headers."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all")
        await producer.start()
        try:
            await producer.send_and_wait(
                prefixed(self._prefix, topic), value, key=key, headers=headers
            )
        finally:
            await producer.stop()

    async def write_again(self, records: list[ConsumerRecord]) -> None:
        """The same bytes once more."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all")
        await producer.start()
        try:
            for record in records:
                await producer.send_and_wait(
                    record.topic, record.value, key=record.key, headers=list(record.headers)
                )
        finally:
            await producer.stop()

    async def all(self, topic: str) -> list[ConsumerRecord]:
        """Every record of one topic, from the beginning to its present end."""
        name = prefixed(self._prefix, topic)
        # Not seek_to_beginning: the reset to the default position may come after it, and win.
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(name, number) for number in range(PARTITIONS[topic])]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[ConsumerRecord] = []
            deadline = time.monotonic() + 20
            while any([await consumer.position(one) < ends[one] for one in partitions]):
                assert time.monotonic() < deadline, f"{name} could not be read to its end"
                for rows in (await consumer.getmany(timeout_ms=200)).values():
                    found += rows
            return found
        finally:
            await consumer.stop()

    async def events(self, client: str) -> list[OrderEvent]:
        """Every event of that client's orders so far."""
        decoded = [OrderEvent.decode(record.value) for record in await self.all(EVENTS)]
        return [event for event in decoded if event.client == client]

    async def wait_final(self, client: str, order_id: UUID, limit_s: float = 15.0) -> OrderEvent:
        """The event that ends that order."""
        found: list[OrderEvent] = []

        async def is_there() -> bool:
            nonlocal found
            events = await self.events(client)
            found = [event for event in events if event.order_id == order_id and event.final]
            return bool(found)

        await until(is_there, limit_s, f"order {order_id} of {client} is final")
        return found[-1]
