"""Which topic is behind a name. A topic that is deleted and made again keeps its name and counts
its offsets from nothing; only its id, which a broker gives once, tells the new one from the old.

aiokafka speaks Kafka's Metadata request up to version 5; ids came with version 10.
"""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from io import BytesIO
from typing import Any

from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    NoError,
    RequestTimedOutError,
    for_code,
)
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from orderonce_shared.runtime.ids import random_below

UUID_BYTES = 16
NO_ID = bytes(UUID_BYTES)
UNKNOWN = ""  # the topic is there, but its id is not told
# So that one that is dead leaves time to ask the next (kafka_consumer.WATCH_LIMIT_S). A question
# waits behind a fetch on its connection, for up to 0.5 s.
BROKER_LIMIT_S = 1.5


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(UUID_BYTES)


class _Answer(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicIds(Request[_Question]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Iterable[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: Any) -> Any:
        asked: list[Any] = [(NO_ID, topic, {}) for topic in self._topics]
        return request_struct_class(asked, False, False, False, {})


async def topic_ids(client: Any, topics: Iterable[str]) -> dict[str, str] | None:
    """Topic -> id, in Kafka's own 22 characters, or UNKNOWN. One that is not there, or of which the
    broker tells an error, is left out. None: these brokers are too old to tell. Raises KafkaError
    when none answers.

    `client` is the aiokafka client whose connections are used; brokers are asked one after another.
    """
    question = _TopicIds(sorted(topics))
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    first = random_below(max(1, len(nodes)))  # not always the same: it may be the one that is away
    failed: KafkaError = KafkaConnectionError("no broker is known")
    for node in nodes[first:] + nodes[:first]:
        try:
            async with asyncio.timeout(BROKER_LIMIT_S):
                answer = await client.send(node, question)
        except (IncompatibleBrokerVersion, NotImplementedError):
            return None
        except TimeoutError:
            failed = RequestTimedOutError(f"broker {node} told no topic ids in {BROKER_LIMIT_S} s")
        except KafkaError as error:
            failed = error
        else:
            return {row[1]: _text(row[2]) for row in answer.topics if for_code(row[0]) is NoError}
    raise failed


def _text(number: bytes) -> str:
    if number == NO_ID:
        return UNKNOWN
    return urlsafe_b64encode(number).rstrip(b"=").decode()
