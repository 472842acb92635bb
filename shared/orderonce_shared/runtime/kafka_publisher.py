"""A publisher that never hangs on a transport that may repeat, reorder or lose.

The idempotent producer can wedge for good after a batch expired, and a send can hang for a whole
outage (aiokafka 1017). So every publish has a deadline, and a producer that failed once is closed
and built anew. Cancelling does not unsend: the same record may appear later and again, which R3
makes harmless.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from orderonce_shared.contracts.topics import Headers
from orderonce_shared.runtime.kafka_security import OPEN, KafkaSecurity
from orderonce_shared.runtime.tracing import OFF, Tracing

PUBLISH_LIMIT_S = 5.0
CLOSE_LIMIT_S = 2.0
MAX_BATCH_BYTES = 256 * 1024
MANY = 32  # from here on batches of our own cost less than half of as many sends (decision 0041)
MAX_LETTER_BYTES = 2 * 1024 * 1024  # a dead letter is a record (1 MiB) and our headers


_partitioner = DefaultPartitioner()  # the producer's own


@dataclass(frozen=True, slots=True)
class Outgoing:
    topic: str
    key: str | bytes | None
    value: bytes
    headers: Headers


class Publisher:
    """Publishes with acks=all and idempotence. Safe to use from many tasks."""

    def __init__(
        self,
        bootstrap: str,
        client_id: str,
        security: KafkaSecurity = OPEN,
        tracing: Tracing = OFF,
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_replaced` counts producers that failed: the next publish builds a new one."""
        self._tracing = tracing
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._security = security
        self._producer: AIOKafkaProducer | None = None
        self._on_replaced = on_replaced
        self._building = asyncio.Lock()

    async def publish(self, records: Sequence[Outgoing]) -> list[bool]:
        """One flag per record: True when the brokers have acknowledged it. Never raises for trouble
        with Kafka and never takes much longer than PUBLISH_LIMIT_S.
        """
        since_ns = self._tracing.now_ns()
        flags = await self._offer(records)
        if self._tracing.on:
            taken = [record for record, flag in zip(records, flags, strict=True) if flag]
            self._tracing.note_records("publish", taken, since_ns, "producer")
        return flags

    async def _offer(self, records: Sequence[Outgoing]) -> list[bool]:
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(PUBLISH_LIMIT_S):
                producer = await self._ready_producer()
                if len(records) < MANY:
                    sent = [await _send(producer, record) for record in records]
                else:
                    sent = await _send_many(producer, records)
        except (KafkaError, OSError, TimeoutError):
            await self._replace(producer)
            return [False] * len(records)
        waiting = {future for future in sent if future is not None}
        if waiting:
            await asyncio.wait(waiting, timeout=PUBLISH_LIMIT_S)
        if not all(map(_acknowledged, waiting)):
            await self._replace(producer)
        return [future is not None and _acknowledged(future) for future in sent]

    async def _ready_producer(self) -> AIOKafkaProducer:
        async with self._building:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    client_id=self._client_id,
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=MAX_BATCH_BYTES,
                    linger_ms=0,
                    max_request_size=MAX_LETTER_BYTES,
                    request_timeout_ms=int(PUBLISH_LIMIT_S * 1000),
                    **self._security.client(),
                )
                try:
                    await producer.start()
                except BaseException:
                    await _close(producer)
                    raise
                self._producer = producer
            return self._producer

    async def _replace(self, failed: AIOKafkaProducer | None) -> None:
        """Only the one that failed: another task may have built the next one already."""
        if failed is not None and failed is self._producer:
            self._producer = None
            self._on_replaced()
            await _close(failed)

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer)


Sent = asyncio.Future[Any] | None


async def _send_many(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> list[Sent]:
    """As `_send` of each, in batches made here: one future per batch, which is the answer to all of
    its records. The order of records with one key is kept, since they share a partition.
    """
    sent: list[Sent] = [None] * len(records)
    open_: dict[tuple[str, int], tuple[BatchBuilder, list[int]]] = {}
    topics = {record.topic for record in records}
    partitions = {topic: sorted(await producer.partitions_for(topic)) for topic in topics}
    for number, record in enumerate(records):
        key, every = _key(record), partitions[record.topic]
        place = record.topic, _partitioner(key, every, every)
        is_large = len(record.value) > MAX_BATCH_BYTES // 2
        if place in open_:
            builder, numbers = open_[place]
            if not is_large and _added(builder, key, record):
                numbers.append(number)
                continue
            await _send_batch(producer, place, open_.pop(place), sent)
        if is_large:
            sent[number] = await _send(producer, record)
            continue
        open_[place] = producer.create_batch(), [number]
        assert _added(open_[place][0], key, record), "half a batch fits into an empty one"
    for place, batch in open_.items():
        await _send_batch(producer, place, batch, sent)
    return sent


async def _send_batch(
    producer: AIOKafkaProducer,
    place: tuple[str, int],
    batch: tuple[BatchBuilder, list[int]],
    sent: list[Sent],
) -> None:
    builder, numbers = batch
    future = await producer.send_batch(builder, place[0], partition=place[1])
    for number in numbers:
        sent[number] = future


def _added(builder: BatchBuilder, key: bytes | None, record: Outgoing) -> bool:
    added = builder.append(timestamp=None, key=key, value=record.value, headers=record.headers)
    return added is not None


def _key(record: Outgoing) -> bytes | None:
    return record.key.encode() if isinstance(record.key, str) else record.key


async def _send(producer: AIOKafkaProducer, record: Outgoing) -> Sent:
    """None for a record that Kafka will never take: it must not hold back its neighbours."""
    key = _key(record)
    try:
        future: asyncio.Future[Any] = await producer.send(
            record.topic, record.value, key=key, headers=record.headers
        )
    except MessageSizeTooLargeError:
        return None
    return future


def _acknowledged(future: "asyncio.Future[Any]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


async def _close(producer: AIOKafkaProducer) -> None:
    try:
        await asyncio.wait_for(producer.stop(), CLOSE_LIMIT_S)
    except (KafkaError, OSError, TimeoutError):
        return  # its unsent records stay in the outbox, which is where truth is
