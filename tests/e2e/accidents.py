"""What an operator, or an accident, does to the topics of a line."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import OffsetAndMetadata
from orderonce_shared.contracts.topics import PARTITIONS, prefixed
from orderonce_shared.runtime.kafka import ensure_topics

from tests.line import Line, until

ANEW_S = 60.0


class Broker:
    """What an operator, or an accident, does to the line's topics."""

    def __init__(self, line: Line) -> None:
        self.bootstrap = line.common["KAFKA_BOOTSTRAP"]
        self.prefix = line.common["TOPIC_PREFIX"]

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    def partitions(self, topic: str) -> list[TopicPartition]:
        name = prefixed(self.prefix, topic)
        return [TopicPartition(name, number) for number in range(PARTITIONS[topic])]

    async def ends(self, topic: str) -> dict[TopicPartition, int]:
        async with self.reader(None) as reader:
            found: dict[TopicPartition, int] = await reader.end_offsets(self.partitions(topic))
            return found

    @asynccontextmanager
    async def reader(self, group: str | None) -> AsyncIterator[AIOKafkaConsumer]:
        reader = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False
        )
        await reader.start()
        try:
            yield reader
        finally:
            await reader.stop()

    async def lose(self, topic: str) -> int:
        """Delete every record that the topic holds; gives how many that were at most."""
        ends = await self.ends(topic)
        async with self.admin() as admin:
            await admin.delete_records(
                {one: RecordsToDelete(before_offset=end) for one, end in ends.items() if end}
            )
        return sum(ends.values())

    async def reset(self, group: str, topic: str, *, to_end: bool) -> None:
        """Commit the beginning or the end for a group that has no members now."""
        ends = await self.ends(topic)
        async with self.reader(prefixed(self.prefix, group)) as reader:
            reader.assign(self.partitions(topic))
            await reader.commit({one: end if to_end else 0 for one, end in ends.items()})

    # topics made anew

    async def make_anew(self) -> None:
        """Delete all topics under everybody's feet and make them again, empty."""
        async with self.admin() as admin:
            await admin.delete_topics([prefixed(self.prefix, name) for name in PARTITIONS])

            async def are_gone() -> bool:
                return not any(n.startswith(self.prefix) for n in await admin.list_topics())

            await until(are_gone, ANEW_S, "the topics are gone")
        await ensure_topics(self.bootstrap, 1, self.prefix)

    async def commits(self, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
        async with self.admin() as admin:
            found: dict[
                TopicPartition, OffsetAndMetadata
            ] = await admin.list_consumer_group_offsets(prefixed(self.prefix, group))
            return found

    async def commit_late(
        self, group: str, topic: str, late: dict[TopicPartition, OffsetAndMetadata]
    ) -> int:
        """A commit from before the topic was made anew lands after it, for a group that has no
        members now; gives how many records of the new topic lie before it.
        """
        ends = await self.ends(topic)
        inside = {
            place: OffsetAndMetadata(min(to.offset, ends[place] - 1), to.metadata)
            for place, to in late.items()
            if ends[place] > 1
        }
        async with self.reader(prefixed(self.prefix, group)) as reader:
            reader.assign(self.partitions(topic))
            await reader.commit(inside)
        return sum(to.offset for to in inside.values())
