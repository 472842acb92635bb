"""R2 on the real Postgres: publish until claimed."""

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import asyncpg
from orderonce_shared.contracts.commands import decode_command
from orderonce_shared.contracts.topics import COMMAND_HEADERS

from tests.line import until
from tests.unit.order_api.world import cancel, fresh_key, place, world

DUE = "UPDATE api.outbox SET next_at = clock_timestamp() - interval '1 millisecond'"
PAUSES = "SELECT extract(epoch FROM next_at - clock_timestamp())::float8 FROM api.outbox"


async def test_a_record_is_complete_and_the_sweeper_makes_the_same_bytes(database: Any) -> None:
    """Guard: F1. Another process builds the record from the rows alone."""
    async with world(database, apis=2) as made, made.client() as bot:
        key = fresh_key()
        trace = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
        body = {"account": "paper-1", "symbol": "BTC/USDT", "side": "sell", "type": "limit"}
        reply = await bot.post(
            "/v1/orders",
            json={
                **body,
                "quantity": "0.00100",
                "price": "50000.10",
                "time_in_force": "gtc",
                "post_only": True,
                "client_tag": "Zürich 1",
            },
            headers={"Idempotency-Key": key, "traceparent": trace},
        )
        order_id = reply.json()["order_id"]
        await cancel(bot, order_id)
        await made.apis[0].relay.flush()
        await made.owner.execute(DUE)
        await made.apis[1].relay.sweep()
        fast, swept = made.apis[0].published.records, made.apis[1].published.records
        assert [record.value for record in swept] == [record.value for record in fast]
        assert [record.headers for record in swept] == [record.headers for record in fast]
        assert {record.key for record in fast} == {"paper-1"}
        assert {record.topic for record in fast} == {"orders.commands"}
        headers = {name: value.decode() for name, value in fast[0].headers}
        assert tuple(headers) == COMMAND_HEADERS
        assert headers["order_id"] == order_id
        assert headers["key"] == key
        assert headers["traceparent"] == trace
        assert headers["accept_seq"] == "1"
        assert headers["seq"] == "1"
        assert headers["timeline"] == await made.owner.fetchval("SELECT control.timeline()")
        assert headers["payload_hash"] == await made.owner.fetchval(
            "SELECT payload_hash FROM api.orders"
        )
        place_command, cancel_command = (decode_command(None, record.value) for record in fast)
        assert place_command.payload_hash() == headers["payload_hash"]
        assert cancel_command.seq == 2
        assert dict(fast[1].headers)["schema"] == b"cancel.v1"


