"""Orders whose record is a dead letter: what the sweeper leaves out, and what still counts as late
(decision 0046).
"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from orderonce_api.relay import REFUSED_IN_A_ROW
from orderonce_shared.contracts.topics import COMMANDS, FILLS, Headers

from tests.integration.test_order_api_follow import snapshot
from tests.integration.test_order_api_letters import PATH, letter, listed, parked, refused, replay
from tests.integration.test_order_api_relay import DUE, OLDER, OLDEST
from tests.unit.order_api.world import Api, World, cancel, fresh_key, place, world

UNCLAIMED = "orderonce_api_unclaimed_commands"


async def sweep(made: World, api: Api) -> int:
    """How many records one more round of its sweeper writes, when every row is due."""
    before = len(api.published.records)
    api.relay._acknowledged.clear()
    await made.owner.execute(DUE)
    await api.relay.sweep()
    return len(api.published.records) - before


async def test_F14_a_dead_letters_record_rests_until_somebody_replays_it(database: Any) -> None:
    """No executor takes these bytes: repeating them every 30 s would only fill two topics. After a
    replay that is lost on its way the sweeper has it again; refused again, it rests again.

    Guard: the sweeper asks for the letters of what it is about to write.
    """
    async with world(database, apis=2) as made, made.client() as bot:
        api, other = made.apis
        await place(bot, fresh_key())
        await place(bot, fresh_key())
        await api.relay.flush()
        assert await sweep(made, api) == 2
        await api.letters.keep([refused(api, 0, at=0)])
        assert [await sweep(made, one) for one in (api, other, api)] == [1, 1, 1]
        assert api.published.records[0].value not in {r.value for r in other.published.records}
        async with made.client(admin=True) as admin:
            (waiting,) = await listed(admin)
            assert (await replay(admin, waiting["letter_id"])).json()["state"] == "replayed"
            assert await sweep(made, other) == 2
            await api.letters.keep([refused(api, 0, at=9)])
            assert await sweep(made, other) == 1
            await admin.post(f"{PATH}/{waiting['letter_id']}/discard")
            assert await sweep(made, other) == 1
        assert await made.owner.fetchval("SELECT count(*) FROM api.outbox") == 2


async def test_only_the_very_same_record_rests(database: Any) -> None:
    """A cancel of a parked order goes out: it is how that order ends without a replay. And nobody
    silences an order by a record that only bears its name."""
    async with world(database) as made, made.client() as bot:
        order_id = (await place(bot, fresh_key())).json()["order_id"]
        await made.api.relay.flush()
        named: Headers = [("order_id", order_id.encode()), ("client", b"bot")]
        await made.api.letters.keep([letter(b"forged", headers=named)])
        assert await parked(made, bot, order_id)
        assert await sweep(made, made.api) == 1
        await made.api.letters.keep([refused(made.api, 0, at=1)])
        assert await sweep(made, made.api) == 0
        await cancel(bot, order_id)
        await made.api.relay.flush()
        assert await sweep(made, made.api) == 1
        assert b"cancel.v1" in made.api.published.records[-1].value


async def test_a_parked_order_does_not_close_its_account(database: Any) -> None:
    """Refused is not late: the line is measured without it, and so is the oldest unclaimed."""
    async with world(database) as made, made.client() as bot:
        await place(bot, fresh_key())
        await made.api.relay.flush()
        await made.api.line.measure()
        assert made.api.line.oldest("paper-1") is not None
        await made.api.letters.keep([refused(made.api, 0, at=0)])
        await made.api.line.measure()
        assert made.api.line.oldest("paper-1") is None
        assert made.api.count(OLDEST) == 0


async def test_F21_a_letter_rests_no_order_that_an_executor_has(database: Any) -> None:
    """One copy was claimed, another refused and discarded. When a later event is lost, only the
    same bytes again make the executor say how the order stands.

    Guard: a place rests only while no executor has spoken of its order.
    """
    async with world(database) as made, made.client() as bot, made.client(admin=True) as admin:
        order_id = (await place(bot, fresh_key())).json()["order_id"]
        order = (await bot.get(f"/v1/orders/{order_id}")).json()
        await made.api.relay.flush()
        await made.api.letters.keep([refused(made.api, 0, at=0)])
        claimed = snapshot(order, 1, status="accepted", claimed_keys=[order["idempotency_key"]])
        await made.api.follower.events([claimed.encode()])
        assert await made.owner.fetchval("SELECT count(*) FROM api.outbox") == 0
        for discarded in (False, True):
            if discarded:
                (waiting,) = await listed(admin)
                await admin.post(f"{PATH}/{waiting['letter_id']}/discard")
            await made.owner.execute("DELETE FROM api.outbox")
            await made.owner.execute(OLDER, timedelta(hours=1))
            await made.api.relay.ask_again()
            assert await sweep(made, made.api) == 1
            await made.api.line.measure()
            assert made.api.count(UNCLAIMED) == 1


async def test_a_discarded_command_that_nobody_claimed_shows_again(database: Any) -> None:
    """It still rests, and nothing else would tell of it. It closes no account: a person's word that
    one order is to be left alone says nothing about the others."""
    async with world(database) as made, made.client() as bot, made.client(admin=True) as admin:
        await place(bot, fresh_key())
        await made.api.relay.flush()
        await made.api.letters.keep([refused(made.api, 0, at=0)])
        await made.api.line.measure()
        assert made.api.count(UNCLAIMED) == 0
        (waiting,) = await listed(admin)
        await admin.post(f"{PATH}/{waiting['letter_id']}/discard")
        await made.api.line.measure()
        assert made.api.count(UNCLAIMED) == 1
        assert made.api.count(OLDEST) > 0
        assert made.api.line.oldest("paper-1") is None


@pytest.mark.parametrize("whose", ["a fill", "a cancel", "another installation", "a stranger"])
async def test_a_letter_about_something_else_hides_no_late_order(database: Any, whose: str) -> None:
    """It bears the order's id and client, and the sweeper goes on with the place all the same.

    Guard: a letter counts when its topic is that of our commands, and its key the command's.
    """
    async with world(database) as made, made.client() as bot:
        order_id = (await place(bot, fresh_key())).json()["order_id"]
        await cancel(bot, order_id)
        await made.api.relay.flush()
        headers = made.api.published.records[0].headers
        named: Headers = [("order_id", order_id.encode()), ("client", b"bot"), ("\0", b"")]
        await made.api.letters.keep(
            [
                {
                    "a fill": letter(topic=FILLS, headers=headers),
                    "a cancel": refused(made.api, 1, at=0),
                    "another installation": letter(topic=f"other.{COMMANDS}", headers=headers),
                    "a stranger": letter(b"forged", headers=named),
                }[whose]
            ]
        )
        await made.api.line.measure()
        assert made.api.line.oldest("paper-1") is not None
        assert made.api.count(UNCLAIMED) == (1 if whose == "a cancel" else 2)


async def test_executors_that_refuse_everything_close_the_account(database: Any) -> None:
    """One refused order is its own fault; REFUSED_IN_A_ROW and none taken since is the executors',
    and a 202 would only park the next. It opens when one of them is claimed, or by discards."""
    async with world(database) as made, made.client() as bot, made.client(admin=True) as admin:
        told = await asyncio.gather(*(place(bot) for _ in range(REFUSED_IN_A_ROW)))
        await made.api.relay.flush()
        letters = [refused(made.api, n, at=n) for n in range(REFUSED_IN_A_ROW)]
        await made.api.letters.keep(letters[1:])
        await made.owner.execute("DELETE FROM api.outbox WHERE accept_seq = 1")
        await made.api.line.measure()
        assert made.api.line.oldest("paper-1") is None
        await place(bot)
        await made.api.relay.flush()
        await made.api.letters.keep([refused(made.api, REFUSED_IN_A_ROW, at=30)])
        await made.api.line.measure()
        assert made.api.line.oldest("paper-1") is not None
        assert made.api.line.oldest("paper-2") is None
        for one in (await listed(admin))[:1]:
            await admin.post(f"{PATH}/{one['letter_id']}/discard")
        await made.api.line.measure()
        assert made.api.line.oldest("paper-1") is None
        assert {reply.status_code for reply in told} == {202}
