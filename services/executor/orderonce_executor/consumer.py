"""The Kafka door: batches of bytes from `orders.commands` -> claim (TX) -> offsets -> lanes.

An undecodable record goes to `orders.dlq` with its original bytes, through the outbox of the
claim's own transaction. So does one that the database refuses, which is found by claiming its batch
record by record: nothing that a stranger writes may stop the door for good. A schema that this
build does not know parks its partition, loudly: a rolling upgrade must not discard good orders.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from aiokafka import ConsumerRecord
from orderonce_shared.contracts.commands import Command, UnknownSchemaError, decode_command
from orderonce_shared.contracts.letters import DLQ_HEADERS, letter_headers, origin_of
from orderonce_shared.contracts.topics import DLQ, header
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.kafka_consumer import PARK_S, Batch, Parked
from orderonce_shared.runtime.process import Process
from orderonce_shared.runtime.tracing import trace_id

from orderonce_executor.claim import Asked, Claim, claim
from orderonce_executor.claim_store import ClaimStore
from orderonce_executor.metrics import Metrics
from orderonce_executor.ports import Letter, Posted
from orderonce_executor.store import POISON, RacedError

RACE_TRIES = 5
MAX_VALUE_BYTES = 64 * 1024  # a command is below 2 KiB; more is not one

Place = tuple[str, int]


@dataclass(slots=True)
class Read:
    """A batch after decoding."""

    asked: list[Asked] = field(default_factory=list)
    dead: list[Letter] = field(default_factory=list)
    parked: dict[Place, int] = field(default_factory=dict)
    positions: dict[Place, int] = field(default_factory=dict)


@dataclass(slots=True)
class Consumer:
    """`handle` claims a batch; `deliver` feeds the lanes once its offsets are committed."""

    store: ClaimStore
    process: Process
    clock: Clock
    metrics: Metrics
    failpoints: Failpoints
    on_posted: Callable[[Sequence[Posted]], None]
    on_claim: Callable[[Claim], None]
    waiting: list[Claim] = field(default_factory=list)
    parked_at: dict[Place, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.metrics.parked.set_function(self._resting)

    async def handle(self, records: Batch) -> Parked | None:
        read = self._read(records)
        try:
            result = await self._claim(read)
        except POISON as error:
            self.process.log.error("batch-refused", records=len(records), exc_info=error)
            result = await self._one_by_one(read)
        await self.failpoints.hit("claim_after_commit")
        self.on_posted(result.posted)
        self._tell(read, result, len(records))
        self.waiting.append(result)
        return read.parked

    async def deliver(self) -> None:
        """Runs after the offsets. A process that dies before this leaves CLAIMED rows, which
        another takes up."""
        await self.failpoints.hit("after_offsets")
        results, self.waiting = self.waiting, []
        for result in results:
            self.on_claim(result)

    async def _claim(self, read: Read) -> Claim:
        for attempt in range(RACE_TRIES):
            try:
                async with self.store.transaction() as connection:
                    await self.store.require_timeline(connection)
                    result = await claim(self.store, connection, read.asked, self.clock)
                    result.posted += await self.store.post(connection, read.dead)
                    await self.store.save_positions(connection, read.positions)
                    await self.failpoints.hit("claim_before_commit")
                return result
            except RacedError:
                if attempt == RACE_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def _one_by_one(self, read: Read) -> Claim:
        """A transaction for each record, and the position last. Dies in between: the batch comes
        again, what was claimed is then a repeat, and a dead letter may come twice."""
        total = Claim()
        for one in read.asked:
            try:
                total.add(await self._claim(Read(asked=[one])))
            except POISON as error:
                why = f"{type(error).__name__}: {error}"
                total.add(await self._bury(one.dead_letter(why)))
                total.alarms.append((one, why))
        for letter in read.dead:
            total.add(await self._bury(letter))
        total.add(await self._claim(Read(positions=read.positions)))
        return total

    async def _bury(self, letter: Letter) -> Claim:
        """Without the headers it came with if the database does not take those either."""
        try:
            return await self._claim(Read(dead=[letter]))
        except POISON as error:
            self.process.log.error("dead-letter-stripped", exc_info=error)
            last = dict(letter.headers)  # ours come after those of the same name
            bare = replace(letter, headers=[(n, last[n]) for n in DLQ_HEADERS if n in last])
            return await self._claim(Read(dead=[bare]))

    def _read(self, records: Sequence[ConsumerRecord]) -> Read:
        read = Read()
        for record in records:
            place = (record.topic, record.partition)
            if place in read.parked:
                continue
            try:
                command = self._decode(record)
            except UnknownSchemaError as error:
                read.parked[place] = record.offset
                read.positions[place] = record.offset
                self._park(record, str(error))
                continue
            except ValueError as error:
                self.metrics.dead_letters.inc()
                self.process.log.error(
                    "command-undecodable",
                    order_id=header(record.headers, "order_id"),
                    trace_id=trace_id(header(record.headers, "traceparent")),
                    partition=record.partition,
                    offset=record.offset,
                    error=type(error).__name__,
                )
                read.dead.append(self._dead_letter(record, str(error)))
            else:
                trace = self.process.tracing.continue_record(record)
                refuse = partial(self._dead_letter, record)
                read.asked.append(Asked(command, command.payload_hash(), trace, refuse))
            read.positions[place] = record.offset + 1
        return read

    def _decode(self, record: ConsumerRecord) -> Command:
        if record.value is None or len(record.value) > MAX_VALUE_BYTES:
            raise ValueError("no value, or one too large for a command")
        return decode_command(header(record.headers, "schema"), record.value)

    def _park(self, record: ConsumerRecord, error: str) -> None:
        part = f"partition {record.topic}/{record.partition}"
        self.process.health.trouble(part, f"parked at offset {record.offset}: {error}")
        self.parked_at[record.topic, record.partition] = self.clock.monotonic()
        self.process.log.error(
            "partition-parked",
            partition=record.partition,
            offset=record.offset,
            error=error,
            todo="start an executor that knows this schema",
        )

    def _resting(self) -> float:
        """Partitions parked here of late: one that another process reads by now is not parked
        again by this one."""
        since = self.clock.monotonic() - 2 * PARK_S
        return float(sum(at > since for at in self.parked_at.values()))

    def _dead_letter(self, record: ConsumerRecord, error: str) -> Letter:
        """Original key, bytes and headers, and where they came from. The outbox keeps keys as text,
        without NUL; the exact one is in a header."""
        text = (record.key or b"").decode("utf-8", "replace").replace("\0", "\ufffd")
        origin = origin_of(record, error, self.clock.now())
        return Letter(DLQ, text, record.value or b"", letter_headers(origin))

    def _tell(self, read: Read, result: Claim, count: int) -> None:
        for one, trouble in result.alarms:
            self.metrics.alarms.inc()
            self.metrics.dead_letters.inc()
            self.process.log.error(
                "command-refused",
                order_id=str(one.command.order_id),
                trace_id=trace_id(one.traceparent),
                client=one.command.client,
                why=trouble,
                alarm=True,
            )
        for topic, partition in read.positions.keys() - read.parked.keys():
            self.process.health.fine(f"partition {topic}/{partition}")
            self.parked_at.pop((topic, partition), None)
        self.metrics.batch.observe(count)
        self.metrics.claims.inc(len(result.claimed))
        self.metrics.repeats.inc(result.repeats)
        now = self.clock.now()
        for one in read.asked:
            self.metrics.lag.observe(max(0.0, (now - one.command.accepted_at).total_seconds()))
