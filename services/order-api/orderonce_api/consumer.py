"""The Kafka door to follow.py and letters.py: batches of bytes in, offsets after the database.

What comes alone is applied at once. What comes close behind gathers: a statement, a fetch and a
commit of offsets cost as much as some ten records. While somebody waits here for an order to
settle, events do not rest.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import ConsumerRecord
from faststream.kafka import KafkaBroker
from orderonce_shared.contracts.topics import DLQ, EVENTS, FILLS, prefixed
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.kafka_consumer import (
    Batch,
    WatchLag,
    consumer_broker,
    subscribe_batches,
)
from orderonce_shared.runtime.kafka_security import OPEN, KafkaSecurity
from orderonce_shared.runtime.process import Process

from orderonce_api.follow import Follower
from orderonce_api.letters import Arrived, Letters
from orderonce_api.waiting import Waiters

GROUP = "order-api"
EVENTS_APART_S = 0.04  # how late clients may see a change; whoever waits for it sees it at once
FILLS_APART_S = 0.1


def rest_between(
    process: Process, apart_s: float, busy: Callable[[], bool]
) -> Callable[[], Awaitable[None]]:
    """To be called after each batch: returns when `apart_s` have passed since it returned last, at
    once while `busy()`.
    """
    now = asyncio.get_running_loop().time
    last = now()

    async def rest() -> None:
        nonlocal last
        left_s = last + apart_s - now()
        if left_s > 0 and not busy():
            await process.pause(left_s)
        last = now()

    return rest


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

    after_events = rest_between(process, EVENTS_APART_S, waiters.anybody)
    after_fills = rest_between(process, FILLS_APART_S, lambda: False)
    for topic, handle, after in (
        (EVENTS, on_events, after_events),
        (FILLS, on_fills, after_fills),
        (DLQ, on_letters, None),
    ):
        subscribe_batches(
            broker,
            prefixed(topic_prefix, topic),
            group=f"{topic_prefix}{GROUP}-{topic}",
            process=process,
            handle=handle,
            after_commit=after,
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
