"""Kafka that is not there, or not well: nothing hangs, nothing is stepped over."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError, MessageSizeTooLargeError
from orderonce_shared.runtime import kafka_consumer, kafka_publisher
from orderonce_shared.runtime import process as process_module
from orderonce_shared.runtime.kafka_publisher import Outgoing, Publisher
from orderonce_shared.runtime.process import Process

RECORDS = [Outgoing("orders.events", "paper-1", b"{}", []) for _ in range(3)]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    monkeypatch.setattr(process_module, "FIRST_PAUSE_S", 0.0001)
    return Process(structlog.get_logger())


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_publisher, "PUBLISH_LIMIT_S", 0.5)
    monkeypatch.setattr(kafka_publisher, "CLOSE_LIMIT_S", 0.5)


@pytest.fixture
async def publisher(free_address: str) -> AsyncIterator[Publisher]:
    made = Publisher(free_address, "test")
    yield made
    await made.close()


@pytest.fixture
def free_address() -> str:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Takes connections and never says a word."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        yield f"127.0.0.1:{taken.getsockname()[1]}"


async def test_no_broker_is_false_and_soon(publisher: Publisher, short_limits: None) -> None:
    begun = time.monotonic()

    assert await publisher.publish(RECORDS) == [False] * 3
    assert time.monotonic() - begun < 2


async def test_a_silent_broker_is_false_within_the_limit(
    black_hole: str, short_limits: None
) -> None:
    publisher = Publisher(black_hole, "test")
    begun = time.monotonic()

    flags = await asyncio.gather(publisher.publish(RECORDS), publisher.publish(RECORDS[:1]))

    assert [*flags] == [[False] * 3, [False]]
    assert time.monotonic() - begun < 4
    await publisher.close()


class Producer:
    """A producer in memory: what it does with each record is told by the record's value."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.stopped = False

    async def send(self, topic: str, value: bytes, **_: Any) -> asyncio.Future[None]:
        if value == b"huge":
            raise MessageSizeTooLargeError
        self.taken.append(value)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if value == b"refused":
            answer.set_exception(MessageSizeTooLargeError())
        elif value != b"silent":
            answer.set_result(None)
        return answer

    async def stop(self) -> None:
        self.stopped = True


def outgoing(*values: bytes) -> list[Outgoing]:
    return [Outgoing("orders.events", "paper-1", value, []) for value in values]


async def test_each_record_has_its_own_flag_and_a_failed_producer_is_built_anew(
    publisher: Publisher, short_limits: None
) -> None:
    producer, replaced = Producer(), []
    publisher._producer = producer
    publisher._on_replaced = lambda: replaced.append(1)

    assert await publisher.publish(outgoing(b"a", b"silent", b"b")) == [True, False, True]
    assert producer.stopped
    assert publisher._producer is None
    assert len(replaced) == 1


async def test_a_late_failure_does_not_close_the_producer_that_came_after(
    publisher: Publisher, short_limits: None
) -> None:
    """Two tasks fail with the same producer, and a third has built the next one in between."""
    publisher._producer = Producer()
    late = asyncio.create_task(publisher.publish(outgoing(b"silent")))
    await asyncio.sleep(0)
    after = publisher._producer = Producer()

    assert await late == [False]
    assert publisher._producer is after
    assert not after.stopped


async def test_one_record_that_is_too_large_does_not_hold_back_its_neighbours(
    publisher: Publisher,
) -> None:
    producer = Producer()
    publisher._producer = producer

    assert await publisher.publish(outgoing(b"a", b"huge", b"b")) == [True, False, True]
    assert producer.taken == [b"a", b"b"]


async def test_nothing_to_publish(publisher: Publisher) -> None:
    publisher._producer = Producer()

    assert await publisher.publish([]) == []


