"""R2, publish until claimed: straight after the commit from memory, and again from the outbox
until the executor's `claimed` has come back.

The process dies after the commit and before this: the row is due a second after its commit, and
any other process's sweeper publishes it. It dies after a publish: the record may go out twice,
which the executor's dedupe makes harmless.

A record that an executor refused is a dead letter (F14) and rests: it is not repeated while its
letter was not replayed. A copy that goes out before the letter is here is refused like the first.
An order that the executor has spoken of does not rest.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from orderonce_shared.contracts.commands import (
    CancelCommand,
    Command,
    PlaceCommand,
    command_headers,
    place_schema,
)
from orderonce_shared.contracts.letters import letter_id
from orderonce_shared.contracts.topics import COMMANDS, prefixed
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.kafka_publisher import Outgoing
from orderonce_shared.runtime.process import Process

from orderonce_api.metrics import Metrics
from orderonce_api.store import Store

MAX_QUEUED = (
    20_000  # beyond it the outbox alone remembers, and the sweeper publishes a second later
)
BATCH = 500
SWEEP_EVERY_S = 0.5
LONGEST_PAUSE_S = 30.0
MEASURE_EVERY_S = 1.0
# So many places refused and none claimed since: the executors refuse everything (decision 0046).
REFUSED_IN_A_ROW = 20
# An order that is not final is asked about when nothing was heard of it for so long, and then again
# after pauses that double: a resting order costs one record in ten minutes.
ASK_EVERY_S = 5.0
QUIET_S = 20.0
LONGEST_ASK_PAUSE_S = 600.0
# A record that the broker acknowledged to us is not repeated sooner: the executor may be busy.
TRUST_S = 5.0
MAX_TRUSTED = 50_000


Due = tuple[tuple[str, str], Outgoing]  # (client, key) of a command, and its record


class Publishes(Protocol):
    async def publish(self, records: Sequence[Outgoing]) -> list[bool]: ...


def record_of(command: Command, traceparent: str, topic: str) -> Outgoing:
    """The record, made of nothing but what was committed: every process builds the same bytes."""
    return Outgoing(topic, command.account, command.encode(), command_headers(command, traceparent))


def _key(record: Outgoing) -> bytes | None:
    return record.key.encode() if isinstance(record.key, str) else record.key


def command_of(row: Any) -> Command:
    """A row of `take_due` to the command that was accepted."""
    if row["kind"] == "cancel":
        return CancelCommand(
            order_id=row["order_id"],
            client=row["client"],
            key=row["key"],
            key_id=row["key_id"],
            account=row["account"],
            venue=row["venue"],
            symbol=row["symbol"],
            place_key=row["place_key"],
            accept_seq=row["accept_seq"],
            seq=row["seq"],
            accepted_at=row["created_at"],
            timeline=row["timeline"],
        )
    return PlaceCommand(
        schema=place_schema(row["quote_quantity"]),
        order_id=row["order_id"],
        client=row["client"],
        key=row["key"],
        key_id=row["key_id"],
        account=row["account"],
        venue=row["venue"],
        symbol=row["symbol"],
        side=row["side"],
        type=row["type"],
        quantity=row["quantity"],
        quote_quantity=row["quote_quantity"],
        price=row["price"],
        time_in_force=row["time_in_force"],
        post_only=row["post_only"],
        client_tag=row["client_tag"],
        accept_seq=row["accept_seq"],
        accepted_at=row["created_at"],
        expires_at=row["deadline"],
        timeline=row["timeline"],
    )


class Relay:
    """The fast path and the sweeper of one process."""

    def __init__(
        self,
        publisher: Publishes,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        topic_prefix: str = "",
    ) -> None:
        self._publisher = publisher
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._acknowledged: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._topic = prefixed(topic_prefix, COMMANDS)
        self._queued: deque[tuple[Command, str]] = deque()
        self._wake = asyncio.Event()

    def offer(self, commands: Sequence[tuple[Command, str]]) -> None:
        """Just committed, with their traceparents. Never waits: the sender's 202 does not hang on
        Kafka.
        """
        if len(self._queued) + len(commands) <= MAX_QUEUED:
            self._queued.extend(commands)
            self._wake.set()

    async def run(self, process: Process) -> None:
        """The fast path, until the process stops."""
        while not process.stopping.is_set():
            await process.pause(1.0, self._wake)
            await self.flush()

    async def flush(self) -> None:
        """Publishes all that is queued. What the broker does not take, the sweeper has."""
        while self._queued:
            size = min(len(self._queued), BATCH)
            taken = (self._queued.popleft() for _ in range(size))
            due = [((c.client, c.key), self._record(c, trace)) for c, trace in taken]
            await self._publish(due, "commit")

    async def sweep(self) -> None:
        """One round of the sweeper: every row whose pause is over, but for those that this process
        has seen acknowledged a moment ago, and those whose record is a dead letter. A backlog at
        the executor does not double itself in Kafka.
        """
        while True:
            rows = await self._store.take_due(BATCH, LONGEST_PAUSE_S)
            self._forget_old()
            rows.sort(key=lambda row: row["accept_seq"])
            rested = [row for row in rows if (row["client"], row["key"]) not in self._acknowledged]
            due = await self._without_letters(rested)
            flags = await self._publish(due, "sweeper") if due else []
            failed = [name for (name, _), flag in zip(due, flags, strict=True) if not flag]
            if failed:
                await self._store.retry_soon(failed)
            if failed or len(rows) < BATCH:
                return

    async def ask_again(self) -> None:
        """Puts orders of which nothing was heard for long back into the outbox (F21: Kafka lost the
        event after the claim's). The sweeper publishes them like any other command.
        """
        await self._store.ask_again(QUIET_S, LONGEST_ASK_PAUSE_S, BATCH)

    async def _without_letters(self, rows: Sequence[Any]) -> list[Due]:
        """The records of these rows, but for those of which a dead letter waits or was discarded:
        nobody would take the very same bytes now. A letter is named by what it holds, so another's
        letter rests no order of ours, a letter about a place no cancel, and a build that writes
        other bytes tries them. An order that the executor has spoken of was claimed by these very
        bytes: it is asked about (F21), whatever became of another copy.
        """
        due = [
            ((row["client"], row["key"]), self._record(command_of(row), row["traceparent"]))
            for row in rows
        ]
        names = [
            letter_id(record.topic, _key(record), record.value, record.headers)
            if row["kind"] == "cancel" or row["version"] == 0
            else None
            for row, (_, record) in zip(rows, due, strict=True)
        ]
        asked = [name for name in names if name is not None]
        resting = await self._store.resting_letters(asked) if asked else set()
        return [one for one, name in zip(due, names, strict=True) if name not in resting]

    def _record(self, command: Command, traceparent: str) -> Outgoing:
        return record_of(command, traceparent, self._topic)

    async def _publish(self, due: Sequence[Due], by: str) -> list[bool]:
        flags = await self._publisher.publish([record for _, record in due])
        now = self._clock.monotonic()
        for (name, _), flag in zip(due, flags, strict=True):
            if flag:
                self._acknowledged[name] = now
                self._acknowledged.move_to_end(name)
        self._metrics.published.labels(by, "acknowledged").inc(sum(flags))
        self._metrics.published.labels(by, "failed").inc(len(flags) - sum(flags))
        return flags

    def _forget_old(self) -> None:
        limit = self._clock.monotonic() - TRUST_S
        trusted = self._acknowledged
        while trusted and (len(trusted) > MAX_TRUSTED or next(iter(trusted.values())) < limit):
            trusted.popitem(last=False)


class Line:
    """How the line to the executor stands, per account; measured beside the
    accepts, not in them.
    """

    def __init__(
        self, store: Store, metrics: Metrics, limit: timedelta, topic_prefix: str = ""
    ) -> None:
        self._topic = prefixed(topic_prefix, COMMANDS)
        self._store = store
        self._metrics = metrics
        self.limit = limit
        self._oldest: dict[str, datetime] = {}

    async def measure(self) -> None:
        self._oldest = await self._store.measure_line(self._topic, REFUSED_IN_A_ROW)
        count, oldest_s = await self._store.measure_outbox(self._topic)
        self._metrics.unclaimed.set(count)
        self._metrics.oldest_unclaimed_s.set(oldest_s or 0.0)

    def oldest(self, account: str) -> datetime | None:
        return self._oldest.get(account)
