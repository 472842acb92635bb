"""VERB: outbox to Kafka. What a transaction has posted is published after its commit and deleted
when acknowledged.

Letters usually come straight from the transaction's hand, so that nothing is read back. A process
that dies before the publish leaves its rows to whoever adopts them; after the publish and before
the delete the record goes out twice, which readers of (timeline, version) and of natural keys do
not notice.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orderonce_shared.contracts.topics import prefixed
from orderonce_shared.runtime.kafka_publisher import Outgoing
from orderonce_shared.runtime.process import Process

from orderonce_executor.ports import Posted
from orderonce_executor.store import PgStore

BATCH = 500
SWEEP_EVERY_S = 1.0
RETRY_S = 0.2
MAX_IN_HAND = 20_000  # beyond this, rows wait in the table


class Publisher(Protocol):
    async def publish(self, records: Sequence[Outgoing]) -> list[bool]: ...


@dataclass(slots=True)
class Relay:
    store: PgStore
    publisher: Publisher
    process: Process
    prefix: str
    in_hand: dict[int, Posted] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    swept_at: float = 0.0

    def take(self, posted: Sequence[Posted]) -> None:
        """Letters of a transaction that has committed."""
        if len(self.in_hand) < MAX_IN_HAND:
            self.in_hand.update((p.id, p) for p in posted)
        if posted:
            self.wake.set()

    async def run(self) -> None:
        """Publishes until the process stops and nothing is left in hand, or the limit of a stop is
        near."""
        while not self.process.stopping.is_set() or self.in_hand:
            if not self.in_hand and not self.process.stopping.is_set():
                await self.process.pause(SWEEP_EVERY_S, self.wake)
            if self.in_hand and not await self.publish_once():
                await asyncio.sleep(RETRY_S)

    async def publish_once(self) -> bool:
        """One batch; whether the brokers took all of it."""
        batch = [self.in_hand[id] for id in list(self.in_hand)[:BATCH]]
        flags = await self.publisher.publish([self._outgoing(p) for p in batch])
        done = [p.id for p, acknowledged in zip(batch, flags, strict=True) if acknowledged]
        if done:
            # After an error the rows stay and go out again: at least once is what readers expect.
            await self.process.attempt("outbox-not-cleared", self.store.posted(done))
            for id in done:
                del self.in_hand[id]
        if len(done) == len(batch):
            self.process.health.fine("relay")
            return True
        self.process.health.trouble("relay", f"Kafka did not take {len(batch) - len(done)} records")
        return False

    async def sweep(self) -> None:
        """Rows of ours that are not in hand: adopted, or of a commit whose answer was lost."""
        self.take(await self.store.sweep_outbox(list(self.in_hand), BATCH))

    def _outgoing(self, posted: Posted) -> Outgoing:
        letter = posted.letter
        topic = prefixed(self.prefix, letter.topic)
        return Outgoing(topic, letter.key, letter.value, letter.headers)
