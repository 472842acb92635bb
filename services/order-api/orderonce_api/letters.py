"""VERB: dead letters: keep what lies in orders.dlq where a person can see it, replay a record, or
discard it.

A letter is named by what it is about (topic, key, bytes, headers), so that a record which is
published again and refused again is the same letter, and a batch that comes twice is kept once.
What waits is never taken out. What was replayed or discarded stays visible for KEPT_FOR, and so
does what was done by whom; the log has it for as long as logs are kept.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import orjson
from orderonce_shared.contracts.letters import Origin, letter_id, read_letter
from orderonce_shared.contracts.topics import COMMANDS, EVENTS, FILLS, Headers, prefixed
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.kafka_publisher import Outgoing
from orderonce_shared.runtime.logs import Logger

from orderonce_api import errors
from orderonce_api.letter_store import LetterStore
from orderonce_api.metrics import Metrics
from orderonce_api.store import StatementFailed

MEASURE_EVERY_S = 5.0
FORGET_EVERY_S = 3_600.0
# Since a person dealt with it, or it came again. Longer than orders.dlq keeps its records (a week,
# unless a broker says otherwise): reading that topic from its beginning brings nothing back.
KEPT_FOR = timedelta(days=90)
FORGOTTEN_AT_ONCE = 200  # of up to a mebibyte each
REPLAYED_TO = (COMMANDS, FILLS, EVENTS)
# A replay that was not finished: its process is dead or hangs, and another may take it over. Well
# past the publisher's own limits.
TAKE_OVER_S = 30.0
MAX_WORDS = 1_000  # of an error, which a stranger may have written


class Publishes(Protocol):
    async def publish(self, records: Sequence[Outgoing]) -> list[bool]: ...


@dataclass(frozen=True, slots=True)
class Arrived:
    """One record of orders.dlq."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Letters:
    store: LetterStore
    publisher: Publishes
    topic_prefix: str
    clock: Clock
    metrics: Metrics
    log: Logger

    async def keep(self, arrived: Iterable[Arrived]) -> None:
        """A batch of orders.dlq. Raises StoreError: the batch is to be offered again."""
        rows: dict[UUID, tuple[Any, ...]] = {}
        for one in arrived:
            row = self._row(one)
            before = rows.get(row[0])
            times = 1 if before is None else before[-1] + (before[2:4] != row[2:4])
            rows[row[0]] = (*row, times)
        await self._keep([rows[letter_id] for letter_id in sorted(rows)])

    async def _keep(self, rows: Sequence[tuple[Any, ...]]) -> None:
        try:
            await self.store.keep_letters(rows)
        except StatementFailed as error:
            if len(rows) > 1:
                for row in rows:
                    await self._keep([row])
            else:  # it lies in the topic all the same
                self.log.error("letter-not-kept", letter_id=str(rows[0][0]), error=str(error))

    def _row(self, one: Arrived) -> tuple[Any, ...]:
        """One line for `keep_letters`, in the order of its arrays, but for `times`."""
        now = self.clock.now()
        origin = read_letter(one.key, one.headers) or Origin(
            one.topic, one.partition, one.offset, one.key, one.headers, "not a letter of ours", ""
        )
        named = {name: _clean(value) for name, value in reversed(origin.headers)}
        return (
            letter_id(origin.topic, origin.key, one.value, origin.headers),
            _clean(origin.topic.encode()),
            origin.partition,
            origin.offset,
            one.offset,
            origin.key,
            one.value,
            headers_as_json(origin.headers),
            _clean(origin.error.encode("utf-8", "replace"))[:MAX_WORDS],
            _uuid(named.get("order_id", "")),
            named.get("client") or None,
            _moment(origin.first_seen) or now,
            now,
        )

    async def replay(self, letter_id: UUID, by: str) -> Any:
        """The letter's row, once its record lies in its topic again: original key, bytes and
        headers. A second call writes nothing more.

        Dies between the produce and the mark: the letter says `replaying`, and after TAKE_OVER_S
        it may be replayed again. The record is then there twice, which is harmless: the executor
        takes a command once by its key and id (R3), the ledger a fill once by its natural key.
        """
        row = await self._known(letter_id)
        if not self.replayable(row["topic"]):
            raise errors.LetterNotReplayable(row["topic"])
        taken = await self.store.begin_replay(letter_id, by, TAKE_OVER_S)
        if taken is None:  # replayed already, or another call is at it
            return await self._known(letter_id)
        record = Outgoing(
            taken["topic"], taken["record_key"], taken["value"], headers_of(taken["headers"])
        )
        (acknowledged,) = await self.publisher.publish([record])
        row = await self.store.end_replay(letter_id, taken["times"], acknowledged)
        self.log.warning(
            "letter-replayed" if acknowledged else "letter-replay-failed",
            audit=True,
            letter_id=str(letter_id),
            topic=taken["topic"],
            order_id=None if taken["order_id"] is None else str(taken["order_id"]),
            by=by,
        )
        if not acknowledged:
            raise errors.Unavailable(
                "the brokers did not take the record; it may be replayed again"
            )
        return row or await self._known(letter_id)

    async def discard(self, letter_id: UUID, reason: str | None, by: str) -> Any:
        """Out of the list of what waits; it stays visible. A second call changes nothing, and a
        letter that was replayed has nothing to discard.
        """
        row = await self.store.discard_letter(letter_id, reason, by)
        if row is None:
            return await self._known(letter_id)
        self.log.warning(
            "letter-discarded", audit=True, letter_id=str(letter_id), reason=reason, by=by
        )
        return row

    async def show(self, letter_id: UUID) -> Any:
        return await self._known(letter_id)

    def replayable(self, topic: str) -> bool:
        """Only to topics that are ours: what a letter says of its origin, a stranger may have
        written.
        """
        return topic in {prefixed(self.topic_prefix, name) for name in REPLAYED_TO}

    async def measure(self) -> None:
        self.metrics.dead_letters.set(await self.store.count_letters())

    async def forget(self) -> None:
        """Takes out what was dealt with long ago. Dies in between: the next round goes on."""
        before = self.clock.now() - KEPT_FOR
        while await self.store.forget_letters(before, FORGOTTEN_AT_ONCE) == FORGOTTEN_AT_ONCE:
            pass

    async def _known(self, letter_id: UUID) -> Any:
        row = await self.store.letter(letter_id)
        if row is None:
            raise errors.NotFound("no such letter")
        return row


def headers_as_json(headers: Headers) -> str:
    """[[name, base64], …]: a header's value is any bytes."""
    return orjson.dumps(
        [[name, base64.b64encode(value).decode()] for name, value in headers]
    ).decode()


def headers_of(text: str) -> Headers:
    return [(name, base64.b64decode(value)) for name, value in orjson.loads(text)]


def _clean(value: bytes) -> str:
    """What Postgres takes as text and a screen can show."""
    text = value.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo and 2000 <= moment.year <= 2100 else None
