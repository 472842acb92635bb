"""F21: a topic is deleted and made again under those who read it.

The new topic has the old one's name, and an offset of the old one may lie inside its log. A reader
that believed it would step over what stands before it, without an error.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from orderonce_shared.runtime import kafka_consumer, kafka_reader, kafka_topic_ids
from orderonce_shared.runtime.kafka_consumer import (
    WATCH_LIMIT_S,
    Batch,
    consumer_broker,
    run_consumer,
)
from orderonce_shared.runtime.kafka_publisher import Outgoing, Publisher
from orderonce_shared.runtime.process import Process

from tests.line import until

LIMIT_S = 20.0
OLD, NEW = 5, 8  # records before and after: the old place lies inside the new log
KEYS = ("paper-1", "paper-2", "paper-3")  # on both partitions


class Topic:
    """One topic of a test's own."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.name = f"anew-{uuid4().hex[:10]}"

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def make(self, partitions: int = 2) -> None:
        async with self.admin() as admin:
            await admin.create_topics([NewTopic(self.name, partitions, 1)])
            await until(self._is_there, LIMIT_S, "the topic is there")

    async def delete(self) -> None:
        async with self.admin() as admin:
            await admin.delete_topics([self.name])

            async def is_gone() -> bool:
                return self.name not in await admin.list_topics()

            await until(is_gone, LIMIT_S, "the topic is gone")

    async def make_anew(self, count: int) -> set[bytes]:
        """Another topic of this name, with that many records of each key; gives their values."""
        await self.delete()
        await self.make()
        return await self.publish("new", count)

    async def _is_there(self) -> bool:
        async with self.admin() as admin:
            return self.name in await admin.list_topics()

    async def publish(self, word: str, count: int) -> set[bytes]:
        """That many records of each key; gives their values."""
        records = [
            Outgoing(self.name, key, f"{word}-{key}-{n}".encode(), [])
            for n in range(count)
            for key in KEYS
        ]

        publisher = Publisher(self.bootstrap, "test")

        async def taken() -> bool:
            return all(await publisher.publish(records))

        try:
            await until(taken, LIMIT_S, "Kafka has the records")
        finally:
            await publisher.close()
        return {record.value for record in records}

    async def commits(self, group: str) -> dict[TopicPartition, tuple[int, str]]:
        async with self.admin() as admin:
            found = await admin.list_consumer_group_offsets(group)
        return {place: (to.offset, to.metadata) for place, to in found.items()}

    async def commit(self, group: str, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        """For a group that has no members now."""
        writer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False
        )
        await writer.start()
        try:
            writer.assign(list(offsets))
            await writer.commit(offsets)
        finally:
            await writer.stop()


class Reading:
    """A service's consumer: what it has seen, and a hand that can hold its handler."""

    def __init__(self, topic: Topic, group: str) -> None:
        self.seen: list[bytes] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.holding = asyncio.Event()
        self.process = Process(structlog.get_logger())
        self.broker = consumer_broker(topic.bootstrap, "test")
        kafka_consumer.subscribe_batches(
            self.broker, topic.name, group=group, process=self.process, handle=self._handle
        )
        self._task = asyncio.create_task(run_consumer(self.broker, self.process))

    async def _handle(self, records: Batch) -> None:
        if not self.go_on.is_set():
            self.holding.set()
            await self.go_on.wait()
        self.seen.extend(record.value for record in records)

    async def has_seen(self, values: set[bytes]) -> None:
        async def all_of_them() -> bool:
            return values <= set(self.seen)

        await until(all_of_them, LIMIT_S, f"{len(values)} records are read")

    async def stop(self) -> None:
        self.process.stopping.set()
        self.go_on.set()
        await asyncio.wait_for(self._task, LIMIT_S)