async def test_a_batch_is_handled_until_it_is_done(process: Process) -> None:
    """FastStream swallows a handler's exception, and a later commit would step over the batch."""
    tries: list[dict[str, str]] = []

    async def handle(records: Any) -> None:
        assert records is RECORDS
        tries.append(dict(process.health.troubles))
        if len(tries) < 3:
            raise OSError("database is away")

    done, parked = await kafka_consumer._handle_until_done(process, "t", RECORDS, handle)

    assert (done, parked) == (True, {})
    assert tries == [{}, *[{"consumer t": "OSError: database is away"}] * 2]
    assert process.health.troubles == {}


async def test_a_batch_of_a_stopping_process_is_not_done(process: Process) -> None:
    async def handle(_: Any) -> None:
        process.stopping.set()
        raise OSError("database is away")

    done, _ = await kafka_consumer._handle_until_done(process, "t", RECORDS, handle)

    assert not done


class Consumer:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.committed: list[dict[TopicPartition, int]] = []

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.error:
            raise self.error
        self.committed.append(offsets)


def read(partition: int, offset: int) -> Any:
    return SimpleNamespace(topic="t", partition=partition, offset=offset)


async def test_exactly_the_offsets_that_were_handled_are_committed(process: Process) -> None:
    consumer = Consumer()
    records = [read(0, 7), read(1, 3), read(0, 8), read(2, 5), read(2, 6)]

    await kafka_consumer._commit(process, consumer, records, {("t", 2): 5})

    assert consumer.committed == [
        {TopicPartition("t", 0): 9, TopicPartition("t", 1): 4, TopicPartition("t", 2): 5}
    ]


async def test_a_lost_commit_only_means_that_the_records_come_again(process: Process) -> None:
    await kafka_consumer._commit(process, Consumer(CommitFailedError()), [read(0, 7)], {})

    assert process.health.troubles == {}


async def test_headers_are_not_parsed_and_come_back_as_they_were() -> None:
    """FastStream decodes them all, and one that is no text would lose the whole batch."""
    headers = (("x", b"\xff"), ("y", None), ("z", b"1"))
    given: Any = ConsumerRecord("orders.commands", 0, 7, 0, 0, b"k", b"v", None, 1, 1, headers)
    seen: list[Any] = []

    async def parse(records: Any) -> Any:
        seen.extend(records)
        return SimpleNamespace(raw_message=records)

    message: Any = await kafka_consumer._unread((given,), parse)

    assert [(one.value, one.headers) for one in seen] == [(b"v", ())]
    (record,) = message.raw_message
    assert (record.offset, record.key, record.value) == (7, b"k", b"v")
    assert record.headers == (("x", b"\xff"), ("y", b""), ("z", b"1"))


class Cluster:
    """A consumer whose brokers answer, refuse or keep silent, one word per question."""

    def __init__(self, process: Process, words: list[str]) -> None:
        self.process = process
        self.words = words
        self.told: list[bool] = []
        self.consumer = self

    def left(self) -> set[str]:
        return set()

    async def look(self) -> set[str]:
        self.told.append(not self.process.health.troubles)
        if not self.words:
            self.process.stopping.set()
            return set()
        match self.words.pop(0):
            case "refused":
                raise KafkaError("Unable to get cluster metadata over all known brokers")
            case "silent":
                await asyncio.sleep(60)
        return set()


async def test_kafka_that_goes_away_later_is_told(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: an idle service, too, says on /readyz that Kafka is gone, and that it is back."""
    monkeypatch.setattr(kafka_consumer, "WATCH_EVERY_S", 0.001)
    monkeypatch.setattr(kafka_consumer, "WATCH_LIMIT_S", 0.05)
    words = ["fine", "refused", "fine", "refused", "silent", "refused", "fine"]
    cluster = Cluster(process, words)
    async with asyncio.timeout(10):
        await kafka_consumer._watch([cluster], process, "kafka consumer")

    assert cluster.told == [True] * 5 + [False, False, True]
