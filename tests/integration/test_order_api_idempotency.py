"""GET /v1/idempotency: what became of a client's keys, counted once however often it is written."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from orderonce_api import store, tally
from orderonce_api.tally import What

from tests.unit.order_api.world import cancel, fresh_key, place, problem, world


async def test_each_answer_is_counted_by_what_it_was(database: Any) -> None:
    async with world(database, apis=2) as made, made.client() as bot, made.client(api=1) as other:
        key, used = fresh_key(), fresh_key()
        first = await place(bot, key)
        order_id = first.json()["order_id"]
        for client in (bot, other, other):
            assert (await place(client, key)).headers["idempotent-replayed"] == "true"
        assert (await place(bot, quantity="0.000001")).status_code == 422  # denied
        assert (await cancel(bot, order_id, used)).status_code == 202
        differs = await place(other, key, quantity="0.00200", side="sell")
        assert (differs.status_code, problem(differs)) == (422, "idempotency-key-reused")
        await made.apis[1].tally.write()
        told = (await bot.get("/v1/idempotency")).json()
        numbers = {name: told[name] for name in ("first_accepts", "denials", "replays",
                                                 "conflicts", "expired")}  # fmt: skip
        assert numbers == {"first_accepts": 2, "denials": 1, "replays": 3, "conflicts": 1,
                           "expired": 0}  # fmt: skip
        assert told["client"] == "bot"
        (conflict,) = told["last_conflicts"]
        assert conflict["idempotency_key"] == key
        assert conflict["order_id"] == order_id
        assert conflict["differs"] == ["quantity", "side"]
        kids = await made.owner.fetch("SELECT kid FROM control.api_key")
        assert conflict["kid"] in {row["kid"] for row in kids}
        assert datetime.fromisoformat(conflict["at"]).tzinfo is not None


async def test_a_client_sees_its_own(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await place(bot)
        async with made.client(await made.new_key("other")) as stranger:
            told = (await stranger.get("/v1/idempotency")).json()
            assert (told["client"], told["first_accepts"]) == ("other", 0)


async def test_since_counts_from_its_minute_on(database: Any) -> None:
    async with world(database) as made, made.client() as bot:
        await place(bot)
        await made.api.tally.write()
        await made.owner.execute(
            "UPDATE api.idempotency_count SET minute = minute - interval '2 hours'"
        )
        made.api.tally._counts.clear()
        now = datetime.now(UTC)
        for since, count in ((now - timedelta(hours=1), 0), (now - timedelta(hours=3), 1)):
            asked = {"since": since.isoformat().replace("+00:00", "Z")}
            told = (await bot.get("/v1/idempotency", params=asked)).json()
            assert told["first_accepts"] == count
            assert told["since"] == since.strftime("%Y-%m-%dT%H:%M:00.000000Z")
        bad = await bot.get("/v1/idempotency", params={"since": "yesterday"})
        assert (bad.status_code, problem(bad)) == (400, "request-invalid")
        assert bad.json()["errors"][0]["pointer"] == "/since"


async def test_a_write_that_is_repeated_counts_nothing_twice(database: Any) -> None:
    """Its answer was lost, and it had been committed."""
    async with world(database) as made, made.client() as bot:
        await place(bot)
        kept = made.api.tally.store
        write = kept.write_counts

        class Lossy:
            write_conflicts = kept.write_conflicts
            forget_counts = kept.forget_counts

            async def write_counts(self, rows: Any) -> None:
                await write(rows)
                raise store.Lost("cut")

        made.api.tally.store = Lossy()
        for _ in range(3):
            try:
                await made.api.tally.write()
            except store.Lost:
                continue
        made.api.tally.store = kept
        await asyncio.gather(made.api.tally.write(), made.api.tally.write())
        assert (await bot.get("/v1/idempotency")).json()["first_accepts"] == 1


async def test_only_the_last_conflicts_are_kept(database: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(tally, "MOST_CONFLICTS", 5)
    async with world(database) as made, made.client() as bot:
        key = fresh_key()
        await place(bot, key)
        for n in range(1, 5):
            for m in range(2):
                await place(bot, key, quantity=f"0.0{n}{m + 1}")
            await made.api.tally.write()
        rows = await made.owner.fetch("SELECT * FROM api.idempotency_conflict")
        assert len(rows) == 5
        assert (await bot.get("/v1/idempotency")).json()["conflicts"] == 8


async def test_counts_of_minutes_gone_are_let_go(database: Any) -> None:
    """What is kept in memory is this minute, and what could not be written yet."""
    async with world(database) as made:
        counts = made.api.tally
        counts.count("bot", What.REPLAY)
        ((client, minute),) = counts._counts
        counts._counts = {(client, minute - timedelta(minutes=1)): [0, 0, 1, 0, 0]}
        counts._unwritten = set(counts._counts)
        await counts.write()
        assert not counts._counts
        assert await made.owner.fetchval("SELECT replays FROM api.idempotency_count") == 1
        await made.owner.execute(
            "UPDATE api.idempotency_count SET minute = minute - interval '40 d'"
        )
        await counts.forget()
        assert await made.owner.fetchval("SELECT count(*) FROM api.idempotency_count") == 0
