"""Snapshots and fills from the executor: in any order, any number of times."""

import asyncio
import random
from typing import Any
from uuid import UUID, uuid4

from orderonce_shared.contracts.events import FeeTotal, OrderEvent, Reason
from orderonce_shared.contracts.fills import FillRecord

from tests.unit.order_api.world import World, cancel, fresh_key, place, world

AT = "2026-11-22T10:00:00.000000Z"


def snapshot(order: dict[str, Any], version: int, **changes: Any) -> OrderEvent:
    values = {
        "order_id": order["order_id"],
        "client": "bot",
        "key": order["idempotency_key"],
        "account": "paper-1",
        "venue": "paper",
        "symbol": "BTC/USDT",
        "client_order_id": order["client_order_id"],
        "status": "open",
        "final": False,
        "filled_quantity": "0",
        "filled_cost": "0",
        "attempt": 1,
        "at": AT,
        "timeline": "7:00000001",
        "version": version,
    }
    return OrderEvent.model_validate({**values, **changes})


def fill(order: dict[str, Any], trade_id: str, **changes: Any) -> FillRecord:
    values = {
        "venue": "paper",
        "account": "paper-1",
        "symbol": "BTC/USDT",
        "trade_id": trade_id,
        "venue_order_id": "77",
        "client_order_id": order["client_order_id"],
        "order_id": order["order_id"],
        "client": "bot",
        "side": "buy",
        "quantity": "0.00050",
        "price": "50000.00",
        "cost": "25.0000000",
        "fees": [{"asset": "BTC", "amount": "0.0000005"}],
        "liquidity": "taker",
        "traded_at": AT,
    }
    return FillRecord.model_validate({**values, **changes})


async def follow(made: World, *events: OrderEvent) -> None:
    await made.api.follower.events([event.encode() for event in events])


async def new_order(bot: Any) -> dict[str, Any]:
    reply = await place(bot)
    order: dict[str, Any] = (await bot.get(reply.headers["location"])).json()
    return order


