"""The executor's statements on a real server: claim once, compare before set, keep what came too
late."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from orderonce_executor.claim import Asked, Claim, claim
from orderonce_executor.claim_store import ClaimStore
from orderonce_executor.core import ProvenAbsent, Replied, Seen, SenderLost, Source, decide
from orderonce_executor.placement import Placement
from orderonce_executor.ports import Change, Due, Letter, SendLimits, Words
from orderonce_executor.store import POISON, TimelineError, begin_process, open_session
from orderonce_shared.contracts.commands import CancelCommand, PlaceCommand
from orderonce_shared.contracts.events import OrderEvent
from orderonce_shared.domain.lifecycle import FINAL, State
from orderonce_shared.domain.order import OrderType, Side
from orderonce_shared.domain.venue import Acknowledged, Refused, Silence, VenueStatus
from orderonce_shared.runtime.clock import SystemClock
from orderonce_shared.runtime.database import Pool, open_pool
from orderonce_shared.runtime.ids import new_order_id
from pydantic import SecretStr

from tests.servers import Database
from tests.unit.executor.builders import fill, venue_order

CLOCK = SystemClock()
LIMITS = SendLimits(window_ms=5_000, smallest_ms={"paper": 100})
KID = "abcdefghijkl"


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Pool]:
    pool = await open_pool(SecretStr(database.owner_url), application="test", size=4)
    await pool.execute(
        "INSERT INTO control.account (account, venue, venue_uid) VALUES ('paper-1', 'paper', '1'),"
        " ('paper-2', 'paper', '2')"
    )
    await pool.execute(
        "INSERT INTO control.api_key"
        " (kid, client, name, env, secret_mac, pepper_id, scopes, accounts)"
        " VALUES ($1, 'bot', 'x', 'test', sha256('x'), 1, '{}', '{}')",
        KID,
    )
    yield pool
    await pool.close()


@pytest.fixture
async def store(database: Database, owner: Pool) -> AsyncIterator[ClaimStore]:
    pool = await open_pool(SecretStr(database.executor_url), application="test", size=6)
    timeline = await pool.fetchval("SELECT control.timeline()")
    made = ClaimStore(pool, new_order_id(), timeline)
    await made.save_clock("paper-1", "paper", 0, 1)
    yield made
    await pool.close()


def place(**changes: Any) -> PlaceCommand:
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "order_id": new_order_id(),
        "client": "bot",
        "key": "key-" + secrets.token_hex(8),
        "account": "paper-1",
        "venue": "paper",
        "symbol": "BTC/USDT",
        "side": Side.BUY,
        "type": OrderType.MARKET,
        "quantity": Decimal("0.001"),
        "accepted_at": now,
        "expires_at": now + timedelta(seconds=30),
    }
    return PlaceCommand(**{**values, **changes})


def cancel(order: PlaceCommand, **changes: Any) -> CancelCommand:
    values: dict[str, Any] = {
        "order_id": order.order_id,
        "client": order.client,
        "key": "cancel-" + secrets.token_hex(8),
        "account": order.account,
        "venue": order.venue,
        "symbol": order.symbol,
        "place_key": order.key,
        "seq": 2,
        "accepted_at": order.accepted_at,
    }
    return CancelCommand(**{**values, **changes})


def asked(command: PlaceCommand | CancelCommand) -> Asked:
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    return Asked(
        command,
        command.payload_hash(),
        trace,
        lambda why: Letter("orders.dlq", command.account, why.encode(), []),
    )


async def claimed(store: ClaimStore, *commands: PlaceCommand | CancelCommand) -> Claim:
    async with store.transaction() as connection:
        return await claim(store, connection, [asked(c) for c in commands], CLOCK)


async def claim_one(store: ClaimStore, **changes: Any) -> Placement:
    (row,) = (await claimed(store, place(**changes))).claimed
    return row


async def sent(store: ClaimStore, **changes: Any) -> Placement:
    row = await claim_one(store, **changes)
    (sending,) = (await store.cas_sending([row], LIMITS)).sent
    return sending


def events(result: Claim) -> list[OrderEvent]:
    return [OrderEvent.decode(x.value) for x in result.letters if x.topic == "orders.events"]


async def only(store: ClaimStore, query: str) -> Any:
    (row,) = await store.pool.fetch(query)
    return row


async def now_is(store: ClaimStore, row: Placement) -> Placement:
    (now,) = await store.load([row.order_id])
    return now


# ---- R3


async def test_a_command_is_claimed_once_and_repeated_with_its_present_state(
    store: ClaimStore,
) -> None:
    command = place()
    first = await claimed(store, command)
    assert [p.order_id for p in first.claimed] == [command.order_id]
    assert events(first)[0].claimed_keys == (command.key,)
    again = await claimed(store, command, command)
    assert (again.claimed, again.repeats, again.alarms) == ([], 2, [])
    assert [e.claimed_keys for e in events(again)] == [(command.key,)] * 2


async def test_twins_inside_one_batch(store: ClaimStore) -> None:
    command = place()
    result = await claimed(store, command, command)
    assert len(result.claimed) == 1
    assert result.repeats == 1


async def test_two_executors_claim_the_same_batch_once(store: ClaimStore) -> None:
    commands = [place() for _ in range(50)]
    other = ClaimStore(store.pool, new_order_id(), store.timeline)
    results = await asyncio.gather(
        claimed(store, *commands), claimed(other, *reversed(commands)), claimed(store, *commands)
    )
    assert sum(len(r.claimed) for r in results) == 50
    assert sum(r.repeats for r in results) == 100


async def test_the_same_key_with_another_payload_is_an_alarm_and_the_first_stays(
    store: ClaimStore,
) -> None:
    command = place()
    await claimed(store, command)
    other = command.model_copy(update={"quantity": Decimal(5)})
    result = await claimed(store, other)
    assert [why for _, why in result.alarms] == ["the same key with another payload"]
    assert [x.topic for x in result.letters] == ["orders.dlq"]
    (row,) = await store.load([command.order_id])
    assert row.terms is not None
    assert row.terms.quantity == Decimal("0.001")


async def test_the_order_id_of_another_key_is_an_alarm(store: ClaimStore) -> None:
    command = place()
    await claimed(store, command)
    result = await claimed(store, place(order_id=command.order_id))
    assert [why for _, why in result.alarms] == ["the order id is that of another key"]


async def test_f25_two_order_ids_of_one_key_are_one_placement(store: ClaimStore) -> None:
    command = place()
    await claimed(store, command)
    twin = command.model_copy(update={"order_id": new_order_id()})
    result = await claimed(store, twin)
    assert (result.claimed, result.alarms) == ([], [])
    (event,) = events(result)
    assert (event.order_id, event.asked_order_id) == (command.order_id, twin.order_id)
    in_one_batch = place()
    other = in_one_batch.model_copy(update={"order_id": new_order_id()})
    result = await claimed(store, in_one_batch, other)
    assert len(result.claimed) == 1


async def test_one_key_space_over_all_commands(store: ClaimStore) -> None:
    command = place()
    other = place()
    await claimed(store, command, other)
    result = await claimed(store, cancel(command, key=other.key))
    assert [why for _, why in result.alarms] == ["the key is that of a place"]
    stop = cancel(command)
    await claimed(store, stop)
    result = await claimed(store, place(key=stop.key))
    assert [why for _, why in result.alarms] == ["the key is that of another command"]


async def test_the_position_goes_back_with_the_claim(store: ClaimStore) -> None:
    command = place()

    async def dies_before_the_commit() -> None:
        async with store.transaction() as connection:
            await claim(store, connection, [asked(command)], CLOCK)
            await store.save_positions(connection, {("orders.commands", 3): 8})
            raise RuntimeError("dies")

    with pytest.raises(RuntimeError, match="dies"):
        await dies_before_the_commit()
    assert await store.pool.fetchval("SELECT count(*) FROM executor.position") == 0
    assert await store.load([command.order_id]) == []
    async with store.transaction() as connection:
        await store.save_positions(connection, {("orders.commands", 3): 8})
    row = await only(store, "SELECT * FROM executor.position")
    assert (row["partition"], row["next_offset"], row["timeline"]) == (3, 8, store.timeline)


async def test_nothing_is_claimed_on_another_history(store: ClaimStore) -> None:
    store.timeline = "1:00000009"
    async with store.transaction() as connection:
        with pytest.raises(TimelineError):
            await store.require_timeline(connection)
    assert (await claimed(store, place())).claimed == []


# ---- R4


async def test_cas_stores_stamp_window_and_attempt(store: ClaimStore) -> None:
    await store.save_clock("paper-1", "paper", 10_000, 1)
    row = await sent(store)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    assert row.signed_at_ms is not None
    assert abs(row.signed_at_ms - now_ms - 10_000) < 2_000
    kept = await only(store, "SELECT * FROM executor.attempt")
    assert (kept["signed_at_ms"], kept["window_ms"]) == (row.signed_at_ms, row.window_ms)
    assert kept["sent"] is None
    assert await now_is(store, row) == row


async def test_the_window_ends_at_the_deadline(store: ClaimStore) -> None:
    row = await sent(store, expires_at=datetime.now(UTC) + timedelta(seconds=2))
    assert row.window_ms is not None
    assert 1_000 < row.window_ms <= 2_000


async def test_nothing_leaves_late_on_our_clock_when_the_venues_is_behind(
    store: ClaimStore,
) -> None:
    """The venue would take it: its clock is 15 s behind. "Nothing is placed late" is about ours
    too.
    """
    await store.save_clock("paper-1", "paper", -15_000, 1)
    late = await claim_one(store, expires_at=datetime.now(UTC) - timedelta(milliseconds=1))
    result = await store.cas_sending([late], LIMITS)
    assert [bar.value for _, bar in result.barred] == ["lapsed"]
    soon = await sent(store, expires_at=datetime.now(UTC) + timedelta(seconds=2))
    assert soon.window_ms is not None
    assert soon.window_ms <= 2_000


async def test_a_row_is_sent_once_by_whoever_comes_first(store: ClaimStore) -> None:
    rows = [await claim_one(store) for _ in range(20)]
    other = ClaimStore(store.pool, new_order_id(), store.timeline)
    results = await asyncio.gather(
        *[s.cas_sending(rows, LIMITS) for s in (store, other, store, other)]
    )
    assert sorted(p.order_id for r in results for p in r.sent) == sorted(p.order_id for p in rows)
    assert sum(len(r.stale) for r in results) == 60


async def test_cas_compares_the_version(store: ClaimStore) -> None:
    row = await claim_one(store)
    old = row._replace(version=row.version - 1)
    result = await store.cas_sending([old], LIMITS)
    assert (result.sent, result.stale) == ([], [old])


async def test_cas_compares_the_timeline_of_row_and_database(
    store: ClaimStore, owner: Pool
) -> None:
    row = await claim_one(store)
    zombie = ClaimStore(store.pool, store.owner, "1:00000009")
    assert (await zombie.cas_sending([row], LIMITS)).stale == [row]
    await owner.execute("UPDATE executor.placement SET timeline = '1:00000009'")
    assert (await store.cas_sending([row], LIMITS)).stale == [row]


async def test_cas_asks_for_deadline_key_halt_count_and_mark(
    store: ClaimStore, owner: Pool
) -> None:
    late = await claim_one(store, expires_at=datetime.now(UTC) + timedelta(milliseconds=50))
    short = await store.cas_sending([late], SendLimits(5_000, {"paper": 500}))
    assert [bar.value for _, bar in short.barred] == ["lapsed"]
    revoked = await claim_one(store, key_id=KID)
    stranger = await claim_one(store, key_id="zzzzzzzzzzzz")
    alive = await claim_one(store)
    await owner.execute("UPDATE control.api_key SET status = 'revoked', revoked_at = now()")
    tired = await claim_one(store)
    await owner.execute(
        "UPDATE executor.placement SET refusals = 20 WHERE order_id = $1", tired.order_id
    )
    marked = await claim_one(store)
    await owner.execute(
        "UPDATE executor.placement SET cancel_requested = true WHERE order_id = $1", marked.order_id
    )
    unknown_account = await claim_one(store, account="paper-9")
    result = await store.cas_sending(
        [revoked, stranger, alive, tired, marked, unknown_account], LIMITS
    )
    assert {p.order_id: bar.value for p, bar in result.barred} == {
        revoked.order_id: "revoked",
        stranger.order_id: "revoked",
        tired.order_id: "exhausted",
        marked.order_id: "canceled",
    }
    assert [p.order_id for p in result.sent] == [alive.order_id]
    assert result.waiting == [unknown_account]
    halted = await claim_one(store)
    await owner.execute("UPDATE control.account SET halted = true, halted_at = now()")
    assert (await store.cas_sending([halted], LIMITS)).waiting == [halted]
    assert (await now_is(store, halted)).state is State.CLAIMED


async def test_nothing_is_sent_while_the_venues_clock_is_unknown(store: ClaimStore) -> None:
    row = await claim_one(store, account="paper-2")
    assert (await store.cas_sending([row], LIMITS)).waiting == [row]


# ---- R6


async def test_a_reply_is_recorded_with_its_fill_event_and_words(store: ClaimStore) -> None:
    row = await sent(store)
    order = replace(venue_order(VenueStatus.FILLED, "1"), fills=(fill(),))
    verdict = Acknowledged(order)
    after, _ = decide(row, Replied(1, verdict), CLOCK.now())
    recorded = await store.record([Change(row, after, order.fills, Words(1, verdict))])
    (now,) = recorded.rows
    assert now is not None
    assert now == await now_is(store, row)
    assert (now.state, now.version, now.settled) == (State.FILLED, 3, True)
    assert [fee.asset for fee in now.fees] == ["USDT"]
    assert [p.letter.topic for p in recorded.posted] == ["orders.fills", "orders.events"]
    kept = await only(store, "SELECT * FROM executor.attempt")
    assert (kept["sent"], kept["verdict"], kept["applied"]) == (True, "acknowledged", True)
    again = await store.record([Change(now, now, order.fills)])
    assert again.posted == []  # a trade is published once


async def test_a_missed_cas_keeps_the_words_and_they_are_applied_later(store: ClaimStore) -> None:
    zombie = await sent(store)
    lost, _ = decide(zombie, SenderLost("gone"), CLOCK.now())
    (unknown,) = (await store.record([Change(zombie, lost)])).rows
    assert unknown is not None
    verdict = Refused("-2010", "no", {})
    after, _ = decide(zombie, Replied(1, verdict), CLOCK.now())
    recorded = await store.record([Change(zombie, after, (), Words(1, verdict))])
    assert recorded.rows == [None]
    assert (await now_is(store, zombie)).state is State.UNKNOWN
    ((order_id, words),) = await store.waiting_words(10)
    assert (order_id, words) == (zombie.order_id, Words(1, verdict))
    now = await now_is(store, zombie)
    after, _ = decide(now, Replied(words.attempt, words.verdict), CLOCK.now())
    (ended,) = (await store.record([Change(now, after, (), words)])).rows
    assert ended is not None
    assert ended.state is State.REJECTED
    assert await store.waiting_words(10) == []


async def test_fills_of_a_missed_cas_are_counted_once_by_who_applies_them(
    store: ClaimStore,
) -> None:
    zombie = await sent(store)
    lost, _ = decide(zombie, SenderLost("gone"), CLOCK.now())
    (unknown,) = (await store.record([Change(zombie, lost)])).rows
    assert unknown is not None
    order = replace(venue_order(VenueStatus.FILLED, "1"), fills=(fill(),))
    after, _ = decide(zombie, Replied(1, Acknowledged(order)), CLOCK.now())
    missed = await store.record([Change(zombie, after, order.fills, Words(1, Acknowledged(order)))])
    assert missed.rows == [None]
    assert [p.letter.topic for p in missed.posted] == ["orders.fills"]
    seen, _ = decide(unknown, Seen(order, True), CLOCK.now())
    found = await store.record([Change(unknown, seen, order.fills)])
    (now,) = found.rows
    assert now is not None
    assert now.fees == fill().fees
    assert [p.letter.topic for p in found.posted] == ["orders.events"]


async def test_silence_then_proof(store: ClaimStore) -> None:
    row = await sent(store)
    after, _ = decide(row, Replied(1, Silence("cut", {})), CLOCK.now())
    (unknown,) = (await store.record([Change(row, after, (), Words(1, Silence("cut", {})))])).rows
    assert unknown is not None
    assert [p.order_id for p in await store.due(Due((State.UNKNOWN,)))] == [row.order_id]
    after, _ = decide(unknown, ProvenAbsent(1), CLOCK.now())
    await store.record([Change(unknown, after, absence={"waited_s": 2.1})])
    kept = await only(store, "SELECT * FROM executor.attempt")
    assert kept["absence"] == {"waited_s": 2.1}
    assert (await now_is(store, row)).state is State.NOT_PLACED


async def test_one_refused_row_does_not_take_its_neighbours_along(store: ClaimStore) -> None:
    row = await sent(store)
    with pytest.raises(POISON):
        await store.record([Change(row, row._replace(state=State.OPEN, venue_order_id=None))])
    assert await now_is(store, row) == row


# ---- R10


async def test_a_cancel_that_comes_first_makes_the_row_and_the_place_finds_it(
    store: ClaimStore,
) -> None:
    order = place()
    stop = cancel(order)
    first = await claimed(store, stop)
    (event,) = events(first)
    assert (event.status.value, event.claimed_keys, event.key) == (
        "canceled",
        (stop.key,),
        order.key,
    )
    second = await claimed(store, order)
    assert second.claimed == []
    (event,) = events(second)
    assert (event.status.value, event.claimed_keys, event.version) == ("canceled", (order.key,), 2)
    (row,) = await store.load([order.order_id])
    assert row.terms == order.terms()
    assert (await store.cas_sending([row], LIMITS)).stale == [row]


async def test_place_and_cancel_in_one_batch_never_reach_a_lane(store: ClaimStore) -> None:
    order = place()
    result = await claimed(store, order, cancel(order))
    assert result.claimed == []
    (row,) = await store.load([order.order_id])
    assert (row.state, row.attempt) == (State.CANCELED, 0)


async def test_the_mark_is_there_before_the_venue_is_asked(store: ClaimStore) -> None:
    row = await sent(store)
    order = place(order_id=row.order_id, key=row.key)
    stop = cancel(order)
    result = await claimed(store, stop)
    assert [p.order_id for p in result.to_cancel] == [row.order_id]
    assert [p.order_id for p in await store.marked(10)] == [row.order_id]
    # its sender's reply misses and is kept; nothing is lost
    after, _ = decide(row, Replied(1, Acknowledged(venue_order())), CLOCK.now())
    missed = await store.record([Change(row, after, (), Words(1, Acknowledged(venue_order())))])
    assert missed.rows == [None]
    again = await claimed(store, stop)
    assert (again.repeats, again.to_cancel) == (1, [])


async def test_the_cas_and_a_cancel_at_the_same_moment(store: ClaimStore) -> None:
    """Either the cancel came first and nothing leaves, or the order is marked while it is on the
    wire."""
    for _ in range(10):
        order = place()
        (row,) = (await claimed(store, order)).claimed
        result, stopped = await asyncio.gather(
            store.cas_sending([row], LIMITS), claimed(store, cancel(order))
        )
        (now,) = await store.load([row.order_id])
        assert now.cancel_requested
        if result.sent:
            assert [p.order_id for p in stopped.to_cancel] == [row.order_id]
        else:
            assert now.state is State.CANCELED


async def test_a_cancel_of_anothers_order_is_refused(store: ClaimStore) -> None:
    order = place()
    await claimed(store, order)
    result = await claimed(store, cancel(order, client="thief"))
    assert len(result.alarms) == 1
    (row,) = await store.load([order.order_id])
    assert not row.cancel_requested


# ---- R8


async def test_a_process_lives_while_its_lock_connection_does(
    store: ClaimStore, database: Database
) -> None:
    session = await open_session(database.executor_url)
    dying = ClaimStore(store.pool, new_order_id(), store.timeline)
    await begin_process(session, dying.owner, "host", 1)
    row = await sent(dying)
    waiting = await claim_one(dying)
    assert await store.dead_processes() == []
    session.terminate()
    for _ in range(100):
        if dead := await store.dead_processes():
            break
        await asyncio.sleep(0.02)
    assert dead == [dying.owner]
    other = ClaimStore(store.pool, new_order_id(), store.timeline)
    shares = await asyncio.gather(store.adopt(dead, 500), other.adopt(dead, 500))
    assert sorted(p.order_id for share in shares for p in share) == sorted(
        [row.order_id, waiting.order_id]
    )
    letters = await store.adopt_outbox(dead, 500)
    assert {p.letter.topic for p in letters} == {"orders.events"}


async def test_adopting_changes_no_version(store: ClaimStore) -> None:
    dying = ClaimStore(store.pool, new_order_id(), store.timeline)
    row = await sent(dying)
    (adopted,) = await store.adopt([dying.owner], 10)
    assert (adopted.version, adopted.owner) == (row.version, store.owner)
    assert await store.adopt([dying.owner], 10) == []


async def test_a_cas_whose_answer_was_lost_is_found(store: ClaimStore, owner: Pool) -> None:
    row = await sent(store)
    assert await store.lost_senders(5.0, [], 10) == []
    await owner.execute("UPDATE executor.placement SET sent_at = now() - interval '6 seconds'")
    assert [p.order_id for p in await store.lost_senders(5.0, [], 10)] == [row.order_id]
    assert await store.lost_senders(5.0, [row.order_id], 10) == []


async def test_overdue_rows_lapse_whatever_keeps_them_from_the_cas(store: ClaimStore) -> None:
    row = await claim_one(
        store, account="paper-2", expires_at=datetime.now(UTC) - timedelta(seconds=2)
    )
    assert [p.order_id for p in await store.overdue([], 10)] == [row.order_id]


async def test_a_process_that_has_gone_silent_counts_as_dead(
    store: ClaimStore, database: Database
) -> None:
    """Frozen by SIGSTOP it keeps its socket; Postgres ends the session, and others adopt."""
    session = await open_session(database.executor_url, silence_limit_s=0.2)
    frozen = new_order_id()
    await begin_process(session, frozen, "host", 1)
    assert await store.dead_processes() == []
    for _ in range(200):
        if dead := await store.dead_processes():
            break
        await asyncio.sleep(0.05)
    assert dead == [frozen]
    session.terminate()


async def test_what_changed_a_row_is_kept_with_its_source(store: ClaimStore, owner: Pool) -> None:
    """Beside the attempt's answer, not in its place; a word that changed nothing is not kept."""
    row = await sent(store)
    first = Seen(venue_order(VenueStatus.OPEN), True, Source.STREAM)
    after, _ = decide(row, first, CLOCK.now())
    (opened,) = (await store.record([Change(row, after, seen=first)])).rows
    assert opened is not None
    query = "SELECT seen_from, seen ->> 'status' AS status, verdict FROM executor.attempt"
    assert tuple(await owner.fetchrow(query)) == ("stream", "open", None)
    again = Seen(venue_order(VenueStatus.OPEN), True)
    await store.record([Change(opened, opened, seen=again)])
    assert await owner.fetchval("SELECT seen_from FROM executor.attempt") == "stream"


async def test_looking_again_makes_the_accounts_open_orders_due(store: ClaimStore) -> None:
    """And no other: not another account's, not what has ended."""
    due = Due((State.OPEN, *FINAL))
    for account in ("paper-1", "paper-2"):
        await store.save_clock(account, "paper", 0, 1)
        for status in (VenueStatus.OPEN, VenueStatus.FILLED):
            row = await sent(store, account=account)
            shown = Seen(venue_order(status, "1" if status is VenueStatus.FILLED else "0"), True)
            after, _ = decide(row, shown, CLOCK.now())
            await store.record([Change(row, after)])
            await store.postpone([row.order_id], [60.0])
    assert await store.due(due) == []
    await store.look_again("paper-1")
    assert [(row.account, row.state) for row in await store.due(due)] == [("paper-1", State.OPEN)]
