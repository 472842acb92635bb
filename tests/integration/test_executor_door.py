"""The Kafka door on a real database: whatever a record holds, it falls alone, and it is kept."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from orderonce_executor.claim import Claim
from orderonce_executor.claim_store import ClaimStore
from orderonce_executor.consumer import Consumer
from orderonce_executor.metrics import Metrics
from orderonce_executor.ports import Letter, Posted
from orderonce_executor.rows import posted_of
from orderonce_shared.contracts.commands import CancelCommand, PlaceCommand, command_headers
from orderonce_shared.contracts.topics import COMMANDS, DLQ, Headers
from orderonce_shared.runtime.clock import SystemClock
from orderonce_shared.runtime.database import Pool, open_pool
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.ids import new_order_id
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.process import Process
from orderonce_shared.runtime.tracing import new_traceparent
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from tests.integration.test_executor_store import cancel, place
from tests.servers import Database

OURS = ["dlq_key", "dlq_topic", "dlq_partition", "dlq_offset", "dlq_error", "dlq_first_seen"]


@dataclass
class Door:
    """A consumer without its Kafka."""

    consumer: Consumer
    owner: Pool
    posted: list[Posted] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    async def claimed(self, *commands: PlaceCommand) -> list[bool]:
        rows = await self.owner.fetch("SELECT order_id FROM executor.placement")
        found = {row["order_id"] for row in rows}
        return [command.order_id in found for command in commands]

    async def dead(self) -> list[Letter]:
        """Dead letters as whoever publishes them will read them."""
        rows = await self.consumer.store.pool.fetch(
            "SELECT * FROM executor.outbox WHERE topic = $1 ORDER BY id", DLQ
        )
        assert {row["id"] for row in rows} <= {one.id for one in self.posted}
        return [posted_of(row).letter for row in rows]

    async def positions(self) -> dict[int, int]:
        rows = await self.owner.fetch("SELECT partition, next_offset FROM executor.position")
        return {row["partition"]: row["next_offset"] for row in rows}


@pytest.fixture
async def door(database: Database) -> AsyncIterator[Door]:
    owner = await open_pool(SecretStr(database.owner_url), application="test", size=1)
    pool = await open_pool(SecretStr(database.executor_url), application="test", size=2)
    await owner.execute(
        "INSERT INTO control.account (account, venue, venue_uid) VALUES ('paper-1', 'paper', '1')"
    )
    store = ClaimStore(pool, new_order_id(), await pool.fetchval("SELECT control.timeline()"))
    posted: list[Posted] = []
    claims: list[Claim] = []
    consumer = Consumer(
        store,
        Process(configure_logs("test")),
        SystemClock(),
        Metrics(CollectorRegistry()),
        Failpoints(),
        posted.extend,
        claims.append,
    )
    yield Door(consumer, owner, posted, claims)
    await pool.close()
    await owner.close()


def record(
    value: bytes | PlaceCommand | CancelCommand,
    offset: int = 0,
    *,
    partition: int = 0,
    key: bytes | None = b"paper-1",
    headers: Headers | None = None,
) -> "ConsumerRecord[bytes, bytes]":
    raw = value if isinstance(value, bytes) else value.encode()
    if headers is None:
        headers = [] if isinstance(value, bytes) else command_headers(value, new_traceparent())
    return ConsumerRecord(
        COMMANDS, partition, offset, 0, 0, key, raw, None, -1, len(raw), tuple(headers)
    )


def originals(letter: Letter) -> Headers:
    return [pair for pair in letter.headers if not pair[0].startswith("dlq_")]


async def test_terms_that_no_order_has_are_a_dead_letter(door: Door) -> None:
    good = [place(), place()]
    zero = json.dumps({**json.loads(place().encode()), "quantity": "0"}).encode()
    await door.consumer.handle([record(good[0]), record(zero, 1), record(good[1], 2)])
    assert await door.claimed(*good) == [True, True]
    assert [letter.value for letter in await door.dead()] == [zero]


async def test_a_row_that_the_database_refuses_falls_alone(door: Door) -> None:
    """What the contract lets pass and a CHECK does not must not stop the executor for good."""
    await door.owner.execute("ALTER TABLE executor.placement ADD CHECK (symbol <> 'BAD/USDT')")
    good, bad = [place(), place()], place(symbol="BAD/USDT")
    first = cancel(place(symbol="BAD/USDT"))
    records = [record(c, n) for n, c in enumerate((good[0], bad, first, b"garbage", good[1]))]
    parked = await door.consumer.handle(records)
    await door.consumer.deliver()
    assert not parked
    assert await door.claimed(*good, bad) == [True, True, False]
    assert [row.order_id for one in door.claims for row in one.claimed] == [
        order.order_id for order in good
    ]
    letters = {letter.value: letter for letter in await door.dead()}
    assert set(letters) == {bad.encode(), first.encode(), b"garbage"}
    letter = letters[bad.encode()]
    assert letter.key == "paper-1"
    assert originals(letter) == list(records[1].headers)
    added = dict(letter.headers)
    assert added["dlq_offset"] == b"1"
    assert b"CheckViolation" in added["dlq_error"]
    assert await door.positions() == {0: 5}
    await door.consumer.handle(records)  # it comes again: nothing is claimed twice
    assert sum(len(one.claimed) for one in door.consumer.waiting) == 0


@pytest.mark.parametrize("key", [b"a\0b", b"\xff\xfe", b"\0", "paper-1 é".encode(), b"", None])
async def test_a_dead_letter_is_stored_whatever_it_holds(door: Door, key: bytes | None) -> None:
    strange: Headers = [("x", b"a\0b"), ("y", b"\xff\x00"), ("z", "é".encode()), ("", b"")]
    value, good = b'{"hello": "\0\xff"}', place()
    await door.consumer.handle([record(value, 3, key=key, headers=strange), record(good, 4)])
    (letter,) = await door.dead()
    assert (letter.value, originals(letter)) == (value, strange)
    added = dict(letter.headers)
    text = (key or b"").decode(errors="replace").replace("\0", "\ufffd")
    assert letter.key == text
    if key is None:
        assert added["dlq_key"] == b"-"
    else:
        assert base64.b64decode(added["dlq_key"]) == key
    assert await door.claimed(good) == [True]


async def test_a_nul_in_a_headers_name_is_escaped(door: Door) -> None:
    await door.consumer.handle([record(b"garbage", headers=[("a\0b", b"1"), ("c", b"2")])])
    (letter,) = await door.dead()
    assert originals(letter) == [("a\\x00b", b"1"), ("c", b"2")]


async def test_a_letter_that_cannot_be_stored_goes_without_its_headers(door: Door) -> None:
    await door.owner.execute(
        "ALTER TABLE executor.outbox ADD CHECK (headers::text NOT LIKE '%stranger%')"
    )
    good, headers = place(), [("stranger", b"1")]
    await door.consumer.handle([record(b"garbage", headers=headers), record(good, 1)])
    (letter,) = await door.dead()
    assert letter.value == b"garbage"
    assert [name for name, _ in letter.headers] == OURS
    assert await door.claimed(good) == [True]
    assert await door.positions() == {0: 2}


async def test_an_account_at_another_venue_is_refused(door: Door) -> None:
    """Nobody could ever send it: its lane would carry it until its deadline. An account that is not
    admitted may still be: its order waits."""
    good, wrong, early = place(), place(venue="binance"), place(account="soon", venue="binance")
    await door.consumer.handle([record(c, n) for n, c in enumerate((wrong, early, good))])
    assert await door.claimed(good, wrong, early) == [True, False, True]
    (letter,) = await door.dead()
    assert letter.value == wrong.encode()
    assert b"venue" in dict(letter.headers)["dlq_error"]
    assert door.consumer.metrics.alarms._value.get() == 1


async def test_a_newer_schema_parks_its_own_partition_only(door: Door) -> None:
    before, behind, other, there = place(), place(), place(), place()
    newer: dict[str, Any] = {"schema": "place.v9", "at": datetime.now(UTC).isoformat()}
    parked = await door.consumer.handle(
        [
            record(before, 7),
            record(b'{"hello":1}', 8),
            record(json.dumps(newer).encode(), 9),
            record(behind, 10),
            record(other, 2, partition=1),
        ]
    )
    assert parked == {(COMMANDS, 0): 9}
    assert await door.positions() == {0: 9, 1: 3}
    await door.consumer.handle([record(there, 3, partition=1)])
    assert await door.claimed(before, behind, other, there) == [True, False, True, True]
    assert [letter.value for letter in await door.dead()] == [b'{"hello":1}']
