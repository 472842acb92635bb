"""R1 on the real Postgres: accepted once, replayed byte for byte, denied for good."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from orderonce_api import store
from orderonce_api.desk import place_ask
from orderonce_shared.contracts.wire import render_time
from orderonce_shared.domain.identity import client_order_id
from orderonce_shared.domain.money import parse_amount
from orderonce_shared.domain.order import OrderTerms, OrderType, Side, TimeInForce
from orderonce_shared.runtime.bearer import Caller

from tests.unit.order_api.world import World, cancel, fresh_key, limit_order, place, problem, world


async def counts(owner: Any) -> tuple[int, int, int]:
    """(keys, orders, outbox rows)"""
    tables = ("idempotency_key", "orders", "outbox")
    keys, orders, outbox = [await owner.fetchval(f"SELECT count(*) FROM api.{t}") for t in tables]
    return keys, orders, outbox


async def test_a_first_accept(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        reply = await place(bot, key, client_tag="grid-7")
        assert reply.status_code == 202
        body = reply.json()
        assert reply.headers["location"] == f"/v1/orders/{body['order_id']}"
        assert reply.headers["idempotency-key"] == key
        assert "idempotent-replayed" not in reply.headers
        assert len(reply.headers["x-request-id"]) == 32
        assert list(body) == ["order_id", "client_order_id", "status", "accepted_at", "expires_at"]
        assert body["client_order_id"] == client_order_id("bot", key)
        assert UUID(body["order_id"]).version == 7
        row = await made.owner.fetchrow(
            "SELECT o.*, b.accept_seq AS boxed_seq, b.timeline AS boxed_timeline, b.seq,"
            " control.timeline() AS present, b.next_at - b.created_at AS pause"
            " FROM api.orders o JOIN api.outbox b USING (client, key)"
        )
        assert row is not None
        assert row["accept_seq"] == row["boxed_seq"]
        assert row["timeline"] == row["boxed_timeline"] == row["present"]
        assert row["seq"] == 1
        assert row["pause"] < timedelta(seconds=2)
        assert render_time(row["accepted_at"]) == body["accepted_at"]
        assert row["deadline"] - row["accepted_at"] == timedelta(seconds=120)
        shown = (await bot.get(reply.headers["location"])).json()
        assert shown["quantity"] == "0.00100"
        assert shown["client_tag"] == "grid-7"


async def test_a_retry_gets_the_same_bytes(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        first = await place(bot, key, quantity="0.00100")
        again = await place(bot, key, quantity="0.001", price="50000")
        assert again.status_code == 202
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
        assert await counts(made.owner) == (1, 1, 1)
        assert made.api.count("orderonce_api_accepts_total", kind="place") == 1
        assert made.api.count("orderonce_api_replays_total", kind="place") == 1


async def test_64_posts_of_one_key_over_two_processes(database: Any) -> None:
    """Guard: DO UPDATE in `accept`, and answering from the row that was kept."""
    async with world(database, apis=2) as made, made.client() as one, made.client(api=1) as two:
        key = fresh_key()
        replies = await asyncio.gather(*(place((one, two)[n % 2], key) for n in range(64)))
        assert {reply.status_code for reply in replies} == {202}
        assert len({reply.content for reply in replies}) == 1
        assert sum("idempotent-replayed" not in reply.headers for reply in replies) == 1
        assert await counts(made.owner) == (1, 1, 1)
        published = [record for api in made.apis for record in api.relay._queued]
        assert len(published) == 1


async def test_two_processes_racing_on_many_keys(database: Any) -> None:
    """Batches that meet the same keys in different orders neither deadlock for good nor make two
    orders.
    """
    async with world(database, apis=2) as made, made.client() as one, made.client(api=1) as two:
        keys = [fresh_key() for _ in range(100)]
        replies = await asyncio.gather(
            *(place(one, key) for key in keys), *(place(two, key) for key in reversed(keys))
        )
        assert {reply.status_code for reply in replies} == {202}
        bodies = Counter(reply.content for reply in replies)
        assert len(bodies) == 100
        assert set(bodies.values()) == {2}
        assert await counts(made.owner) == (100, 100, 100)


async def test_a_denial_burns_the_key_and_is_replayed(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        await made.owner.execute("UPDATE control.account SET halted = true, halted_at = now()")
        first = await place(bot, key)
        assert first.status_code == 422
        assert problem(first) == "order-denied"
        assert first.json()["code"] == "account-halted"
        await made.owner.execute("UPDATE control.account SET halted = false, halted_at = NULL")
        again = await place(bot, key)
        assert again.status_code == 422
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["content-type"] == "application/problem+json"
        assert await counts(made.owner) == (1, 1, 0)
        shown = (await bot.get(f"/v1/orders/{first.json()['order_id']}")).json()
        assert (shown["status"], shown["final"]) == ("denied", True)
        assert shown["reason"] == {"code": "account-halted", "detail": "the account is halted"}
        events = (await bot.get(f"/v1/orders/{first.json()['order_id']}/events")).json()["events"]
        assert [event["status"] for event in events] == ["denied"]
        assert not made.api.relay._queued
        assert made.api.count("orderonce_api_denials_total", code="account-halted") == 1
        assert (await place(bot)).status_code == 202


async def test_an_existing_key_is_answered_before_any_check(database: Any) -> None:
    """Guard: `settle` before `_decide`."""
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        first = await place(bot, key)
        await made.owner.execute("UPDATE control.account SET halted = true, halted_at = now()")
        await made.owner.execute("DELETE FROM control.instrument")
        again = await place(bot, key)
        assert (again.status_code, again.content) == (202, first.content)
        assert (await place(bot)).status_code == 503


async def test_a_conflict_names_fields_and_order(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        first = await place(bot, key)
        other = await place(bot, key, quantity="0.00200", side="sell")
        assert other.status_code == 422
        assert problem(other) == "idempotency-key-reused"
        assert other.json()["differs"] == ["quantity", "side"]
        assert other.json()["order_id"] == first.json()["order_id"]
        assert await counts(made.owner) == (1, 1, 1)
        assert made.api.count("orderonce_api_key_conflicts_total") == 1


async def test_a_key_belongs_to_one_client(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        mine = await place(bot, key)
        async with made.client(await made.new_key("other")) as other:
            theirs = await place(other, key, quantity="0.5")
            assert theirs.status_code == 202
            assert theirs.json()["order_id"] != mine.json()["order_id"]
            assert theirs.json()["client_order_id"] != mine.json()["client_order_id"]
        async with made.client(await made.new_key("bot")) as second_key:
            assert (await place(second_key, key)).content == mine.content


async def test_an_expired_key_never_executes_again(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        first = await place(bot, key)
        await made.owner.execute(
            "UPDATE api.idempotency_key SET created_at = created_at - interval '25 hours'"
        )
        for body in ({}, {"quantity": "0.5"}):
            late = await place(bot, key, **body)
            assert problem(late) == "idempotency-key-expired"
            assert late.status_code == 422
            assert late.json()["order_id"] == first.json()["order_id"]
        assert await counts(made.owner) == (1, 1, 1)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"symbol": "XRP/USDT"}, "symbol-unknown"),
        ({"expires_at": "2026-01-01T00:00:00Z"}, "expires-in-past"),
        ({"quantity": "0.000015"}, "quantity-step"),
        ({"quantity": "0.00009"}, "quantity-min"),
        ({"quantity": "9000.1"}, "quantity-max"),
        ({"price": "50000.001"}, "price-tick"),
        ({"price": "49999.99", "quantity": "0.0001"}, "notional-min"),
    ],
)
async def test_denials(database: Any, changes: dict[str, str], code: str) -> None:
    async with world(database) as made, made.client() as bot:
        reply = await place(bot, **changes)
        assert problem(reply) == "order-denied"
        assert reply.json()["code"] == code


async def test_caps_of_the_key(database: Any) -> None:
    async with world(database) as made:
        capped = await made.new_key(max_quantity="0.002", max_notional="60")
        async with made.client(capped) as bot:
            assert (await place(bot, quantity="0.0012")).status_code == 202
            assert (await place(bot, quantity="0.0021")).json()["code"] == "quantity-cap"
            assert (await place(bot, quantity="0.0013")).json()["code"] == "notional-cap"
            market = {"type": "market", "price": None, "quantity": "0.0013"}
            assert (await place(bot, **market)).json()["code"] == "notional-cap"


async def test_a_market_order_needs_a_fresh_reference_price(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        key, market = fresh_key(), {"type": "market", "price": None}
        stale = "UPDATE control.instrument SET reference_at = now() - interval '{} seconds'"
        await made.owner.execute(stale.format(61))
        reply = await place(bot, key, **market)
        assert problem(reply) == "unavailable"
        assert reply.json()["transient"] is True
        assert int(reply.headers["retry-after"]) >= 1
        assert await counts(made.owner) == (0, 0, 0)
        await made.owner.execute(stale.format(0))
        assert (await place(bot, key, **market)).status_code == 202


async def test_an_account_out_of_reach_leaves_the_key_free(database: Any) -> None:
    async with world(database) as made:
        async with made.client(await made.new_key(accounts=["paper-1"])) as bot:
            key = fresh_key()
            for account in ("paper-2", "no-such-account"):
                reply = await place(bot, key, account=account)
                assert (reply.status_code, problem(reply)) == (403, "not-permitted")
            assert (await place(bot, key)).status_code == 202
        async with made.client() as anywhere:
            assert (await place(anywhere, account="no-such-account")).status_code == 403


async def test_a_revocation_shows_in_the_accept_although_the_caller_is_cached(
    database: Any,
) -> None:
    """Guard: `key_lives` in `look_up`."""
    async with world(database) as made, made.client() as bot:
        assert (await place(bot)).status_code == 202
        await made.owner.execute(
            "UPDATE control.api_key SET status = 'revoked', revoked_at = now()"
        )
        reply = await place(bot)
        assert (reply.status_code, problem(reply)) == (401, "credentials-invalid")
        assert await counts(made.owner) == (1, 1, 1)


async def test_a_stuck_line_refuses_instead_of_accepting(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await place(bot)
        await made.owner.execute(
            "UPDATE api.outbox SET created_at = created_at - interval '21 seconds'"
        )
        await made.api.line.measure()
        key = fresh_key()
        assert problem(await place(bot, key)) == "unavailable"
        assert (await place(bot, account="paper-2")).status_code == 202
        # The executor reaches a newer command of this account: the older one is a straggler, the
        # line moves.
        await made.owner.execute("INSERT INTO api.line VALUES ('paper-1', 1)")
        await made.api.line.measure()
        assert (await place(bot, key)).status_code == 202


def poison(key: str) -> Any:
    """A request that validation would have refused: Postgres has no NUL in text."""
    terms = OrderTerms(
        "paper-1",
        "BTC/USDT",
        Side.BUY,
        OrderType.LIMIT,
        parse_amount("0.001"),
        parse_amount("50000"),
        TimeInForce.GTC,
        False,
    )
    return lambda caller: place_ask(
        caller, key, terms, None, None, traceparent="00-\0", request_id="r"
    )


async def test_a_poisoned_member_fails_alone(database: Any) -> None:
    """Guard: GroupCommit repeats a refused batch one by one."""
    async with world(database) as made, made.client() as bot:
        caller = Caller(
            "bot",
            await made.owner.fetchval("SELECT kid FROM control.api_key"),
            frozenset(),
            frozenset({"*"}),
        )
        bad = asyncio.gather(
            *(made.api.placing.place(poison(fresh_key())(caller)) for _ in range(2)),
            return_exceptions=True,
        )
        good = await asyncio.gather(*(place(bot) for _ in range(60)))
        assert {reply.status_code for reply in good} == {202}
        assert [type(error) for error in await bad] == [store.StatementFailed] * 2
        assert await counts(made.owner) == (60, 60, 60)


async def test_a_conflict_inside_one_batch(database: Any) -> None:
    """60 good posts, and one key with two payloads among them: one of the two wins, the other is
    told.
    """
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        posts = [place(bot) for _ in range(60)]
        posts[20:20] = [place(bot, key), place(bot, key, quantity="0.00200")]
        replies = await asyncio.gather(*posts)
        statuses = Counter(reply.status_code for reply in replies)
        assert statuses == {202: 61, 422: 1}
        loser = next(reply for reply in replies if reply.status_code == 422)
        assert loser.json()["differs"] == ["quantity"]
        assert await counts(made.owner) == (61, 61, 61)


async def test_a_statement_held_up_is_told_busy_and_the_key_finds_the_truth(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await place(bot)  # the writer's connection is there
        key = fresh_key()
        other = await asyncpg.connect(database.order_api_url)
        transaction = other.transaction()
        await transaction.start()
        await other.execute(
            "INSERT INTO api.idempotency_key VALUES ('bot', $1, gen_random_uuid(),"
            " gen_random_uuid(), 'place', sha256('x'), 1, '{}', 202, '', now())",
            key,
        )
        reply = await place(bot, key)
        assert (reply.status_code, problem(reply)) == (409, "idempotency-busy")
        assert reply.headers["retry-after"] == "1"
        await transaction.rollback()
        await other.close()
        assert (await place(bot, key)).status_code == 202


async def test_the_database_goes_away_and_comes_back(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        await place(bot)
        name = await made.owner.fetchval("SELECT current_database()")
        lock = f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS'
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = 'order_api' AND datname = current_database()"
        )
        server = await asyncpg.connect(database.owner_url.rsplit("/", 1)[0] + "/postgres")
        await server.execute(f"{lock} false")
        await made.owner.execute(kill)
        replies = [await place(bot, key) for _ in range(3)]
        await server.execute(f"{lock} true")
        await server.close()
        for reply in replies:
            assert (reply.status_code, problem(reply)) == (503, "unavailable"), reply.text
            assert "retry-after" in reply.headers
        for _ in range(50):
            reply = await place(bot, key)
            if reply.status_code == 202:
                break
            await asyncio.sleep(0.1)
        assert reply.status_code == 202
        assert await counts(made.owner) == (2, 2, 2)


async def test_the_order_of_acceptance_follows_the_requests(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        for _ in range(5):
            await asyncio.gather(*(place(bot) for _ in range(10)))
        rows = await made.owner.fetch(
            "SELECT accept_seq FROM api.orders ORDER BY accepted_at, accept_seq"
        )
        numbers = [row["accept_seq"] for row in rows]
        assert numbers == sorted(set(numbers))


async def test_an_accept_waits_for_a_line_drawn_on_its_account(database: Any) -> None:
    """Guard: FOR SHARE on the account's control row before nextval (R10's watermark)."""
    async with world(database) as made, made.client() as bot:
        order_id = await accepted(made, bot)
        async with made.owner.transaction():
            await made.owner.execute(
                "SELECT FROM control.account WHERE account = 'paper-1' FOR UPDATE"
            )
            posts = [asyncio.create_task(place(bot)), asyncio.create_task(cancel(bot, order_id))]
            await asyncio.sleep(0.3)
            assert not any(post.done() for post in posts)
            line = await made.owner.fetchval("SELECT nextval('api.accept_seq')")
        assert {(await post).status_code for post in posts} == {202}
        later = await made.owner.fetch("SELECT accept_seq FROM api.outbox ORDER BY accept_seq")
        assert [row["accept_seq"] > line for row in later] == [False, True, True]


async def accepted(made: World, bot: Any, **changes: Any) -> str:
    return str((await place(bot, **changes)).json()["order_id"])


async def test_cancel(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        order_id = await accepted(made, bot)
        key = fresh_key()
        first = await cancel(bot, order_id, key)
        assert first.status_code == 202
        assert {k: v for k, v in first.json().items() if k != "accepted_at"} == {
            "order_id": order_id,
            "command": "cancel",
            "status": "accepted",
        }
        assert first.headers["location"] == f"/v1/orders/{order_id}"
        again = await cancel(bot, order_id, key)
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
        shown = (await bot.get(f"/v1/orders/{order_id}")).json()
        assert (shown["status"], shown["cancel_requested"]) == ("accepted", True)
        box = await made.owner.fetch("SELECT kind, seq FROM api.outbox ORDER BY seq")
        assert [tuple(row) for row in box] == [("place", 1), ("cancel", 2)]


async def test_many_cancels_of_one_order_get_a_gapless_seq(database: Any) -> None:
    """Guard: `seq` under the order's row lock."""
    async with world(database, apis=2) as made, made.client() as one, made.client(api=1) as two:
        order_id = await accepted(made, one)
        replies = await asyncio.gather(*(cancel((one, two)[n % 2], order_id) for n in range(40)))
        assert {reply.status_code for reply in replies} == {202}
        numbers = await made.owner.fetch("SELECT seq FROM api.outbox ORDER BY seq")
        assert [row["seq"] for row in numbers] == list(range(1, 42))


