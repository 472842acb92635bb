"""F5: an executor that was taken for dead and works on. Kafka has given its partitions away and its
rows are another's, yet it wakes up with a signed request in its hands.
"""

from uuid import UUID

import asyncpg
import httpx

from tests.e2e.judging import assert_clean, history
from tests.line import Line, until
from tests.workload import Bot, market_order

# Postgres ends a session that is silent for 10 s; then window 2 s, step allowance 1 s, late
# visibility 2 s, and look-ups.
GIVEN_UP_S = 45.0


async def test_F05_a_zombie_that_wakes_up_sends_nothing_late(line: Line, bot: Bot) -> None:
    """Frozen between its CAS and the first byte, for longer than the Kafka session, the window and
    every bound; the other executor proves the order absent. Then it goes on where it stopped.

    Guard: R5, a request older than half its window is not begun (and the venue's window behind it).
    """
    zombie, other = line.executors
    await other.stop()
    await zombie.stop()
    await line.restart(zombie, {"EXECUTOR_FAILPOINTS": "after_cas=pause:5"})
    placed = await bot.place(market_order())
    order_id = placed.told()["order_id"]
    await until(lambda: _is_sending(line, order_id), 20, "the CAS has committed")
    zombie.freeze()
    await line.restart(other)
    order = await bot.wait_for(order_id, "not_placed", limit_s=GIVEN_UP_S)
    assert order["reason"]["code"] == "proven-absent"

    zombie.thaw()
    await _has_noticed(line, 0)

    assert await line.creates(order["client_order_id"]) == []
    assert (await history(bot, order_id))[-1] == "not_placed"
    await assert_clean(line, bot)


async def test_F05_rows_of_a_zombie_go_on_elsewhere_at_most_once(line: Line, bot: Bot) -> None:
    """Forty orders in the hands of an executor that freezes: some are at the venue, some are not;
    the other one takes them up, and the zombie's own words come too late to count.

    Guard: every write is a CAS on (timeline, version).
    """
    zombie, other = line.executors
    await other.stop()
    await line.arm("slow", ms=700, where="engine", match={"path": "/api/v3/order"}, times=40)
    placed = [await bot.place(market_order()) for _ in range(40)]
    zombie.freeze()
    await line.restart(other)
    ends = [
        await bot.wait_for(
            attempt.told()["order_id"], "filled", "not_placed", "lapsed", limit_s=GIVEN_UP_S
        )
        for attempt in placed
    ]
    zombie.thaw()
    await _has_noticed(line, 0)
    for order in ends:
        executed = await line.executed_creates(order["client_order_id"])
        assert len(executed) == (1 if order["status"] == "filled" else 0), order
        assert (await bot.order(order["order_id"]))["status"] == order["status"]
    await assert_clean(line, bot)


async def _is_sending(line: Line, order_id: str) -> bool:
    database = await asyncpg.connect(line.database.owner_url)
    try:
        state = await database.fetchval(
            "SELECT state FROM executor.placement WHERE order_id = $1", UUID(order_id)
        )
    finally:
        await database.close()
    return state == "sending"


async def _has_noticed(line: Line, number: int) -> None:
    """The zombie knows: it has ended, or it owns rows again under a new session."""
    url = f"{line.executor_admin_urls[number]}/readyz"

    async def has() -> bool:
        if not line.executors[number].running:
            return True
        try:
            return (await line.http.get(url)).status_code == 200
        except httpx.TransportError:  # on its way out, or frozen with our connection
            return False

    await until(has, 30, "the zombie has noticed")
