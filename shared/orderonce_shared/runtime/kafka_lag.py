"""How far a subscription is behind, from what its consumer knows already: nobody is asked. As fresh
as the last fetch, which goes on while a batch is worked on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition


class Progress(ConsumerRebalanceListener):  # type: ignore[misc]
    """Of one subscription. A partition counts from its first batch after an assignment on."""

    def __init__(self) -> None:
        self._consumer: Any = None
        self._next: dict[TopicPartition, int] = {}  # first offset that is not committed

    def on_partitions_revoked(self, revoked: object) -> None:
        """Whoever gets them may commit from here on: what is known of them is stale."""
        self._next.clear()

    def on_partitions_assigned(self, assigned: object) -> None:
        return None

    def begun(self, consumer: Any, records: Sequence[ConsumerRecord]) -> None:
        self._consumer = consumer
        for record in reversed(records):  # the first of each counts: it may have been sought back
            self._next[TopicPartition(record.topic, record.partition)] = record.offset

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._next.update(offsets)

    def lag(self) -> float:
        """Records between our commits and the partitions' ends."""
        if self._consumer is None:
            return 0.0
        mine = self._consumer.assignment()
        ends = {place: self._consumer.highwater(place) for place in self._next if place in mine}
        return float(sum(max(0, end - self._next[place]) for place, end in ends.items() if end))
