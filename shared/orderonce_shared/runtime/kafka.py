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
from orderonce_shared.runtime.kafka_lag import Progress
from orderonce_shared.runtime.kafka_security import KafkaSecurity, KafkaSettings, why_refused
from orderonce_shared.runtime.process import LONGEST_PAUSE_S, Process, growing_pause_s
from orderonce_shared.runtime.settings import read_settings
from orderonce_shared.runtime.tracing import OFF, Tracing

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
IDLE_POLL_MS = 250  # records end it at once; asking again every 5 ms costs 2 % of a core
MAX_BATCH_BYTES = 256 * 1024
MAX_LETTER_BYTES = 2 * 1024 * 1024  # a dead letter is a record (1 MiB) and our headers
OPEN = KafkaSecurity()  # no TLS, no name: one machine, or a network of one's own

# Whether Kafka still answers: two misses in a row are no hiccup, and told within some 15 s.
WATCH_EVERY_S, WATCH_LIMIT_S, WATCH_MISSES = 3.0, 4.0, 2
PARK_S = 15.0  # how long a partition rests before its record is tried again

Batch = Sequence["ConsumerRecord"]
# What a handler could not take yet: (topic, partition) -> first offset that must not be stepped
# over.
Parked = Mapping[tuple[str, int], int]
# How a count of records that are not committed yet is shown: (topic, function that counts).
WatchLag = Callable[[str, Callable[[], float]], None]


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
    ) -> None:
        self._tracing = tracing
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._security = security
        self._producer: AIOKafkaProducer | None = None
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
                    **self._security.client(),
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
    key = record.key.encode() if isinstance(record.key, str) else record.key
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


def consumer_broker(bootstrap: str, client_id: str, security: KafkaSecurity = OPEN) -> KafkaBroker:
    """A FastStream broker without type injection: a batch of 100 costs 0.6 us a message instead of
    35 to 156.
    """
    return KafkaBroker(
        bootstrap.split(","),  # it takes a string for one server, comma or not
        client_id=client_id,
        security=security.broker(),
        apply_types=False,
        logger=None,
    )


async def _identity(message: object) -> object:
    return message


async def _unread(
    records: Sequence[ConsumerRecord], parse: Callable[[Any], Awaitable[Any]]
) -> object:
    """FastStream's parser decodes all headers before a handler is called: one that is no text would
    lose the whole batch, so it sees one record, without any. A header without a value becomes an
    empty one, which is what everybody here reads.
    """
    message = await parse((replace(records[0], headers=()),))
    message.raw_message = tuple(map(_with_values, records))
    return message


def _with_values(record: ConsumerRecord) -> ConsumerRecord:
    if all(value is not None for _, value in record.headers):
        return record
    return replace(record, headers=tuple((name, value or b"") for name, value in record.headers))


def subscribe_batches(
    broker: KafkaBroker,
    topic: str,
    *,
    group: str,
    process: Process,
    handle: Callable[[Batch], Awaitable[Parked | None]],
    after_commit: Callable[[], Awaitable[None]] | None = None,
    watch_lag: WatchLag | None = None,
) -> None:
    """Calls `handle(records)` for each batch (several partitions, order kept within one), again and
    again until it returns, then commits exactly these offsets. Not committed: a batch whose process
    stops or dies meanwhile.

    A handler may return partitions that it parks: they are committed up to the given offset, sought
    back to it and not read for PARK_S, while the others go on. `after_commit` runs once the offsets
    are committed. `watch_lag` is told how to count what is not committed yet.
    """
    progress = Progress()
    if watch_lag is not None:
        watch_lag(topic, progress.lag)

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
        listener=progress,
        parser=_unread,
        decoder=_identity,
    )
    async def on_batch(message: object) -> None:
        records: Batch = message.raw_message  # type: ignore[attr-defined]
        consumer: Any = message.consumer  # type: ignore[attr-defined]
        progress.begun(consumer, records)
        done, parked = await _handle_until_done(process, topic, records, handle)
        if done:
            progress.commit(await _commit(process, consumer, records, parked))
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
    failures, since_ns = 0, process.tracing.now_ns()
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
            if process.tracing.on:
                process.tracing.note_records("process", records, since_ns, "consumer")
            return True, parked or {}
    return False, {}


