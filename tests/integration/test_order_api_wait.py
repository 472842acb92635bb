"""`Prefer: wait=N`: an answer held back until the order has settled, and all that ends it."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
from orderonce_api import waiting

from tests.integration.test_order_api_follow import snapshot
from tests.line import until
from tests.unit.order_api.world import Api, World, fresh_key, limit_order, problem, world

WAIT = {"Prefer": "wait=5"}


async def looking(api: Api) -> "asyncio.Task[None]":
    """The looks of this process, as main starts them."""
    return asyncio.create_task(api.waiters.run())


async def waits(api: Api, count: int = 1) -> None:
    await until(lambda: len(api.waiters._by_id) == count, 10, f"{count} answers are held back")


def posted(
    bot: httpx.AsyncClient, key: str | None = None, **changes: Any
) -> "asyncio.Task[httpx.Response]":
    headers = {**WAIT, "Idempotency-Key": key or fresh_key()}
    return asyncio.create_task(bot.post("/v1/orders", json=limit_order(**changes), headers=headers))


async def order_of(made: World) -> UUID:
    found: UUID = await made.owner.fetchval(
        "SELECT order_id FROM api.orders ORDER BY accept_seq DESC LIMIT 1"
    )
    return found


async def tell(made: World, api: Api, order_id: UUID, status: str, version: int) -> None:
    row = await made.owner.fetchrow("SELECT * FROM api.orders WHERE order_id = $1", order_id)
    assert row is not None
    order = {"order_id": order_id, "idempotency_key": row["key"],
             "client_order_id": row["client_order_id"]}  # fmt: skip
    ended = status in ("filled", "canceled")
    reason = {"code": "canceled-by-client", "detail": "x"} if status == "canceled" else None
    event = snapshot(order, version, status=status, final=ended, reason=reason)
    await api.follower.events([event.encode()])


@pytest.mark.parametrize("applied_by", [0, 1], ids=["this process", "another process"])
async def test_the_answer_waits_for_the_order(database: Any, applied_by: int) -> None:
    """Whichever process applies the event: partitions are spread over them."""
    async with world(database, apis=2) as made, made.client() as bot:
        run = await looking(made.api)
        reply = posted(bot)
        await waits(made.api)
        order_id = await order_of(made)
        await tell(made, made.apis[applied_by], order_id, "sending", 1)
        await tell(made, made.apis[applied_by], order_id, "open", 2)
        answer = await reply
        assert answer.status_code == 200
        assert answer.headers["preference-applied"] == "wait=5"
        assert answer.headers["location"] == f"/v1/orders/{order_id}"
        assert answer.json()["status"] == "open"
        assert answer.json() == (await bot.get(f"/v1/orders/{order_id}")).json()
        assert made.api.count("orderonce_api_waits_total", end="settled") == 1
        await stop(made.api, run)


async def stop(api: Api, run: "asyncio.Task[None]") -> None:
    api.process.stopping.set()
    await asyncio.wait_for(run, 5)


async def test_open_settles_only_what_may_rest(database: Any) -> None:
    """A market, ioc or fok order that is `open` is on its way to its end."""
    async with world(database) as made, made.client() as bot:
        run = await looking(made.api)
        reply = posted(bot, time_in_force="ioc")
        await waits(made.api)
        order_id = await order_of(made)
        await tell(made, made.api, order_id, "open", 1)
        await made.api.waiters.look()
        assert not reply.done()
        await tell(made, made.api, order_id, "filled", 2)
        assert (await reply).json()["status"] == "filled"
        await stop(made.api, run)


async def test_a_cancel_waits_for_the_end(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        run = await looking(made.api)
        await bot.post("/v1/orders", json=limit_order(), headers={"Idempotency-Key": fresh_key()})
        order_id = await order_of(made)
        await tell(made, made.api, order_id, "open", 1)
        headers = {**WAIT, "Idempotency-Key": fresh_key()}
        reply = asyncio.create_task(bot.post(f"/v1/orders/{order_id}/cancel", headers=headers))
        await waits(made.api)
        await made.api.waiters.look()
        assert not reply.done()
        await tell(made, made.api, order_id, "canceled", 2)
        answer = await reply
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
        await stop(made.api, run)


async def test_a_retry_is_answered_with_the_acceptance(database: Any) -> None:
    """At once, with the bytes of the acceptance, whatever has become of the order."""
    async with world(database) as made, made.client() as bot:
        run, key = await looking(made.api), fresh_key()
        reply = posted(bot, key)
        await waits(made.api)
        await tell(made, made.api, await order_of(made), "filled", 1)
        assert (await reply).status_code == 200
        again = await posted(bot, key)
        assert again.status_code == 202
        assert again.headers["idempotent-replayed"] == "true"
        assert "preference-applied" not in again.headers
        assert again.json()["status"] == "accepted"
        stored = await made.owner.fetchval(
            "SELECT body FROM api.idempotency_key WHERE key = $1", key
        )
        assert again.content == stored
        await stop(made.api, run)


async def test_a_denial_is_not_waited_for(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        answer = await posted(bot, quantity="0.000001")
        assert (answer.status_code, problem(answer)) == (422, "order-denied")


async def test_what_does_not_settle_is_a_202(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        run = await looking(made.api)
        answer = await bot.post(
            "/v1/orders", json=limit_order(),
            headers={"Idempotency-Key": fresh_key(), "Prefer": "wait=1"},
        )  # fmt: skip
        assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
        assert answer.headers["preference-applied"] == "wait=1"
        assert made.api.count("orderonce_api_waits_total", end="late") == 1
        await stop(made.api, run)


async def test_a_stop_answers_all_who_wait_at_once(database: Any) -> None:
    """SIGTERM: the acceptance goes out, and no new wait begins."""
    async with world(database) as made, made.client() as bot:
        run = await looking(made.api)
        replies = [posted(bot) for _ in range(3)]
        await waits(made.api, 3)
        await stop(made.api, run)
        for reply in replies:
            answer = await asyncio.wait_for(reply, 2)
            assert answer.status_code == 202
            assert "preference-applied" not in answer.headers
        late = await asyncio.wait_for(posted(bot), 2)
        assert late.status_code == 202


async def test_one_more_than_may_wait_is_answered_at_once(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITERS", 1)
    async with world(database) as made, made.client() as bot:
        first = posted(bot)
        await waits(made.api)
        second = await asyncio.wait_for(posted(bot), 2)
        assert second.status_code == 202
        assert "preference-applied" not in second.headers
        assert made.api.count("orderonce_api_waits_total", end="full") == 1
        made.api.process.stopping.set()
        assert (await first).status_code == 202


async def test_one_look_serves_all_who_wait(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is asked once for all of them, and not at all when nobody waits."""
    async with world(database) as made, made.client() as bot:
        asked: list[int] = []
        settled = made.api.store.settled_orders

        async def counted(orders: Any) -> Any:
            asked.append(len(orders))
            return await settled(orders)

        monkeypatch.setattr(
            type(made.api.store), "settled_orders", lambda _, orders: counted(orders)
        )
        replies = [posted(bot) for _ in range(20)]
        await waits(made.api, 20)
        made.api.waiters.nudge()
        await made.api.waiters.look()
        assert asked == [20]
        made.api.process.stopping.set()
        await asyncio.gather(*replies)
        await made.api.waiters.look()
        assert asked == [20, 0]


async def test_a_sender_that_hangs_up_leaves_its_place(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        reply = posted(bot)
        await waits(made.api)
        gone = asyncio.Event()

        async def hung_up() -> None:
            await gone.wait()

        order_id = await order_of(made)
        waiter = asyncio.create_task(
            made.api.waiters.wait(order_id, 5, open_counts=True, hung_up=hung_up)
        )
        await waits(made.api, 2)
        gone.set()
        assert (await asyncio.wait_for(waiter, 2))[0] is waiting.End.GONE
        assert len(made.api.waiters._by_id) == 1
        made.api.process.stopping.set()
        await reply
