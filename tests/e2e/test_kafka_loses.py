"""F4, F21: Kafka loses acknowledged records, or its offsets go either way.

Kafka is transport here, never the truth: whatever it forgets is told again, and whatever it
repeats is known already.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.errors import KafkaError
from orderonce_shared.contracts.topics import COMMANDS, EVENTS

from tests.e2e.accidents import Broker
from tests.e2e.judging import assert_clean, history
from tests.line import Line, until
from tests.workload import Attempt, Bot, Json, limit_order, market_order

ORDERS = 6
HEALED_S = 60.0  # the longest pause of the sweeper is 30 s, and readers come back within seconds
EXECUTORS = "orderonce-executor"
OLDEST = "orderonce_api_unclaimed_oldest_age_seconds"


@pytest.fixture
def broker(line: Line) -> Broker:
    return Broker(line)


async def test_F21_commands_are_lost_before_anyone_read_them(
    line: Line, bot: Bot, broker: Broker
) -> None:
    """Acknowledged to the API, gone before the executor came.

    Guard: R2, an outbox row is open until `claimed` has come back, and is published again.
    """
    for executor in line.executors:
        await executor.stop()
    before = sum((await broker.ends(COMMANDS)).values())
    placed = [await bot.place(market_order()) for _ in range(ORDERS)]
    await until(lambda: _grew(broker, COMMANDS, before + ORDERS), 20, "all are in Kafka")
    assert await broker.lose(COMMANDS) >= ORDERS
    for executor in line.executors:
        executor.start()
    await _all_filled_once(line, bot, placed)


async def test_F21_events_are_lost_before_an_api_read_them(
    line: Line, bot: Bot, broker: Broker
) -> None:
    """All events of an order but its claim are gone: nobody would ever say `filled` again.

    Guard: the sweeper asks again for an order that is not final and was not heard of for long.
    """
    placed = await bot.place(limit_order())
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "open")
    for api in line.apis:
        await api.stop()
    before = sum((await broker.ends(EVENTS)).values())
    order_price = placed.asked()["price"]
    await line.control(
        "POST", "/control/price", {"symbol": "BTCUSDT", "bid": "40000.00", "ask": order_price}
    )
    await until(lambda: _grew(broker, EVENTS, before + 1), 20, "the executor has told of the fill")
    await broker.lose(EVENTS)
    await asyncio.gather(*(line.restart(api) for api in line.apis))

    await bot.wait_for(order_id, "filled", limit_s=HEALED_S)
    assert (await history(bot, order_id))[-1] == "filled"
    await assert_clean(line, bot)


@pytest.mark.parametrize("to_end", [False, True], ids=["to-the-beginning", "to-the-end"])
async def test_F21_the_executors_offsets_are_reset(
    line: Line, bot: Bot, broker: Broker, to_end: bool
) -> None:
    """Back: every old command comes again and is known. Forth: commands are stepped over, and come
    again from the outbox.

    Guard: the dedupe table knows every order for ever; R2's sweeper.
    """
    old = [await bot.place(market_order()) for _ in range(ORDERS)]
    await _all_filled_once(line, bot, old)
    for executor in line.executors:
        await executor.stop()
    before = sum((await broker.ends(COMMANDS)).values())
    fresh = [await bot.place(market_order()) for _ in range(ORDERS)]
    await until(lambda: _grew(broker, COMMANDS, before + ORDERS), 20, "all are in Kafka")
    await _repeated(lambda: broker.reset(EXECUTORS, COMMANDS, to_end=to_end), 20)
    for executor in line.executors:
        executor.start()
    await _all_filled_once(line, bot, [*old, *fresh])


async def test_F04_the_age_of_the_oldest_unclaimed_command_is_told(line: Line, bot: Bot) -> None:
    """While nobody claims, operators can see it grow, and it falls to nothing after.

    Guard: the gauge is the database's own measure, not a count of this process' failures.
    """
    for executor in line.executors:
        await executor.stop()
    placed = await bot.place(market_order())

    async def tells_more_than(age_s: float) -> bool:
        return await _oldest_unclaimed_s(line) > age_s

    await until(lambda: tells_more_than(2.0), 20, "the age is told")
    for executor in line.executors:
        executor.start()
    await _all_filled_once(line, bot, [placed])

    async def tells_nothing() -> bool:
        return await _oldest_unclaimed_s(line) == 0.0

    await until(tells_nothing, 20, "nothing is unclaimed")


async def _oldest_unclaimed_s(line: Line) -> float:
    """-1 before the first measurement of a process that has just begun."""
    text = (await line.http.get(f"{line.api_admin_urls[0]}/metrics")).text
    rows = [row for row in text.splitlines() if row.startswith(OLDEST)]
    return float(rows[0].split()[-1]) if rows else -1.0


async def _grew(broker: Broker, topic: str, count: int) -> bool:
    return sum((await broker.ends(topic)).values()) >= count


async def _repeated(do: Callable[[], Awaitable[None]], limit_s: float) -> None:
    """A group's last member may be on its way out: Kafka refuses the reset until it is gone."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            await do()
        except KafkaError:
            assert time.monotonic() < deadline, "the group is never empty"
            await asyncio.sleep(0.2)
        else:
            return


async def _all_filled_once(line: Line, bot: Bot, placed: list[Attempt]) -> None:
    await _filled_once(line, bot, placed)
    await assert_clean(line, bot)


async def _filled_once(line: Line, bot: Bot, placed: list[Attempt]) -> list[Json]:
    assert {attempt.status for attempt in placed} == {202}
    orders = []
    for attempt in placed:
        order = await bot.wait_for(attempt.told()["order_id"], "filled", limit_s=HEALED_S)
        assert len(await line.creates(order["client_order_id"])) == 1
        orders.append(order)
    return orders