async def _commit(
    process: Process, consumer: Any, records: Batch, parked: Parked
) -> dict[TopicPartition, int]:
    """The offsets. A lost commit (a rebalance came between) only means that the records come
    again.
    """
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
    return offsets


async def run_consumer(
    broker: KafkaBroker, process: Process, settings: KafkaSettings | None = None
) -> None:
    """Connects as soon as Kafka answers, in whatever order things start, and stops with the
    process. With `settings` a refusal is told with the setting to look at, in /readyz and the log.
    """
    part = "kafka consumer"
    process.health.trouble(part, "not connected yet")
    told = None
    while not process.stopping.is_set():
        try:
            await broker.start()
        except (KafkaError, OSError, TimeoutError) as error:
            why = None
            if settings is not None:
                why = await why_refused(settings.kafka_bootstrap, settings.kafka_security())
            why = why or f"{type(error).__name__}: {error}"
            process.health.trouble(part, why)
            if why != told:
                process.log.error("kafka-refused", why=why)
                told = why
            await broker.stop()
            await process.pause(LONGEST_PAUSE_S)
        else:
            process.health.fine(part)
            for subscriber in broker.subscribers:
                _ask_patiently(subscriber)
            await _watch(broker.subscribers[0], process, part)
    await broker.stop()


async def _watch(subscriber: Any, process: Process, part: str) -> None:
    """Tells in /readyz when Kafka no longer answers, and when it does again, until the process
    stops. The consumer itself only waits: it connects again for as long as it takes.
    """
    missed = 0
    while not process.stopping.is_set():
        try:
            async with asyncio.timeout(WATCH_LIMIT_S):
                await subscriber.consumer.topics()
        except (KafkaError, OSError, TimeoutError) as error:
            missed += 1
            if missed >= WATCH_MISSES:
                process.health.trouble(part, f"Kafka no longer answers ({type(error).__name__})")
        else:
            missed = 0
            process.health.fine(part)
        await process.pause(WATCH_EVERY_S)


def _ask_patiently(subscriber: Any) -> None:
    """FastStream has one setting for how long it asks and how long it then sleeps. Only the sleep
    delays a record, so only the asking is made longer.
    """
    consumer = subscriber.consumer
    getmany = consumer.getmany

    async def patient(*partitions: TopicPartition, timeout_ms: int = 0, **more: Any) -> Any:
        return await getmany(*partitions, timeout_ms=max(timeout_ms, IDLE_POLL_MS), **more)

    consumer.getmany = patient


def _limits_of(topic: str) -> dict[str, str]:
    """Kafka's own limits, but for the dead letters: each is larger than the record it holds."""
    return {"max.message.bytes": str(MAX_LETTER_BYTES)} if topic == DLQ else {}


async def ensure_topics(
    bootstrap: str, replication: int, prefix: str = "", security: KafkaSecurity = OPEN
) -> list[str]:
    """Makes the missing topics and returns their names. Raises KafkaError."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, client_id="orderonce-topics", **security.client()
    )
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


class TopicSettings(KafkaSettings):
    model_config = SettingsConfigDict(env_prefix="", frozen=True, hide_input_in_errors=True)

    kafka_replication: int = Field(
        default=1, description="copies of each partition; 3 on a cluster"
    )
    kafka_topic_prefix: str = Field(
        default="", description="prefix of topics and consumer groups on a cluster that is shared"
    )


async def make_topics(settings: TopicSettings) -> list[str]:
    """As `ensure_topics`, or SystemExit with what is in the way."""
    bootstrap, security = settings.kafka_bootstrap, settings.kafka_security()
    for warning in security.warnings(bootstrap):
        sys.stderr.write(f"warning: {warning}\n")
    try:
        return await ensure_topics(
            bootstrap, settings.kafka_replication, settings.kafka_topic_prefix, security
        )
    except (KafkaError, OSError, TimeoutError) as error:
        why = await why_refused(bootstrap, security) or f"{type(error).__name__}: {error}"
        raise SystemExit(f"topics: {why}") from None


def main() -> None:
    made = asyncio.run(make_topics(read_settings(TopicSettings)))
    sys.stderr.write(f"topics made: {', '.join(made) if made else 'none were missing'}\n")


if __name__ == "__main__":
    main()