class Answers:
    """What brokers tell of a topic: its error and its id, changed on the way while `told` is set.
    `given_back` counts the batches that readers gave back.
    """

    METADATA = (3, 10)  # the request that asks for ids

    def __init__(self) -> None:
        self.told: tuple[int, bytes] | None = None
        self.count = 0
        self.given_back = 0

    def heard(self, answer: Any) -> Any:
        if (answer.API_KEY, answer.API_VERSION) != self.METADATA:
            return answer
        self.count += 1
        if self.told is not None:
            error, number = self.told
            answer.topics = [(error, row[1], number, *row[3:]) for row in answer.topics]
        return answer

    async def more(self) -> None:
        """Twice: a question that was under way heard of what was told before."""
        before = self.count

        async def asked_again() -> bool:
            return self.count >= before + 2

        await until(asked_again, LIMIT_S, "the reader looks at its topic")


NO_ID, OTHER_ID = bytes(16), bytes(range(16))
NONE, UNKNOWN_TOPIC, NOT_ALLOWED = 0, 3, 29


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    made = Answers()
    send, give_back = AIOKafkaClient.send, kafka_reader.Reader._give_back

    async def changed(client: Any, *asked: Any, **how: Any) -> Any:
        return made.heard(await send(client, *asked, **how))

    def counted(reader: kafka_reader.Reader, found: Any) -> None:
        made.given_back += 1
        give_back(reader, found)

    monkeypatch.setattr(AIOKafkaClient, "send", changed)
    monkeypatch.setattr(kafka_reader.Reader, "_give_back", counted)
    return made


@pytest.fixture
async def topic(kafka_bootstrap: str) -> AsyncIterator[Topic]:
    made = Topic(kafka_bootstrap)
    await made.make()
    yield made
    async with made.admin() as admin:
        await admin.delete_topics([made.name])


@pytest.fixture
def group() -> str:
    return f"anew-{uuid4().hex[:10]}"


@asynccontextmanager
async def reading(topic: Topic, group: str) -> AsyncIterator[Reading]:
    made = Reading(topic, group)
    try:
        yield made
    finally:
        await made.stop()


async def test_F21_a_running_reader_begins_a_new_topic_at_its_start(
    topic: Topic, group: str
) -> None:
    """It looks away for a moment. When it looks again there is a topic of that name, with as many
    partitions, and its place is inside: nothing is out of range, nothing makes it join again.

    Guard: the topic's id, asked for all the time.
    """
    async with reading(topic, group) as reader:
        await reader.has_seen(await topic.publish("old", OLD))
        new = _while_readers_stand_still(lambda: topic.make_anew(NEW))
        await reader.has_seen(new)


async def test_F21_a_batch_in_hand_is_not_committed_as_one_of_the_new_topic(
    topic: Topic, group: str
) -> None:
    """It is read from the old topic and done when the new one is there, and its reader dies before
    it reads on.

    Guard: a batch is committed with the id that it was read under.
    """
    async with reading(topic, group) as reader:
        await reader.has_seen(await topic.publish("old", OLD))
        reader.go_on.clear()
        last = await topic.publish("last", 1)
        await asyncio.wait_for(reader.holding.wait(), LIMIT_S)
        new = _while_readers_stand_still(lambda: topic.make_anew(NEW))
        reader.process.stopping.set()  # it ends with what it has in hand
        reader.go_on.set()
        await reader.has_seen(last)
    assert not new <= set(reader.seen)
    assert await topic.commits(group), "the batch was committed"

    async with reading(topic, group) as reader:
        await reader.has_seen(new)


async def test_F21_a_commit_of_the_old_topic_is_not_believed_in_the_new_one(
    topic: Topic, group: str
) -> None:
    """A commit that was under way lands when the new topic is there, and its reader dies.

    Guard: each commit carries the id of the topic that it counts in.
    """
    async with reading(topic, group) as reader:
        await reader.has_seen(await topic.publish("old", OLD))
        await _committed(topic, group, OLD * len(KEYS))
    late = await topic.commits(group)
    await topic.delete()
    await topic.make()
    new = await topic.publish("new", NEW)
    await topic.commit(group, late)

    async with reading(topic, group) as reader:
        await reader.has_seen(new)


