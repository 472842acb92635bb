"""R4's lock against a halt: the right form, and each wrong one shown wrong (F22).

A: the halt comes while a CAS is in the middle of its statement. B: the CAS comes while a halt is in
the middle of its transaction. After the halt's reply nothing new may leave; what left before it
must be visible to the halt.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from orderonce_executor.core import MAX_REFUSALS
from orderonce_executor.store import Q
from orderonce_shared.runtime.database import Pool, open_pool
from orderonce_shared.runtime.ids import new_order_id
from pydantic import SecretStr

from tests.servers import Database

RIGHT = Q["cas_sending"]
# The control row is read without a lock: a plain join.
PLAIN_JOIN = re.sub(r" ORDER BY a.account FOR SHARE", "", RIGHT)
# The lock is an advisory one, taken by the same statement: its snapshot is older than the lock.
ADVISORY = PLAIN_JOIN.replace(
    "account AS MATERIALIZED (",
    "gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(1)), account AS MATERIALIZED (",
).replace(
    "WHERE a.account = ANY ($3::text[])\n)",
    "WHERE a.account = ANY ($3::text[]) AND (SELECT count(*) FROM gate) = 1\n)",
)
FORMS = {"right": RIGHT, "plain join": PLAIN_JOIN, "advisory lock": ADVISORY}
SETTLE_S = 0.3  # until a statement stands at the lock that it is to meet


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    made = await open_pool(SecretStr(database.owner_url), application="test", size=8)
    await made.execute(
        "INSERT INTO control.account (account, venue, venue_uid) VALUES ('paper-1', 'paper', '1')"
    )
    await made.execute(
        "INSERT INTO executor.venue_clock (account, venue, offset_ms, uncertain_ms)"
        " VALUES ('paper-1', 'paper', 0, 1)"
    )
    yield made
    await made.close()


async def claimed(pool: Pool) -> Any:
    return await pool.fetchrow(
        """INSERT INTO executor.placement (order_id, client, key, account, venue, symbol,
        client_order_id, side, type,
               quantity, time_in_force, post_only, expires_at, payload_hash, traceparent, timeline,
               version, state, owner, next_at)
           VALUES ($1::uuid, 'bot', $1::uuid::text, 'paper-1', 'paper', 'BTC/USDT', $1::uuid::text,
           'buy', 'market', 1, 'gtc', false,
                   now() + interval '30 s', 'h', 't', control.timeline(), 1, 'claimed', $1::uuid,
                   now())
           RETURNING order_id, version, timeline""",
        new_order_id(),
    )


async def cas(pool: Pool, form: str, row: Any) -> str:
    """Runs one form of the CAS on one row; how it came out."""
    arguments = [
        [row["order_id"]],
        [row["version"]],
        ["paper-1"],
        [],
        ["paper"],
        [100],
        5_000,
        row["timeline"],
        MAX_REFUSALS,
        new_order_id(),
    ]
    (found,) = await pool.fetch(FORMS[form], *arguments)
    return str(found["outcome"])


async def take_halt_lock(connection: Any, form: str) -> None:
    if form == "advisory lock":
        await connection.execute("SELECT pg_advisory_xact_lock(1)")
    else:
        await connection.execute("LOCK TABLE control.account IN EXCLUSIVE MODE")
    await connection.execute("UPDATE control.account SET halted = true, halted_at = now()")


async def story_a(pool: Pool, form: str) -> tuple[bool, str]:
    """(whether the halt replied before the CAS was through, what the CAS did)."""
    row = await claimed(pool)
    async with pool.acquire() as stall, pool.acquire() as halting:
        await stall.execute("BEGIN")
        await stall.execute(
            "SELECT FROM executor.placement FOR UPDATE"
        )  # holds the CAS up half-way
        sending = asyncio.create_task(cas(pool, form, row))
        await asyncio.sleep(SETTLE_S)

        async def halt() -> None:
            async with halting.transaction():
                await take_halt_lock(halting, form)

        halted = asyncio.create_task(halt())
        await asyncio.sleep(SETTLE_S)
        replied_first = halted.done()
        await stall.execute("COMMIT")
        outcome = await sending
        await halted
    return replied_first, outcome


async def story_b(pool: Pool, form: str) -> str:
    """What a CAS does that began while a halt was not committed yet, and went on after the halt's
    reply."""
    row = await claimed(pool)
    async with pool.acquire() as halting:
        await halting.execute("BEGIN")
        await take_halt_lock(halting, form)
        sending = asyncio.create_task(cas(pool, form, row))
        await asyncio.sleep(SETTLE_S)
        went_past = sending.done()
        await halting.execute("COMMIT")
        outcome = await sending
    return f"{outcome} during the halt" if went_past else outcome


async def test_a_halt_waits_for_the_cas_under_way_and_then_sees_what_left(pool: Pool) -> None:
    assert await story_a(pool, "right") == (False, "send")


async def test_a_cas_waits_for_the_halt_under_way_and_then_sends_nothing(pool: Pool) -> None:
    assert await story_b(pool, "right") == "waiting"


async def test_a_plain_join_lets_an_order_out_after_the_halts_reply(pool: Pool) -> None:
    assert await story_a(pool, "plain join") == (True, "send")


async def test_a_plain_join_does_not_even_wait_for_a_halt(pool: Pool) -> None:
    assert await story_b(pool, "plain join") == "send during the halt"


async def test_an_advisory_lock_lets_an_order_out_after_the_halts_reply(pool: Pool) -> None:
    assert await story_b(pool, "advisory lock") == "send"


@pytest.mark.parametrize("fair", [True, False])
async def test_a_halt_by_bare_for_update_is_overtaken_by_later_sends(
    pool: Pool, fair: bool
) -> None:
    """Shares of one row overlap: with a bare FOR UPDATE the halt waits for all that come after it
    too, as long as they come. LOCK TABLE .. IN EXCLUSIVE MODE stands in a queue that nobody
    overtakes."""
    share = "SELECT FROM control.account WHERE account = 'paper-1' FOR SHARE"
    lock = (
        "LOCK TABLE control.account IN EXCLUSIVE MODE"
        if fair
        else "SELECT FROM control.account WHERE account = 'paper-1' FOR UPDATE"
    )
    async with pool.acquire() as first, pool.acquire() as later, pool.acquire() as halting:
        await first.execute("BEGIN")
        await first.execute(share)
        await halting.execute("BEGIN")
        halt = asyncio.create_task(halting.execute(lock))
        await asyncio.sleep(SETTLE_S)
        await later.execute("BEGIN")
        overtaking = asyncio.create_task(later.execute(share))
        await asyncio.sleep(SETTLE_S)
        assert overtaking.done() is not fair
        await first.execute("COMMIT")
        await asyncio.sleep(SETTLE_S)
        assert halt.done() is fair
        if fair:
            await halt
            await halting.execute("COMMIT")
            await overtaking
            await later.execute("COMMIT")
        else:
            await later.execute("COMMIT")
            await halt
            await halting.execute("COMMIT")
