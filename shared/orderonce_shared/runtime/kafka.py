"""Kafka as a transport that may repeat, reorder or lose: a publisher that never hangs and a batch
consumer that never skips.

Publisher: the idempotent producer can wedge for good after a batch expired, and a send can hang for
a whole outage (aiokafka 1017). So every publish has a deadline, and a producer that failed once is
closed and built anew. Cancelling does not unsend: the same record may appear later and again, which
R3 makes harmless.

Consumer: FastStream hands over batches of bytes with MANUAL acknowledgement. It swallows a
handler's exception, and a later commit would then step over the failed batch; so a batch is
repeated here until its handler has returned, and only then its own explicit offsets are committed.
The same goes for its parsing, which comes first: nothing of a record may be able to fail there.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    for_code,
)
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from orderonce_shared.contracts.topics import DLQ, PARTITIONS, Headers, prefixed
from orderonce_shared.runtime.process import LONGEST_PAUSE_S, Process, growing_pause_s
from orderonce_shared.runtime.settings import ServiceSettings, read_settings

PUBLISH_LIMIT_S = 5.0
CLOSE_LIMIT_S = 2.0
SESSION_TIMEOUT_MS = (
    6_000  # Kafka's lower bound: after a kill -9 the partitions move this much later
)
HEARTBEAT_MS = 1_500
BATCH_RECORDS = 500
BATCH_WAIT_MS = (
    5  # FastStream sleeps this long again when idle; its default of 200 adds 171 ms at p90
)
MAX_BATCH_BYTES = 256 * 1024
MAX_LETTER_BYTES = 2 * 1024 * 1024  # a dead letter is a record (1 MiB) and our headers

PARK_S = 15.0  # how long a partition rests before its record is tried again

Batch = Sequence["ConsumerRecord"]
# What a handler could not take yet: (topic, partition) -> first offset that must not be stepped
# over.
Parked = Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Outgoing:
    topic: str
    key: str
    value: bytes
    headers: Headers


class Publisher:
    """Publishes with acks=all and idempotence. Safe to use from many tasks."""

    def __init__(self, bootstrap: str, client_id: str) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._building = asyncio.Lock()

    async def publish(self, records: Sequence[Outgoing]) -> list[bool]:
        """One flag per record: True when the brokers have acknowledged it. Never raises for trouble
        with Kafka and never takes much longer than PUBLISH_LIMIT_S.
        """
        try:
            async with asyncio.timeout(PUBLISH_LIMIT_S):
                producer = await self._ready_producer()
                sent = [await _send(producer, record) for record in records]
        except (KafkaError, OSError, TimeoutError):
            await self._discard()
            return [False] * len(records)
        waiting = [future for future in sent if future is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=PUBLISH_LIMIT_S)
        if not all(map(_acknowledged, waiting)):
            await self._discard()
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
                )
                try:
                    await producer.start()
                except BaseException:
                    await _close(producer)
                    raise
                self._producer = producer
            return self._producer

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer)

    async def close(self) -> None:
        await self._discard()


async def _send(producer: AIOKafkaProducer, record: Outgoing) -> "asyncio.Future[Any] | None":
    """None for a record that Kafka will never take: it must not hold back its neighbours."""
    key = record.key.encode()
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


def consumer_broker(bootstrap: str, client_id: str) -> KafkaBroker:
    """A FastStream broker without type injection: a batch of 100 costs 0.6 us a message instead of
    35 to 156.
    """
    return KafkaBroker(bootstrap, client_id=client_id, apply_types=False, logger=None)


async def _identity(message: object) -> object:
    return message


async def _unread(
    records: Sequence[ConsumerRecord], parse: Callable[[Any], Awaitable[Any]]
) -> object:
    """FastStream's parser decodes all headers before a handler is called: one that is no text would
    lose the whole batch, so it sees none. A header without a value becomes an empty one, which is
    what everybody here reads.
    """
    message = await parse(tuple(replace(record, headers=()) for record in records))
    message.raw_message = tuple(
        replace(record, headers=tuple((name, value or b"") for name, value in record.headers))
        for record in records
    )
    return message


def subscribe_batches(
    broker: KafkaBroker,
    topic: str,
    *,
    group: str,
    process: Process,
    handle: Callable[[Batch], Awaitable[Parked | None]],
    after_commit: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Calls `handle(records)` for each batch (several partitions, order kept within one), again and
    again until it returns, then commits exactly these offsets. Not committed: a batch whose process
    stops or dies meanwhile.

    A handler may return partitions that it parks: they are committed up to the given offset, sought
    back to it and not read for PARK_S, while the others go on. `after_commit` runs once the offsets
    are committed.
    """

    @broker.subscriber(
        topic,
        group_id=group,
        batch=True,
        max_records=BATCH_RECORDS,
        batch_timeout_ms=BATCH_WAIT_MS,
        ack_policy=AckPolicy.MANUAL,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        parser=_unread,
        decoder=_identity,
    )
    async def on_batch(message: object) -> None:
        records: Batch = message.raw_message  # type: ignore[attr-defined]
        consumer: Any = message.consumer  # type: ignore[attr-defined]
        done, parked = await _handle_until_done(process, topic, records, handle)
        if done:
            await _commit(process, consumer, records, parked)
            if parked:
                _park(process, consumer, parked)
            if after_commit is not None:
                await after_commit()