async def shown(bot: Any, order: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = (await bot.get(f"/v1/orders/{order['order_id']}")).json()
    return body


async def test_an_order_follows_its_events_to_the_end(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        order = await new_order(bot)
        done = snapshot(
            order,
            4,
            status="filled",
            final=True,
            venue_order_id="77",
            filled_quantity="0.00100",
            filled_cost="49.9995",
            fees=[FeeTotal.model_validate({"asset": "USDT", "amount": "0.0499995"})],
            sent_at=AT,
        )
        await follow(
            made, snapshot(order, 1, status="accepted"), snapshot(order, 2, status="sending"), done
        )
        body = await shown(bot, order)
        assert body["status"] == "filled"
        assert body["final"] is True
        assert body["venue_order_id"] == "77"
        assert body["filled_quantity"] == "0.00100"
        assert body["average_price"] == "49999.5"
        assert body["fees"] == [{"asset": "USDT", "amount": "0.0499995"}]
        assert body["sent_at"] == body["updated_at"] == AT
        assert body["version"] == 4
        events = (await bot.get(f"/v1/orders/{order['order_id']}/events")).json()["events"]
        assert [event["version"] for event in events] == [0, 1, 2, 4]
        assert [event["status"] for event in events] == [
            "accepted",
            "accepted",
            "sending",
            "filled",
        ]


async def test_any_order_and_any_repetition_end_in_the_same_state(database: Any) -> None:
    """Guard: only a higher (timeline, version) changes an order (F24)."""
    async with world(database) as made, made.client() as bot:
        for seed in range(6):
            order = await new_order(bot)
            events = [
                snapshot(
                    order, version, filled_quantity=f"0.000{version:02}", filled_cost=str(version)
                )
                for version in range(1, 9)
            ] * 2
            random.Random(seed).shuffle(events)
            cuts = sorted(random.Random(seed).sample(range(len(events)), 3))
            for start, end in zip([0, *cuts], [*cuts, None], strict=True):
                await follow(made, *events[start:end])
            body = await shown(bot, order)
            assert (body["version"], body["filled_quantity"]) == (8, "0.00008")
            kept = await made.owner.fetchval(
                "SELECT count(*) FROM api.order_event WHERE order_id = $1", UUID(order["order_id"])
            )
            assert kept == 8


async def test_a_snapshot_that_waited_for_a_newer_one_changes_nothing(database: Any) -> None:
    """Two processes, one order (a rebalance): whoever comes second compares with what the first has
    written meanwhile, not with what it saw when it began.
    """
    async with world(database) as made, made.client() as bot:
        order = await new_order(bot)
        async with made.owner.transaction():
            await made.owner.execute(
                "UPDATE api.orders SET event_timeline = '7:00000001', version = 5,"
                " status = 'filled', final = true WHERE order_id = $1",
                UUID(order["order_id"]),
            )
            late = asyncio.create_task(follow(made, snapshot(order, 4, status="sending")))
            blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            async with asyncio.timeout(10):
                while not await made.owner.fetchval(blocked):
                    assert not late.done()
        await late
        body = await shown(bot, order)
        assert (body["status"], body["version"]) == ("filled", 5)
        assert made.api.count("orderonce_api_events_total", outcome="stale") == 1


async def test_fills_do_not_wait_for_an_order_that_is_being_changed(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        order = await new_order(bot)
        async with made.owner.transaction():
            await made.owner.execute(
                "SELECT FROM api.orders WHERE order_id = $1 FOR UPDATE", UUID(order["order_id"])
            )
            async with asyncio.timeout(10):
                await made.api.follower.fills([fill(order, "1").encode()])
        assert await made.owner.fetchval("SELECT count(*) FROM api.fill") == 1


async def test_a_later_timeline_wins_over_a_greater_version(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        order = await new_order(bot)
        await follow(made, snapshot(order, 9, status="open"))
        await follow(made, snapshot(order, 2, status="unknown", timeline="7:00000002"))
        assert (await shown(bot, order))["status"] == "unknown"
        await follow(made, snapshot(order, 10, status="open"))
        assert (await shown(bot, order))["status"] == "unknown"
        await follow(made, snapshot(order, 3, status="open", timeline="7:0000000A"))
        assert (await shown(bot, order))["version"] == 3


async def test_a_claim_closes_exactly_its_outbox_rows(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        order, other = await new_order(bot), await new_order(bot)
        cancel_key = fresh_key()
        await cancel(bot, order["order_id"], cancel_key)
        left = "SELECT array_agg(key ORDER BY accept_seq) FROM api.outbox"
        keys = (order["idempotency_key"], other["idempotency_key"], cancel_key)
        assert await made.owner.fetchval(left) == list(keys)
        await follow(made, snapshot(order, 1, status="accepted"))
        assert await made.owner.fetchval(left) == list(keys)
        await follow(
            made, snapshot(order, 1, status="accepted", claimed_keys=[keys[0]], client="other")
        )
        assert await made.owner.fetchval(left) == list(keys)
        await follow(made, snapshot(order, 1, status="accepted", claimed_keys=[keys[0]]))
        assert await made.owner.fetchval(left) == list(keys[1:])
        await follow(made, snapshot(order, 2, claimed_keys=[keys[0], cancel_key]))
        assert await made.owner.fetchval(left) == [keys[1]]
        line = await made.owner.fetch("SELECT * FROM api.line")
        assert [tuple(row) for row in line] == [("paper-1", 3)]


async def test_events_of_strangers_are_passed_over(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        order = await new_order(bot)
        stranger = snapshot(order, 1, key="somebody-elses-key", order_id=str(uuid4()))
        await follow(made, stranger, snapshot(order, 1, status="sending"))
        assert (await shown(bot, order))["status"] == "sending"
        assert made.api.count("orderonce_api_events_total", outcome="unknown") == 1
        assert await made.owner.fetchval("SELECT count(*) FROM api.order_event") == 1


async def test_the_answer_to_a_second_record_finds_its_order(database: Any) -> None:
    """F25: the executor knows the pair (client, key) under another order id."""
    async with world(database) as made, made.client() as bot:
        order = await new_order(bot)
        first = str(uuid4())
        answer = snapshot(
            order,
            3,
            order_id=first,
            asked_order_id=order["order_id"],
            claimed_keys=[order["idempotency_key"]],
        )
        await follow(made, answer)
        assert (await shown(bot, order))["status"] == "open"
        assert await made.owner.fetchval("SELECT count(*) FROM api.outbox") == 0


async def test_a_denied_order_hears_nothing(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        reply = await place(bot, symbol="XRP/USDT")
        order = (await bot.get(f"/v1/orders/{reply.json()['order_id']}")).json()
        await follow(made, snapshot(order, 1, status="canceled", final=True))
        assert (await shown(bot, order))["status"] == "denied"


async def test_what_cannot_be_read_or_kept_does_not_stop_the_others(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        one, two = await new_order(bot), await new_order(bot)
        inconsistent = snapshot(one, 1, status="open", final=True)
        reason = Reason(code="venue-rejected", detail="words with a \0 in them")
        rejected = snapshot(two, 1, status="rejected", final=True, reason=reason)
        await made.api.follower.events(
            [b"", None, b"{}", b"\xff", inconsistent.encode(), rejected.encode()]
        )
        assert (await shown(bot, one))["status"] == "accepted"
        assert (await shown(bot, two))["reason"] == {
            "code": "venue-rejected",
            "detail": "words with a ? in them",
        }
        assert made.api.count("orderonce_api_events_total", outcome="undecodable") == 4
        assert made.api.count("orderonce_api_events_total", outcome="refused") == 1


async def test_two_followers_on_the_same_orders(database: Any) -> None:
    async with world(database, apis=2) as made, made.client() as bot:
        orders = [await new_order(bot) for _ in range(10)]
        batches = [
            [snapshot(order, version) for order in random.Random(version).sample(orders, 10)]
            for version in range(1, 21)
        ]
        await asyncio.gather(
            *(
                made.apis[n % 2].follower.events([event.encode() for event in batch])
                for n, batch in enumerate(batches)
            )
        )
        for order in orders:
            assert (await shown(bot, order))["version"] == 20


async def test_fills_are_kept_once(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        order = await new_order(bot)
        first, second = fill(order, "1"), fill(order, "2", price="50001.00", cost="25.0005")
        foreign = fill(order, "3", order_id=str(uuid4()))
        other_client = fill(order, "4", client="other")
        batch = [record.encode() for record in (first, second, first, foreign, other_client)]
        await made.api.follower.fills([*batch, b"junk"])
        await made.api.follower.fills(batch)
        body = (await bot.get(f"/v1/orders/{order['order_id']}/fills")).json()
        assert [trade["trade_id"] for trade in body["fills"]] == ["1", "2"]
        assert body["fills"][0] == {
            "trade_id": "1",
            "venue_order_id": "77",
            "side": "buy",
            "quantity": "0.00050",
            "price": "50000.00",
            "cost": "25.0000000",
            "fees": [{"asset": "BTC", "amount": "0.0000005"}],
            "liquidity": "taker",
            "traded_at": AT,
        }
        assert made.api.count("orderonce_api_fills_total", outcome="kept") == 2
