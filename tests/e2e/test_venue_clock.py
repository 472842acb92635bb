"""F11: the venue's clock is ahead, behind, drifts and steps. Refusals at most, never doubles."""

import asyncio

import pytest

from tests.e2e.judging import assert_clean, history
from tests.line import Line
from tests.workload import Bot, market_order

DRIFT_PPM = 20_000.0  # 20 ms a second: far worse than any crystal


@pytest.mark.parametrize("skew_ms", [3000.0, -3000.0], ids=["ahead", "behind"])
async def test_F11_venue_clock_is_off_and_drifts(line: Line, bot: Bot, skew_ms: float) -> None:
    """All placed, none unknown: a stamp outside the window is a refusal before processing.

    Guard: signed_at in the venue's time; -1021 measures the offset before the next send.
    """
    await line.arm("clock_skew", ms=skew_ms, drift_ppm=DRIFT_PPM)
    placed = await asyncio.gather(*(bot.place(market_order()) for _ in range(20)))
    for attempt in placed:
        order_id = attempt.told()["order_id"]
        await bot.wait_for(order_id, "filled")
        assert "unknown" not in await history(bot, order_id)
    await assert_clean(line, bot)


async def test_F11_venue_clock_steps_while_orders_flow(line: Line, bot: Bot) -> None:
    """The venue's clock jumps by seconds, both ways, in the middle of a stream of orders.

    Guard: as above; a double or a late order would be seen by the auditor.
    """
    flowing = asyncio.create_task(_stream(bot, 40))
    for skew_ms in (3000.0, -2000.0, 1500.0, 0.0):
        await asyncio.sleep(0.4)  # the stream's own pace: ten orders to each step
        await line.arm("clock_skew", ms=skew_ms)
    for order_id in await flowing:
        await bot.wait_for(order_id, "filled")
    await assert_clean(line, bot)


async def _stream(bot: Bot, count: int) -> list[str]:
    ids = []
    for _ in range(count):
        ids.append((await bot.place(market_order())).told()["order_id"])
        await asyncio.sleep(0.04)
    return ids