def _park(process: Process, consumer: Any, parked: Parked) -> None:
    """A rebalance forgets the pause; the record is then read and parked again."""
    places = [TopicPartition(topic, partition) for topic, partition in parked]
    mine = [place for place in places if place in consumer.assignment()]
    for place in mine:
        consumer.seek(place, parked[place.topic, place.partition])
        consumer.pause(place)

    def resume() -> None:
        still = [place for place in mine if place in consumer.assignment()]
        if still and not process.stopping.is_set():
            consumer.resume(*still)

    asyncio.get_running_loop().call_later(PARK_S, resume)


async def _handle_until_done(
    process: Process,
    topic: str,
    records: Batch,
    handle: Callable[[Batch], Awaitable[Parked | None]],
) -> tuple[bool, Parked]:
    failures = 0
    while not process.stopping.is_set():
        try:
            parked = await handle(records)
        except Exception as error:
            failures += 1
            process.health.trouble(f"consumer {topic}", f"{type(error).__name__}: {error}")
            process.log.warning(
                "batch-failed", topic=topic, failures=failures, exc_info=failures <= 3
            )
            await process.pause(growing_pause_s(failures))
        else:
            process.health.fine(f"consumer {topic}")
            return True, parked or {}
    return False, {}


async def _commit(process: Process, consumer: Any, records: Batch, parked: Parked) -> None:
    """A lost commit (a rebalance came between) only means that the records come again."""
    offsets: dict[TopicPartition, int] = {}
    for record in records:
        where = TopicPartition(record.topic, record.partition)
        offsets[where] = max(offsets.get(where, 0), record.offset + 1)
    for (topic, partition), offset in parked.items():
        offsets[TopicPartition(topic, partition)] = offset
    try:
        await consumer.commit(offsets)
    except KafkaError as error:
        process.log.info("commit-refused", error=type(error).__name__)


async def run_consumer(broker: KafkaBroker, process: Process) -> None:
    """Connects as soon as Kafka answers, in whatever order things start, and stops with the
    process.
    """
    part = "kafka consumer"
    process.health.trouble(part, "not connected yet")
    while not process.stopping.is_set():
        try:
            await broker.start()
        except (KafkaError, OSError, TimeoutError) as error:
            process.health.trouble(part, f"{type(error).__name__}: {error}")
            await broker.stop()
            await process.pause(LONGEST_PAUSE_S)
        else:
            process.health.fine(part)
            break
    await process.stopping.wait()
    await broker.stop()


def _limits_of(topic: str) -> dict[str, str]:
    """Kafka's own limits, but for the dead letters: each is larger than the record it holds."""
    return {"max.message.bytes": str(MAX_LETTER_BYTES)} if topic == DLQ else {}


async def ensure_topics(bootstrap: str, replication: int, prefix: str = "") -> list[str]:
    """Makes the missing topics and returns their names. Raises KafkaError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="orderonce-topics")
    await admin.start()
    try:
        present = set(await admin.list_topics())
        missing = [
            NewTopic(prefixed(prefix, name), count, replication, topic_configs=_limits_of(name))
            for name, count in PARTITIONS.items()
            if prefixed(prefix, name) not in present
        ]
        if missing:
            answer = await admin.create_topics(missing)
            for name, code, *_ in answer.topic_errors:
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:
                    raise error(name)
        return [topic.name for topic in missing]
    finally:
        await admin.close()


class TopicSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="KAFKA_", frozen=True)

    bootstrap: str
    replication: int = Field(default=1, description="copies of each partition; 3 on a cluster")
    topic_prefix: str = ""


def main() -> None:
    settings = read_settings(TopicSettings)
    made = asyncio.run(
        ensure_topics(settings.bootstrap, settings.replication, settings.topic_prefix)
    )
    sys.stderr.write(f"topics made: {', '.join(made) if made else 'none were missing'}\n")


if __name__ == "__main__":
    main()
