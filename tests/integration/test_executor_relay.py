"""Outbox to Kafka, and words that missed their row: at least once, never dropped, on a real
database."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from orderonce_executor.claim_store import ClaimStore
from orderonce_executor.core import Bar, Barred, Replied, SenderLost
from orderonce_executor.lanes import Lanes
from orderonce_executor.metrics import Metrics
from orderonce_executor.ports import Letter
from orderonce_executor.record import Hearing, Recorder, Signals
from orderonce_executor.relay import Relay
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.venue import Acknowledged, VenueStatus
from orderonce_shared.runtime.clock import SystemClock
from orderonce_shared.runtime.database import open_pool
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.ids import new_order_id
from orderonce_shared.runtime.kafka_publisher import Outgoing
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.process import Process
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from tests.integration.test_executor_store import LIMITS, claim_one, now_is
from tests.servers import Database
from tests.unit.executor.builders import fill, venue_order

COUNT = "SELECT count(*) FROM executor.outbox"


@dataclass
class Brokers:
    """Acknowledges while `up`."""

    up: bool = True
    taken: list[Outgoing] = field(default_factory=list)

    async def publish(self, records: Sequence[Outgoing]) -> list[bool]:
        if self.up:
            self.taken += records
        return [self.up] * len(records)


@dataclass
class World:
    store: ClaimStore
    brokers: Brokers
    relay: Relay
    recorder: Recorder


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    pool = await open_pool(SecretStr(database.executor_url), application="test", size=4)
    store = ClaimStore(pool, new_order_id(), await pool.fetchval("SELECT control.timeline()"))
    owner = await open_pool(SecretStr(database.owner_url), application="test", size=1)
    await owner.execute(
        "INSERT INTO control.account (account, venue, venue_uid) VALUES ('paper-1', 'paper', '1')"
    )
    await owner.close()
    await store.save_clock("paper-1", "paper", 0, 1)
    process, clock, brokers = Process(configure_logs("test")), SystemClock(), Brokers()
    relay = Relay(store, brokers, process, "t.")
    recorder = Recorder(
        store,
        relay,
        Lanes(clock.monotonic),
        Signals(),
        process,
        clock,
        Metrics(CollectorRegistry()),
        Failpoints(),
    )
    ended = asyncio.Event()
    running = asyncio.create_task(recorder.run(ended))
    yield World(store, brokers, relay, recorder)
    ended.set()
    await asyncio.wait_for(running, 5)
    await pool.close()


async def post(world: World, count: int) -> None:
    letters = [
        Letter("orders.events", "paper-1", b"%d" % n, [("h", b"\xff")]) for n in range(count)
    ]
    async with world.store.transaction() as connection:
        world.relay.take(await world.store.post(connection, letters))


async def test_acknowledged_letters_leave_the_outbox(world: World) -> None:
    await post(world, 3)
    assert await world.relay.publish_once()
    assert [(r.topic, r.value) for r in world.brokers.taken] == [
        ("t.orders.events", b"%d" % n) for n in range(3)
    ]
    assert await world.store.pool.fetchval(COUNT) == 0
    assert world.relay.in_hand == {}


async def test_letters_wait_for_kafka_and_keep_their_bytes(world: World) -> None:
    await post(world, 2)
    world.brokers.up = False
    assert not await world.relay.publish_once()
    assert await world.store.pool.fetchval(COUNT) == 2
    assert "relay" in world.relay.process.health.troubles
    heir = ClaimStore(world.store.pool, new_order_id(), world.store.timeline)
    adopted = await heir.adopt_outbox([world.store.owner], 10)
    assert [p.letter.value for p in adopted] == [b"0", b"1"]
    assert adopted[0].letter.headers == [("h", b"\xff")]


async def test_a_word_that_missed_is_applied_to_the_row_as_it_is_now(world: World) -> None:
    """The sender is declared lost, then its OK arrives: UNKNOWN first, then FILLED, its fill booked
    once."""
    row = await claim_one(world.store)
    (sending,) = (await world.store.cas_sending([row], LIMITS)).sent
    unknown = await world.recorder.hear(Hearing(sending, SenderLost("gone")))
    assert unknown is not None
    order = replace(venue_order(VenueStatus.FILLED, "1"), fills=(fill(),))
    reply = Hearing(sending, Replied(1, Acknowledged(order)), order.fills)
    assert await world.recorder.hear(reply) is None
    assert world.recorder.signals.resolve.is_set()
    assert await world.recorder.settle() == 1
    now = await now_is(world.store, row)
    assert (now.state, now.fees) == (State.FILLED, fill().fees)
    assert await world.recorder.settle() == 0
    topics = [p.letter.topic for p in world.relay.in_hand.values()]
    assert topics.count("orders.fills") == 1


async def test_a_word_that_cannot_be_stored_does_not_hold_up_its_neighbours(world: World) -> None:
    rows = [await claim_one(world.store) for _ in range(3)]
    poisoned = rows[1]._replace(last_refusal="\x00")
    answers = await asyncio.gather(
        *[world.recorder.hear(Hearing(p, Barred(Bar.LAPSED))) for p in (rows[0], poisoned, rows[2])]
    )
    assert [None if row is None else row.state for row in answers] == [
        State.LAPSED,
        None,
        State.LAPSED,
    ]
    assert (await now_is(world.store, rows[1])).state is State.CLAIMED
