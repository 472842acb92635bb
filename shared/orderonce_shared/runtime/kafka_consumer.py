"""A batch consumer that never skips.

FastStream hands over batches of bytes with MANUAL acknowledgement. It swallows a handler's
exception, and a later commit would then step over the failed batch; so a batch is repeated here
until its handler has returned, and only then its own explicit offsets are committed. The same goes
for its parsing, which comes first: nothing of a record may be able to fail there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

from orderonce_shared.runtime.kafka_lag import Progress
from orderonce_shared.runtime.kafka_reader import Reader
from orderonce_shared.runtime.kafka_security import (
    OPEN,
    KafkaSecurity,
    KafkaSettings,
    why_refused,
)
from orderonce_shared.runtime.process import LONGEST_PAUSE_S, Process, growing_pause_s

SESSION_TIMEOUT_MS = (
    6_000  # Kafka's lower bound: after a kill -9 the partitions move this much later
)
HEARTBEAT_MS = 1_500
BATCH_RECORDS = 500
BATCH_WAIT_MS = (
    5  # FastStream sleeps this long again when idle; its default of 200 adds 171 ms at p90
)
# A topic that comes, goes or grows is seen this late; aiokafka's default is five minutes, for which
# a consumer that looked while its topic was away would have read nothing.
TOPICS_EVERY_MS = 5_000

# Whether Kafka still answers: two misses in a row are no hiccup, and told within some 15 s.
WATCH_EVERY_S, WATCH_LIMIT_S, WATCH_MISSES = 3.0, 4.0, 2
PARK_S = 15.0  # how long a partition rests before its record is tried again

Batch = Sequence["ConsumerRecord"]
# What a handler could not take yet: (topic, partition) -> first offset that must not be stepped
# over.
Parked = Mapping[tuple[str, int], int]
# How a count of records that are not committed yet is shown: (topic, function that counts).
WatchLag = Callable[[str, Callable[[], float]], None]


class _Broker(KafkaBroker):
    """FastStream's, with our consumer. It makes its builder anew at each connection."""

    async def _connect(self) -> Callable[..., Reader]:
        made: Any = await super()._connect()
        builder = self.config.broker_config.builder = partial(Reader, **made.keywords)
        return builder


def consumer_broker(bootstrap: str, client_id: str, security: KafkaSecurity = OPEN) -> KafkaBroker:
    """A FastStream broker without type injection: a batch of 100 costs 0.6 us a message instead of
    35 to 156. Without its producer and admin client too, which would make missing topics, with one
    partition each.
    """
    return _Broker(
        bootstrap.split(","),  # it takes a string for one server, comma or not
        client_id=client_id,
        security=security.broker(),
        metadata_max_age_ms=TOPICS_EVERY_MS,
        consumer_only=True,
        allow_auto_create_topics=False,
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
    process.health.trouble(part, "not connected yet, or the topics are not made")
    told = None
    while not process.stopping.is_set():
        try:
            await _start(broker, process)
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
            await _watch(broker.subscribers, process, part)
    await broker.stop()


async def _start(broker: KafkaBroker, process: Process) -> None:
    """Waits for topics that are not there, but not on when the process stops."""
    starting = asyncio.ensure_future(broker.start())
    stopping = asyncio.ensure_future(process.stopping.wait())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not starting.done():
            starting.cancel()
    await asyncio.wait((starting,))
    if not starting.cancelled() and (error := starting.exception()):
        raise error


async def _watch(subscribers: Sequence[Any], process: Process, part: str) -> None:
    """Until the process stops: tells in /readyz when Kafka no longer answers or has no such topics,
    and when it does again, and shows the readers which topics are there now. The consumer itself
    only waits: it connects again for as long as it takes.
    """
    missed = 0
    while not process.stopping.is_set():
        readers: list[Reader] = [subscriber.consumer for subscriber in subscribers]
        try:
            async with asyncio.timeout(WATCH_LIMIT_S):
                absent = set().union(*[await reader.look() for reader in readers])
        except (KafkaError, OSError, TimeoutError) as error:
            missed += 1
            if missed >= WATCH_MISSES:
                process.health.trouble(part, f"Kafka no longer answers ({type(error).__name__})")
        else:
            missed = 0
            if absent:
                process.health.trouble(part, f"Kafka has no topic {', '.join(sorted(absent))}")
            else:
                process.health.fine(part)
        for topic in {topic for reader in readers for topic in reader.left()}:
            process.log.warning("topic-made-anew", topic=topic, done="reading it from its start")
        await process.pause(WATCH_EVERY_S)
