"""Many records at once leave in batches of the publisher's own making; nobody can tell but by the
price."""

from collections import defaultdict

import pytest
from aiokafka import AIOKafkaConsumer
from orderonce_shared.contracts.topics import EVENTS, FILLS, prefixed
from orderonce_shared.runtime.kafka_publisher import (
    MANY,
    MAX_BATCH_BYTES,
    MAX_LETTER_BYTES,
    Outgoing,
    Publisher,
)

KEYS = [f"paper-{n}" for n in range(6)]
LIMIT_MS = 20_000


@pytest.mark.parametrize("count", [MANY - 1, MANY, 40 * MANY])
async def test_each_record_arrives_once_in_the_order_of_its_key_and_where_its_key_belongs(
    kafka_bootstrap: str, topic_prefix: str, count: int
) -> None:
    events, fills = prefixed(topic_prefix, EVENTS), prefixed(topic_prefix, FILLS)
    records = [
        Outgoing((events, fills)[n % 2], KEYS[n % 6], b"%06d" % n + b"." * 600, [("n", b"%d" % n)])
        for n in range(count)
    ]
    publisher = Publisher(kafka_bootstrap, "test")
    try:
        for one in (events, fills):  # where `send` puts these keys
            firsts = [Outgoing(one, key, b"first", []) for key in KEYS]
            assert all(await publisher.publish(firsts))
        assert await publisher.publish(records) == [True] * count
    finally:
        await publisher.close()

    seen = await _read(kafka_bootstrap, [events, fills], count + 2 * len(KEYS))
    for topic, key in {(record.topic, record.key) for record in records}:
        (partition,) = {place for place in seen if key in seen[place] and place[0] == topic}
        meant = [r.value for r in records if (r.topic, r.key) == (topic, key)]
        assert seen[partition][str(key)] == [b"first", *meant]


async def test_a_record_that_is_too_large_does_not_hold_back_its_many_neighbours(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    topic = prefixed(topic_prefix, EVENTS)
    sizes = [100] * MANY + [MAX_LETTER_BYTES + 1, MAX_BATCH_BYTES, MAX_BATCH_BYTES // 2] + [100]
    publisher = Publisher(kafka_bootstrap, "test")
    try:
        flags = await publisher.publish([Outgoing(topic, "a", b"x" * n, []) for n in sizes])
    finally:
        await publisher.close()

    assert flags == [size <= MAX_LETTER_BYTES for size in sizes]


async def _read(
    bootstrap: str, topics: list[str], count: int
) -> dict[tuple[str, int], dict[str, list[bytes]]]:
    """(topic, partition) -> key -> values in their order, of `count` records."""
    seen: dict[tuple[str, int], dict[str, list[bytes]]] = defaultdict(lambda: defaultdict(list))
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    try:
        while count > 0:
            found = await consumer.getmany(timeout_ms=LIMIT_MS)
            assert found, f"{count} records are missing"
            for place, rows in found.items():
                count -= len(rows)
                for row in rows:
                    seen[place.topic, place.partition][row.key.decode()].append(row.value)
    finally:
        await consumer.stop()
    return seen
