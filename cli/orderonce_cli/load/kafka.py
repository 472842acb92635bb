"""The load generator's one door to Kafka: how to reach it, a producer, a reader, and what an
operator asks of a cluster (topics, groups, lag).

The reader is assigned its partitions and joins no group, so a run leaves none behind.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    for_code,
)
from aiokafka.partitioner import DefaultPartitioner

from orderonce_cli.load.records import Command
from orderonce_cli.problems import Exit, Problem

__all__ = [
    "Access",
    "Cluster",
    "KafkaError",
    "Producer",
    "Reader",
    "connected",
    "partitions_used",
]

CONNECT_LIMIT_S = 15.0
ANSWER_LIMIT_S = 10.0
COORDINATOR_LIMIT_S, AGAIN_S = 15.0, 0.2
MOST_RECORDS = 2_000  # of one look
LOOK_MS = 20
BATCH_BYTES = 256 * 1024
STATES_WITH_MEMBERS = ("Stable", "PreparingRebalance", "CompletingRebalance")

Security = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True)
class Access:
    """Where a cluster is and how it wants to be spoken to. The password is never shown."""

    bootstrap: str
    security: Security = "PLAINTEXT"
    mechanism: Mechanism = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    def options(self) -> dict[str, Any]:
        """Keyword arguments of every client. Raises Problem for a file that cannot be used."""
        made: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self.security,
            "client_id": "orderonce-load",
        }
        if self.security in ("SSL", "SASL_SSL"):
            made["ssl_context"] = self._tls()
        if self.security.startswith("SASL_"):
            made |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return made

    def _tls(self) -> ssl.SSLContext:
        """Certificates are checked against the CA, and the broker's name against its own."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.client_cert is not None:
                context.load_cert_chain(self.client_cert, self.client_key)
        except (OSError, ssl.SSLError) as error:
            raise Problem(f"The TLS files cannot be used: {error}.", Exit.USAGE) from error
        return context


class Cluster:
    """An open connection to a cluster; everything of it is closed with the block."""

    def __init__(self, access: Access, stack: AsyncExitStack, admin: Any) -> None:
        self._access = access
        self._stack = stack
        self._admin = admin

    async def partitions(self, topic: str) -> int:
        """How many a topic has; 0 when it does not exist."""
        if topic not in await self._admin.list_topics():
            return 0
        (told,) = await self._admin.describe_topics([topic])
        return len(told["partitions"])

    async def make_topics(self, counts: Mapping[str, int], replication: int) -> list[str]:
        """Makes those that are missing; gives the names of those that it made."""
        present = set(await self._admin.list_topics())
        wanted = [
            NewTopic(n, count, replication) for n, count in counts.items() if n not in present
        ]
        if not wanted:
            return []
        answer = await self._admin.create_topics(wanted)
        for name, code, *more in answer.topic_errors:
            if code:
                why = (more[0] if more else None) or for_code(code).__name__
                raise Problem(f"The topic {name} could not be made: {why}.")
        return [topic.name for topic in wanted]

    async def remove_topics(self, names: Sequence[str]) -> None:
        if names:
            await self._admin.delete_topics(list(names))

    async def has_members(self, group: str) -> bool:
        """Whether somebody consumes in this group now."""
        deadline = time.monotonic() + COORDINATOR_LIMIT_S
        while True:
            try:
                (answer,) = await self._admin.describe_consumer_groups([group])
            except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError):
                # The first question about groups makes a fresh cluster set up its memory of them.
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(AGAIN_S)
            else:
                return any(one[2] in STATES_WITH_MEMBERS for one in answer.groups)

    async def producer(self) -> "Producer":
        made = AIOKafkaProducer(
            **self._access.options(), acks="all", enable_idempotence=True, linger_ms=0,
            max_batch_size=BATCH_BYTES, request_timeout_ms=int(ANSWER_LIMIT_S * 1000),
        )  # fmt: skip
        self._stack.push_async_callback(made.stop)
        await made.start()
        return Producer(made)

    async def reader(self, topic: str) -> "Reader":
        """From the present end on; what was written before the call is not read."""
        consumer = AIOKafkaConsumer(
            **self._access.options(), group_id=None, enable_auto_commit=False,
            auto_offset_reset="latest", fetch_max_wait_ms=LOOK_MS,
        )  # fmt: skip
        self._stack.push_async_callback(consumer.stop)
        await consumer.start()
        places = [TopicPartition(topic, n) for n in range(await self.partitions(topic))]
        consumer.assign(places)
        await consumer.seek_to_end(*places)
        for place in places:  # the end is looked up only now: it must be known before a send
            await consumer.position(place)
        return Reader(consumer)

    async def lag_of(self, group: str, topic: str) -> Callable[[], Awaitable[int]]:
        """A question to be asked again and again: how many records has the group not committed?"""
        consumer = AIOKafkaConsumer(**self._access.options(), group_id=None)
        self._stack.push_async_callback(consumer.stop)
        await consumer.start()
        places = [TopicPartition(topic, n) for n in range(await self.partitions(topic))]

        async def ask() -> int:
            committed = await self._admin.list_consumer_group_offsets(group, partitions=places)
            ends = await consumer.end_offsets(places)
            starts = await consumer.beginning_offsets(places)
            behind = 0
            for place in places:
                known = committed.get(place)
                at = known.offset if known is not None and known.offset >= 0 else starts[place]
                behind += max(0, ends[place] - at)
            return behind

        return ask


class Producer:
    """Sends records; every one is acknowledged by all replicas in sync, or fails."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    async def send(self, topic: str, command: Command) -> "asyncio.Future[Any]":
        """Hand one over; the future ends with the brokers' word."""
        future: asyncio.Future[Any] = await self._producer.send(
            topic, command.value, key=command.key, headers=command.headers
        )
        return future


class Reader:
    """Reads what is written from now on."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    async def read(self) -> list[Any]:
        """The next records, after LOOK_MS at most; each has `value`, `key` and `headers`."""
        found = await self._consumer.getmany(timeout_ms=LOOK_MS, max_records=MOST_RECORDS)
        return [record for records in found.values() for record in records]


@asynccontextmanager
async def connected(access: Access) -> "AsyncIterator[Cluster]":
    """Raises Problem with Exit.UNAVAILABLE when the cluster does not answer or refuses us."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters is told as a Problem
    admin = AIOKafkaAdminClient(**access.options(), request_timeout_ms=int(ANSWER_LIMIT_S * 1000))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(admin.close)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await admin.start()
        except (KafkaError, OSError, TimeoutError) as error:
            raise Problem(
                f"Kafka at {access.bootstrap} does not answer as {access.security}: "
                f"{type(error).__name__}: {error}. Check --bootstrap and the security options.",
                Exit.UNAVAILABLE,
            ) from error
        yield Cluster(access, stack, admin)


def partitions_used(accounts: Iterable[str], partitions: int) -> int:
    """How many partitions these accounts hash to, by the rule of Kafka's own clients."""
    pick, every = DefaultPartitioner(), list(range(partitions))
    return len({pick(account.encode(), every, every) for account in accounts})
