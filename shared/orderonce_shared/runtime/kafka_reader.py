"""A consumer that notices when its topic is another one under the same name (F21).

An offset counts in one log. When a topic is deleted and made again, what a group has committed and
what a consumer holds in memory may lie INSIDE the new log: it would step over the records before
it, without an error. So each commit carries the topic's id, and where another one is the present
one, or where there is no commit, reading begins at the start of the new log: readers know what they
have read (R3), so too much is harmless and too little is not. Harmless is not free: an answer
without the topic or its id is not another id.

When it is asked: after each assignment, before its first records are handed over; and whenever
`look` has seen another id. Everything happens inside `getmany`, between two batches, so that no
batch is worked on while its place changes.

- Dies before it noticed: what it committed carries the old id; the next owner begins anew.
- A commit is under way while the topic is made anew, and lands in the new one: the same.
- No commit at all: it went away with its topic, so the position is not believed either.
- A commit without an id (an operator's reset, or a release before this one) is believed.
- Brokers that tell no ids: every commit is believed, until they tell one.
- The topic is away, or an error stands in its place: the batch is given back and asked for later.
"""

from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from orderonce_shared.runtime.kafka_topic_ids import UNKNOWN, topic_ids

IDLE_POLL_MS = 250  # records end it at once; asking again every 5 ms costs 2 % of a core
TAG = "topic-id="  # of a commit's metadata

Found = dict[TopicPartition, list[ConsumerRecord]]


class Reader(AIOKafkaConsumer):  # type: ignore[misc]
    """FastStream's consumer. It has one setting for how long it asks and how long it then sleeps;
    only the sleep delays a record, so only the asking is made longer here.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._assignment: object = None
        self._ids: dict[TopicPartition, str] = {}  # what our positions count in
        self._handed: dict[TopicPartition, str] = {}  # the same, of the batch in hand
        self._seen: Mapping[str, str] = {}  # topic -> id, as last seen
        self._left: set[str] = set()

    async def look(self) -> set[str]:
        """See which topics are there now; gives those that are not. Raises KafkaError."""
        asked: frozenset[str] = self.subscription()
        seen = await topic_ids(self._client, asked)
        self._seen = seen or {}
        return set() if seen is None else set(asked - seen.keys())

    def left(self) -> set[str]:
        """Topics that were begun anew since the last call."""
        left, self._left = self._left, set()
        return left

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> Found:
        self._leave_gone_logs()
        found: Found = await super().getmany(
            *partitions, timeout_ms=max(timeout_ms, IDLE_POLL_MS), max_records=max_records
        )
        try:
            while fresh := self._unproven():  # an assignment may change while we ask
                await self._prove(fresh, found)
        except KafkaError:
            self._give_back(found)
            raise
        self._handed = {place: self._ids.get(place, UNKNOWN) for place in found}
        return found

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """With the id of the topic that the batch in hand was read from."""
        await super().commit({place: (to, self._tag(place)) for place, to in offsets.items()})

    def _tag(self, place: TopicPartition) -> str:
        known = self._handed.get(place, UNKNOWN)
        return TAG + known if known else ""

    def _unproven(self) -> list[TopicPartition]:
        subscription = self._subscription.subscription
        assignment = subscription and subscription.assignment
        if assignment is not self._assignment:  # aiokafka makes a new one at each rebalance
            self._assignment, self._ids = assignment, {}
        return [place for place in self.assignment() if place not in self._ids]

    async def _prove(self, fresh: list[TopicPartition], found: Found) -> None:
        """Raises KafkaError. `found` loses what was read in a log that is gone."""
        assignment = self._assignment
        present = await topic_ids(self._client, {place.topic for place in fresh})
        commits = await self._coordinator.fetch_committed_offsets(fresh)
        self._unproven()
        if assignment is not self._assignment:
            return
        self._seen = {**self._seen, **(present or {})}
        absent = set() if present is None else {place.topic for place in fresh} - present.keys()
        if absent:
            raise UnknownTopicOrPartitionError(
                f"Kafka tells nothing of {', '.join(sorted(absent))}"
            )
        for place in fresh:
            now = UNKNOWN if present is None else present[place.topic]
            tag = commits[place].metadata if place in commits else None
            if present is not None and not _believed(tag, now):
                self._begin_anew(place, told=tag is not None)
                found.pop(place, None)
            self._ids[place] = now

    def _leave_gone_logs(self) -> None:
        for place in self.assignment():
            now, known = self._seen.get(place.topic, UNKNOWN), self._ids.get(place)
            if known is None or not now or now == known:
                continue
            if known:
                self._begin_anew(place, told=True)
                self._ids[place] = now
            else:
                del self._ids[place]  # ids are told now: its commit can be compared

    def _begin_anew(self, place: TopicPartition, *, told: bool) -> None:
        """0, and not "the earliest": aiokafka takes it at once, and goes to the earliest by itself
        where 0 is no longer there.
        """
        self.seek(place, 0)
        if told:
            self._left.add(place.topic)

    def _give_back(self, found: Found) -> None:
        """They were not handed over: they must come again."""
        for place, records in found.items():
            if place in self.assignment():
                self.seek(place, records[0].offset)


def _believed(tag: str | None, now: str) -> bool:
    """Whether a commit's metadata (None: there is no commit) speaks of this topic."""
    if tag is None:
        return False
    return not now or not tag.startswith(TAG) or tag == TAG + now