async def test_commands_share_one_key_space(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        order_id = str((await place(bot, key)).json()["order_id"])
        other = await cancel(bot, order_id, key)
        assert problem(other) == "idempotency-key-reused"
        assert other.json()["differs"] == ["command"]
        second, cancel_key = await accepted(made, bot), fresh_key()
        await cancel(bot, order_id, cancel_key)
        assert (await cancel(bot, second, cancel_key)).json()["differs"] == ["order_id"]
        assert problem(await place(bot, cancel_key)) == "idempotency-key-reused"


async def test_what_cannot_be_canceled(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        mine = await accepted(made, bot)
        async with made.client(await made.new_key("other")) as other:
            assert (await cancel(other, mine)).status_code == 404
        async with made.client(await made.new_key(accounts=["paper-2"])) as elsewhere:
            assert (await cancel(elsewhere, mine)).status_code == 404
        async with made.client(await made.new_key(scopes=["orders:write"])) as no_right:
            assert (await cancel(no_right, mine)).status_code == 403
        for order_id in (fresh_key(), "x", "01" * 16):
            assert problem(await cancel(bot, order_id)) == "not-found"
        assert await made.owner.fetchval("SELECT count(*) FROM api.outbox") == 1


async def test_a_cancel_of_a_denied_order_is_answered_and_goes_nowhere(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        denied = (await place(bot, symbol="XRP/USDT")).json()["order_id"]
        assert (await cancel(bot, denied)).status_code == 202
        assert await counts(made.owner) == (2, 1, 0)
        assert (await bot.get(f"/v1/orders/{denied}")).json()["status"] == "denied"


async def test_a_halted_account_may_cancel(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        order_id = await accepted(made, bot)
        await made.owner.execute("UPDATE control.account SET halted = true, halted_at = now()")
        assert (await cancel(bot, order_id)).status_code == 202


async def test_18_digits_arrive_exactly(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await made.owner.execute(
            "UPDATE control.instrument"
            " SET step_size = 1e-18, tick_size = 1e-18, max_quantity = 1e20"
        )
        exact = {
            "quantity": "12345678901234567890.123456789012345678",
            "price": "0.100000000000000001",
        }
        reply = await place(bot, **exact)
        shown = (await bot.get(reply.headers["location"])).json()
        assert {name: shown[name] for name in exact} == exact
        ((command, _),) = made.api.relay._queued
        assert all(f'"{text}"'.encode() in command.encode() for text in exact.values())


def test_the_body_of_the_tests_is_the_one_of_the_documents() -> None:
    assert set(limit_order()) == {"account", "symbol", "side", "type", "quantity", "price"}


async def test_what_a_key_was_answered_can_never_be_changed(database: Any) -> None:
    """Not even by the order API itself."""
    service = await asyncpg.connect(database.order_api_url)
    try:
        for column in ("body", "status", "command_id", "order_id"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(f"UPDATE api.idempotency_key SET {column} = {column}")
    finally:
        await service.close()


async def test_the_executor_never_sees_the_mac_of_a_key(database: Any) -> None:
    executor = await asyncpg.connect(database.executor_url)
    try:
        await executor.execute("SELECT kid, status FROM control.api_key FOR SHARE")
        for column in ("secret_mac", "scopes"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await executor.execute(f"SELECT {column} FROM control.api_key")
    finally:
        await executor.close()