async def test_rows_are_due_after_a_second_and_then_ever_later(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await place(bot)
        assert 0.5 < await made.owner.fetchval(PAUSES) <= 1.0
        await made.api.relay.sweep()
        assert made.api.published.records == []
        for expected in (2, 4, 8, 16, 30, 30):
            await made.owner.execute(DUE)
            await made.api.relay.sweep()
            assert expected - 1 < await made.owner.fetchval(PAUSES) <= expected


async def test_two_sweepers_do_not_publish_the_same_row_twice_in_one_round(database: Any) -> None:
    async with world(database, apis=2) as made, made.client() as bot:
        await asyncio.gather(*(place(bot) for _ in range(120)))
        await made.owner.execute(DUE)
        await asyncio.gather(*(api.relay.sweep() for api in made.apis))
        sent = [record.value for api in made.apis for record in api.published.records]
        assert len(sent) == len(set(sent)) == 120


async def test_a_row_that_another_sweeper_holds_is_skipped(database: Any) -> None:
    """Guard: SKIP LOCKED."""
    async with world(database) as made, made.client() as bot:
        await place(bot)
        await place(bot)
        await made.owner.execute(DUE)
        async with made.owner.transaction():
            await made.owner.execute(
                "SELECT * FROM api.outbox ORDER BY accept_seq LIMIT 1 FOR UPDATE"
            )
            await asyncio.wait_for(made.api.relay.sweep(), 2)
            assert len(made.api.published.records) == 1


async def test_a_row_that_commits_late_is_found(database: Any) -> None:
    """Guard: never `id > last seen`: a smaller accept_seq may appear after a greater one was
    published.
    """
    async with world(database, apis=2) as made, made.client() as bot:
        late = made.owner.transaction()
        await late.start()
        await made.owner.execute("SELECT nextval('api.accept_seq')")
        await place(bot)
        await asyncio.sleep(1.05)
        await made.api.relay.sweep()
        assert len(made.api.published.records) == 1
        order = await made.owner.fetchval("SELECT order_id FROM api.orders")
        await made.owner.execute(
            "INSERT INTO api.outbox VALUES ('bot', 'late-key-late-key', $1, 'cancel', 'paper-1',"
            " 'k', 1, 2, 't', 'tp',"
            " clock_timestamp(), 0, clock_timestamp())",
            order,
        )
        await late.commit()
        await made.api.relay.sweep()
        assert len(made.api.published.records) == 2


async def test_what_the_broker_refuses_is_due_again_in_a_second(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await place(bot)
        made.api.published.takes = False
        for _ in range(4):
            await made.owner.execute(DUE)
            await made.api.relay.sweep()
            assert await made.owner.fetchval(PAUSES) <= 1.0
        made.api.published.takes = True
        await made.owner.execute(DUE)
        await made.api.relay.sweep()
        assert len(made.api.published.records) == 1


async def test_an_acknowledged_record_is_trusted_for_a_moment_only(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await place(bot)
        await made.api.relay.flush()
        await made.owner.execute(DUE)
        await made.api.relay.sweep()
        assert len(made.api.published.records) == 1
        made.api.relay._acknowledged = type(made.api.relay._acknowledged)(
            (pair, at - 6) for pair, at in made.api.relay._acknowledged.items()
        )
        await made.owner.execute(DUE)
        await made.api.relay.sweep()
        assert len(made.api.published.records) == 2


async def test_nothing_but_a_claim_closes_a_row(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await place(bot)
        await made.api.relay.flush()
        for _ in range(3):
            await made.owner.execute(DUE)
            await made.api.relay.sweep()
        assert await made.owner.fetchval("SELECT count(*) FROM api.outbox") == 1


async def test_the_line_is_measured(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await made.api.line.measure()
        assert made.api.line.oldest("paper-1") is None
        await place(bot)
        await made.api.line.measure()
        oldest = made.api.line.oldest("paper-1")
        assert oldest is not None
        assert made.api.count("orderonce_api_unclaimed_commands") == 1
        now = await made.owner.fetchval("SELECT clock_timestamp()")
        assert timedelta(0) < now - oldest < timedelta(seconds=5)


OLDEST = "orderonce_api_unclaimed_oldest_age_seconds"
CLAIMED = "DELETE FROM api.outbox"
WAITS_FOR_A_ROW = """SELECT EXISTS (SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock')"""
OLDER = "UPDATE api.orders SET updated_at = updated_at - $1::interval, asked_at = asked_at - $1"


async def test_a_quiet_order_is_asked_about_again_with_the_same_bytes(database: Any) -> None:
    """Guard: F21. The event after the claim's was lost: nothing else would ever end the order."""
    async with world(database) as made, made.client() as bot:
        await place(bot)
        await made.api.relay.flush()
        await made.owner.execute(CLAIMED)
        await made.api.relay.ask_again()
        assert await made.owner.fetchval("SELECT count(*) FROM api.outbox") == 0
        await made.owner.execute(OLDER, timedelta(seconds=21))
        made.api.relay._acknowledged.clear()
        await made.api.relay.ask_again()
        await made.api.relay.sweep()
        first, again = made.api.published.records
        assert (again.value, again.headers) == (first.value, first.headers)
        await made.api.line.measure()
        assert 0 < made.api.count(OLDEST) < 10


async def test_pauses_between_questions_double(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await place(bot)
        asked = []
        for _ in range(200):  # two seconds each
            await made.owner.execute(CLAIMED)
            await made.owner.execute(OLDER, timedelta(seconds=2))
            await made.api.relay.ask_again()
            asked.append(await made.owner.fetchval("SELECT count(*) FROM api.outbox"))
        turns = [2 * number for number, count in enumerate(asked, 1) if count]
        gaps = [later - sooner for sooner, later in itertools.pairwise([0, *turns])]
        assert len(gaps) >= 4
        assert all(1.6 < later / sooner < 2.4 for sooner, later in itertools.pairwise(gaps[1:]))


async def test_orders_are_asked_about_in_the_order_of_their_ids(database: Any) -> None:
    """As events lock them: in another order the two of them end in a deadlock.

    Guard: the rows are sorted before the first of them is locked.
    """
    async with world(database) as made, made.client() as bot:
        for _ in range(6):
            await place(bot)
        await made.owner.execute(CLAIMED)
        ids = await made.owner.fetch("SELECT order_id FROM api.orders ORDER BY order_id")
        newest = "UPDATE api.orders SET accepted_at = accepted_at + interval '1 s'"
        await made.owner.execute(f"{newest} WHERE order_id = $1", ids[0][0])  # by age it is last
        await made.owner.execute(OLDER, timedelta(hours=1))
        holder, looker = await asyncpg.connect(database.owner_url), made.owner
        lock = "SELECT order_id FROM api.orders"
        try:
            async with holder.transaction():
                await holder.execute(f"{lock} WHERE order_id = $1 FOR UPDATE", ids[3][0])
                asking = asyncio.create_task(made.api.relay.ask_again())
                await until(lambda: looker.fetchval(WAITS_FOR_A_ROW), 10, "it waits for the row")
                free = await looker.fetch(f"{lock} FOR UPDATE SKIP LOCKED")
            await asking
        finally:
            await holder.close()
        assert {row[0] for row in free} == {row[0] for row in ids[4:]}
        assert await looker.fetchval("SELECT count(*) FROM api.outbox") == 6


async def test_an_order_that_ended_or_is_denied_is_not_asked_about(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await place(bot)
        await made.owner.execute(CLAIMED)
        await made.owner.execute("UPDATE api.orders SET status = 'filled', final = true")
        await made.owner.execute(OLDER, timedelta(hours=1))
        await made.api.relay.ask_again()
        assert await made.owner.fetchval("SELECT count(*) FROM api.outbox") == 0