async def test_F21_a_commit_by_an_operator_is_believed(topic: Topic, group: str) -> None:
    """Kafka's own tools and releases before this one write no id.

    Guard: only a commit that names another topic is put aside.
    """
    await _read_before(topic, group)
    ends = await topic.commits(group)
    assert all(tag.startswith(kafka_reader.TAG) for _, tag in ends.values())
    await topic.commit(group, {place: (offset, "") for place, (offset, _) in ends.items()})
    late = await topic.publish("late", 1)

    async with reading(topic, group) as reader:
        await reader.has_seen(late)
        assert set(reader.seen) == late


async def test_a_commit_is_gone_on_from(topic: Topic, group: str) -> None:
    """The ordinary restart: what is committed is not read again."""
    await _read_before(topic, group)
    late = await topic.publish("late", 1)

    async with reading(topic, group) as reader:
        await reader.has_seen(late)
        assert set(reader.seen) == late


@pytest.mark.parametrize("error", [UNKNOWN_TOPIC, NOT_ALLOWED])
async def test_F21_an_error_instead_of_an_id_is_no_new_topic(
    topic: Topic, group: str, answers: Answers, error: int
) -> None:
    """One broker that lags behind, or a right that is taken away for a moment: nothing is handed
    over meanwhile, and then it goes on where it was.

    Guard: only another id begins anew; without an answer the batch is given back.
    """
    await _read_before(topic, group)
    late = await topic.publish("late", 1)
    answers.told = (error, NO_ID)
    async with reading(topic, group) as reader:

        async def decided() -> bool:
            return bool(answers.given_back or reader.seen)

        await until(decided, LIMIT_S, "the reader has asked for the id")
        assert not reader.seen
        answers.told = None
        await reader.has_seen(late)
        assert set(reader.seen) == late


async def test_F21_a_topic_whose_id_nobody_tells_is_gone_on_from(
    topic: Topic, group: str, answers: Answers
) -> None:
    """Its brokers speak the version that has ids, and give none; later they do, and again do not.

    Guard: where one of two ids is not known, nothing is compared.
    """
    await _read_before(topic, group)
    expected = await topic.publish("late", 1)
    answers.told = (NONE, NO_ID)
    async with reading(topic, group) as reader:
        await reader.has_seen(expected)
        await until(lambda: _is_well(reader), LIMIT_S, "the topic is not missed")
        for word, told in (("known", None), ("unknown", (NONE, NO_ID))):
            answers.told = told
            await answers.more()
            more = await topic.publish(word, 1)
            await reader.has_seen(more)
            expected |= more
        assert sorted(reader.seen) == sorted(expected), "each once, and none of before"
        assert not reader.process.health.troubles


async def test_F21_another_id_begins_anew(topic: Topic, group: str, answers: Answers) -> None:
    """Guard: the same as above, the other way round."""
    early = await _read_before(topic, group)
    answers.told = (NONE, OTHER_ID)
    async with reading(topic, group) as reader:
        await reader.has_seen(early)


