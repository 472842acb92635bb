"""F16: SIGTERM under load. A service stops taking on, finishes what is in flight, hands the rest
over at once, and exits 0.
"""

import asyncio

import pytest

from tests.e2e.judging import assert_clean, history
from tests.line import Line, Running
from tests.workload import Attempt, Bot, market_order

ORDERS = 60
AT_ONCE = 12


async def _load(bot: Bot) -> list[Attempt]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> Attempt:
        async with gate:
            return await bot.place(market_order())

    return await asyncio.gather(*(one() for _ in range(ORDERS)))


def _service(line: Line, name: str) -> Running:
    return {"executor": line.executors, "order-api": line.apis, "ledger": line.ledgers}[name][0]


@pytest.mark.parametrize("name", ["executor", "order-api", "ledger"])
async def test_F16_sigterm_under_load(line: Line, bot: Bot, name: str) -> None:
    """Nothing is lost, nothing lapses, and no order even becomes unknown: what was at the venue was
    waited for.

    Guard: in-flight calls end before the process does; unsent rows are another's at once.
    """
    await line.arm("slow", ms=200, where="engine", match={"path": "/api/v3/order"}, times=ORDERS)
    load = asyncio.create_task(_load(bot))
    while len(bot.record.attempts) < ORDERS // 3:
        await asyncio.sleep(0.01)
        assert not load.done(), "the load is over before the signal"
    stopped = _service(line, name)
    await stopped.stop()
    assert stopped.exit_code == 0, stopped.tail()
    placed = await load
    for attempt in placed:
        order_id = attempt.told()["order_id"]
        order = await bot.wait_for(order_id, "filled", limit_s=30)
        assert "unknown" not in await history(bot, order_id), order
    await line.restart(stopped)
    await assert_clean(line, bot)
