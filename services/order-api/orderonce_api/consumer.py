"""The Kafka door to follow.py and letters.py: batches of bytes in, offsets after the database."""

from aiokafka import ConsumerRecord
from faststream.kafka import KafkaBroker
from orderonce_shared.contracts.topics import DLQ, EVENTS, FILLS, prefixed
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.kafka import (
    OPEN,
    Batch,
    WatchLag,
    consumer_broker,
    subscribe_batches,
)
from orderonce_shared.runtime.kafka_security import KafkaSecurity
from orderonce_shared.runtime.process import Process

from orderonce_api.follow import Follower
from orderonce_api.letters import Arrived, Letters
from orderonce_api.waiting import Waiters

GROUP = "order-api"


def follow_broker(
    follower: Follower,
    letters: Letters,
    waiters: Waiters,
    process: Process,
    *,
    bootstrap: str,
    topic_prefix: str,
    security: KafkaSecurity = OPEN,
    clock: Clock,
    watch_lag: WatchLag | None = None,
) -> KafkaBroker:
    """A broker with all subscriptions. A group each: a rebalance of one topic does not stop the
    others.
    """
    broker = consumer_broker(bootstrap, "order-api-follow", security)

    def committed(topic: str, records: Batch) -> None:
        late_s = clock.now().timestamp() - records[0].timestamp / 1000
        follower.metrics.follow_lag_s.labels(topic).observe(max(0.0, late_s))

    async def on_events(records: Batch) -> None:
        await follower.events([record.value for record in records])
        waiters.nudge()
        committed(EVENTS, records)

    async def on_fills(records: Batch) -> None:
        await follower.fills([record.value for record in records])
        committed(FILLS, records)

    async def on_letters(records: Batch) -> None:
        await letters.keep([_arrived(record) for record in records])

    for topic, handle in ((EVENTS, on_events), (FILLS, on_fills), (DLQ, on_letters)):
        subscribe_batches(
            broker,
            prefixed(topic_prefix, topic),
            group=f"{topic_prefix}{GROUP}-{topic}",
            process=process,
            handle=handle,
            watch_lag=watch_lag,
        )
    return broker


def _arrived(record: ConsumerRecord) -> Arrived:
    return Arrived(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value or b"",
        list(record.headers),
    )