async def test_a_broker_that_never_answers_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the time that a look has. Guard: BROKER_LIMIT_S; aiokafka waits for 40 s."""
    monkeypatch.setattr(kafka_topic_ids, "random_below", lambda _: 0)
    client = _Brokers(2)
    async with asyncio.timeout(WATCH_LIMIT_S):
        assert await kafka_topic_ids.topic_ids(client, ["t"]) == {"t": "AAECAwQFBgcICQoLDA0ODw"}
    assert client.asked == [0, 1]


async def test_brokers_of_which_none_answers_are_an_error_of_kafka() -> None:
    """Guard: whoever asks gives the batch back on a KafkaError, and on nothing else."""
    async with asyncio.timeout(WATCH_LIMIT_S):
        with pytest.raises(KafkaError):
            await kafka_topic_ids.topic_ids(_Brokers(1), ["t"])


class _Brokers:
    """A client of so many brokers. The first one never answers."""

    def __init__(self, count: int) -> None:
        self.cluster = SimpleNamespace(
            brokers=lambda: [SimpleNamespace(nodeId=node) for node in range(count)]
        )
        self.asked: list[int] = []

    async def send(self, node: int, question: object) -> Any:
        self.asked.append(node)
        if node == 0:
            await asyncio.Event().wait()
        return SimpleNamespace(topics=[(0, "t", OTHER_ID)])


async def test_F21_a_topic_that_is_away_for_long_is_read_when_it_is_back(
    topic: Topic, group: str
) -> None:
    """Operators are told that it is not there, and readers see it come.

    Guard: TOPICS_EVERY_MS; aiokafka looks every five minutes, and holds no partition until then.
    """
    async with reading(topic, group) as reader:
        await reader.has_seen(await topic.publish("old", OLD))
        await topic.delete()

        async def holds_nothing() -> bool:
            async with topic.admin() as admin:
                (told,) = await admin.describe_consumer_groups([group])
            (_, _, state, _, _, members, *_) = told.groups[0]
            return state == "Stable" and all(len(member[4]) <= EMPTY for member in members)

        await until(lambda: _is_missed(topic, reader), LIMIT_S, "/readyz misses the topic")
        await until(holds_nothing, LIMIT_S, "the group has seen it go")
        await topic.make()
        await reader.has_seen(await topic.publish("new", NEW))
        await until(lambda: _is_well(reader), LIMIT_S, "/readyz is well")


async def test_a_reader_does_not_make_its_topic(topic: Topic, group: str) -> None:
    """It would have one partition, and the step that makes topics would find it there.

    Guard: FastStream's admin client, which makes what is missing, is left out.
    """
    await topic.delete()
    async with reading(topic, group) as reader:
        await until(lambda: _waits(reader), LIMIT_S, "the reader waits for its topic")
        assert reader.process.health.troubles
        async with topic.admin() as admin:
            assert topic.name not in await admin.list_topics()
        await topic.make()
        await reader.has_seen(await topic.publish("new", NEW))


async def test_a_reader_that_waits_for_its_topic_stops_at_once(topic: Topic, group: str) -> None:
    """Guard: aiokafka would go on waiting for 40 s."""
    await topic.delete()
    async with reading(topic, group) as reader:
        await until(lambda: _waits(reader), LIMIT_S, "the reader waits for its topic")


async def test_partitions_that_are_added_are_read(topic: Topic, group: str) -> None:
    """Guard: TOPICS_EVERY_MS."""
    async with reading(topic, group) as reader:
        await reader.has_seen(await topic.publish("old", OLD))
        async with topic.admin() as admin:
            await admin.create_partitions({topic.name: NewPartitions(6)})
        await reader.has_seen(await topic.publish("new", NEW))


def _while_readers_stand_still(work: Callable[[], Awaitable[set[bytes]]]) -> set[bytes]:
    """Runs it elsewhere and holds this loop meanwhile, shorter than a session of the group lasts:
    so a process that is frozen for a moment sees the world."""
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as elsewhere:
        done = elsewhere.submit(lambda: asyncio.run(_of(work))).result()
    assert time.monotonic() - begun < kafka_consumer.SESSION_TIMEOUT_MS / 1000
    return done


async def _of(work: Callable[[], Awaitable[set[bytes]]]) -> set[bytes]:
    return await work()


EMPTY = 12  # bytes of an assignment without partitions: version, an empty list, no user data


async def _waits(reader: Reading) -> bool:
    subscriber: Any = reader.broker.subscribers[0]
    return subscriber.consumer is not None


async def _is_missed(topic: Topic, reader: Reading) -> bool:
    return topic.name in reader.process.health.troubles.get("kafka consumer", "")


async def _is_well(reader: Reading) -> bool:
    return not reader.process.health.troubles


async def _read_before(topic: Topic, group: str) -> set[bytes]:
    """Records that a reader, which is gone now, has read and committed."""
    early = await topic.publish("early", OLD)
    async with reading(topic, group) as reader:
        await reader.has_seen(early)
        await _committed(topic, group, len(early))
    return early


async def _committed(topic: Topic, group: str, count: int) -> None:
    async def all_of_them() -> bool:
        return sum(offset for offset, _ in (await topic.commits(group)).values()) == count

    await until(all_of_them, LIMIT_S, "the records are committed")
