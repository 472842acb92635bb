"""The Kafka door to follow.py: batches of bytes in, offsets after the database."""

from faststream.kafka import KafkaBroker
from orderonce_shared.contracts.topics import EVENTS, FILLS, prefixed
from orderonce_shared.runtime.kafka import Batch, consumer_broker, subscribe_batches
from orderonce_shared.runtime.process import Process

from orderonce_api.follow import Follower

GROUP = "order-api"


def follow_broker(
    follower: Follower, process: Process, *, bootstrap: str, topic_prefix: str
) -> KafkaBroker:
    """A broker with both subscriptions. Two groups: a rebalance of one topic does not stop the
    other.
    """
    broker = consumer_broker(bootstrap, "order-api-follow")

    async def on_events(records: Batch) -> None:
        await follower.events([record.value for record in records])

    async def on_fills(records: Batch) -> None:
        await follower.fills([record.value for record in records])

    for topic, handle in ((EVENTS, on_events), (FILLS, on_fills)):
        subscribe_batches(
            broker,
            prefixed(topic_prefix, topic),
            group=f"{topic_prefix}{GROUP}-{topic}",
            process=process,
            handle=handle,
        )
    return broker
