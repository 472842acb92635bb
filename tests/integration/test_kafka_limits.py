"""A dead letter is larger than the record that it holds: its topic must take it."""

from orderonce_shared.contracts.topics import COMMANDS, DLQ, prefixed
from orderonce_shared.runtime.kafka_publisher import Outgoing, Publisher

ALMOST_A_MEBIBYTE = 1024 * 1024 - 200  # what a broker still takes as a record


async def test_a_dead_letter_of_the_largest_record_is_acknowledged(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    letter = Outgoing(
        prefixed(topic_prefix, DLQ),
        "paper-1",
        b"x" * ALMOST_A_MEBIBYTE,
        [("dlq_topic", prefixed(topic_prefix, COMMANDS).encode()), ("dlq_error", b"e" * 2_000)],
    )
    publisher = Publisher(kafka_bootstrap, "test")
    try:
        assert await publisher.publish([letter]) == [True]
    finally:
        await publisher.close()
