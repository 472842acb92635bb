"""F1 to F3: an order API that dies or freezes around its commit, and a producer that repeats."""

import time

import pytest
from orderonce_shared.contracts.topics import COMMANDS, header

from tests.e2e.judging import Records, assert_clean
from tests.line import Line, until
from tests.workload import Bot, Record, market_order, new_key

OTHER_API_S = 5.0  # a frozen API's order is at the venue through the other one within this


async def _wait_visible(bot: Bot, key: str, url: str) -> str:
    """The order id behind a key, as another API shows it once it is committed."""
    shown: dict[str, str] = {}

    async def is_there() -> bool:
        reply = await bot.try_get(f"/v1/orders/by-key/{key}", url)
        shown.update(reply)
        return bool(reply)

    await until(is_there, 10, f"{key} is committed")
    return shown["order_id"]


async def test_F01_accepting_api_killed_after_its_commit(line: Line, bot: Bot) -> None:
    """The other API publishes; the retry replays the 202.

    Guard: the sweeper of every API publishes due outbox rows, whoever wrote them.
    """
    first, other = line.apis[0], line.api_urls[1]
    await first.stop()
    await line.restart(first, {"ORDER_API_FAILPOINTS": "accept_after_commit=exit"})
    key, body = new_key(), market_order()
    died = await bot.send("/v1/orders", body, key, line.api_urls[0])
    killed_at = time.monotonic()
    assert died.status is None
    assert await first.wait_dead() == 137
    order_id = await _wait_visible(bot, key, other)
    order = await bot.order(order_id, other)
    await until(
        lambda: _is_at_venue(line, order["client_order_id"]),
        OTHER_API_S - (time.monotonic() - killed_at),
        "the order is at the venue through the other API",
    )
    again = await bot.send("/v1/orders", body, key, other)
    assert (again.status, again.replayed) == (202, True)
    assert again.told()["order_id"] == order_id
    await assert_clean(line, bot)


async def test_F01_accepting_api_frozen_after_its_commit(line: Line, bot: Bot) -> None:
    """SIGSTOP instead of death: its locks and connections stay, and nothing may wait for them.

    Guard: the sweeper of every API publishes due outbox rows, whoever wrote them.
    """
    first, other = line.apis[0], line.api_urls[1]
    await first.stop()
    await line.restart(first, {"ORDER_API_FAILPOINTS": "accept_after_commit=pause:60"})
    key, body = new_key(), market_order()
    hanging = Bot([line.api_urls[0]], bot.bearer, Record())
    sending = hanging.in_background("/v1/orders", body, key)
    order_id = await _wait_visible(bot, key, other)
    first.freeze()
    frozen_at = time.monotonic()
    order = await bot.order(order_id, other)
    await until(
        lambda: _is_at_venue(line, order["client_order_id"]),
        OTHER_API_S - (time.monotonic() - frozen_at),
        "the order is at the venue through the other API",
    )
    again = await bot.send("/v1/orders", body, key, other)
    assert (again.status, again.replayed) == (202, True)
    await sending
    await hanging.close()
    first.kill()
    await assert_clean(line, bot)


async def _is_at_venue(line: Line, client_order_id: str) -> bool:
    return len(await line.executed_creates(client_order_id)) == 1


async def test_F02_api_dies_before_its_commit(line: Line, bot: Bot) -> None:
    """Nothing exists, and the retry is a first request.

    Guard: key, order and outbox row are one statement: a half would be seen here.
    """
    first, other = line.apis[0], line.api_urls[1]
    await first.stop()
    await line.restart(first, {"ORDER_API_FAILPOINTS": "accept_before_commit=exit"})
    key, body = new_key(), market_order()
    assert (await bot.send("/v1/orders", body, key, line.api_urls[0])).status is None
    assert await first.wait_dead() == 137
    assert await bot.try_get(f"/v1/orders/by-key/{key}", other) == {}
    retry = await bot.send("/v1/orders", body, key, other)
    assert (retry.status, retry.replayed) == (202, False)
    await bot.wait_for(retry.told()["order_id"], "filled")
    await assert_clean(line, bot)


@pytest.mark.parametrize("copies", [1, 5])
async def test_F03_record_appears_again_later(line: Line, bot: Bot, copies: int) -> None:
    """A send that was given up, or the sweeper, puts the same record into the topic again.

    Guard: R3's insert that does nothing on a known order id or (client, key).
    """
    placed = [await bot.place(market_order()) for _ in range(3)]
    ids = {attempt.told()["order_id"] for attempt in placed}
    for order_id in ids:
        await bot.wait_for(order_id, "filled")
    records = Records(line)
    mine = [r for r in await records.all(COMMANDS) if header(r.headers, "order_id") in ids]
    assert len(mine) >= 3
    await records.write_again(mine * copies)
    after = await bot.place(market_order())  # behind the copies in the same partition
    await bot.wait_for(after.told()["order_id"], "filled")
    await assert_clean(line, bot)


async def test_F03_sweeper_repeats_while_no_executor_runs(line: Line, bot: Bot) -> None:
    """An unclaimed order is published again and again; a late executor places it once.

    Guard: the outbox row stays until the executor's `claimed` event has come back.
    """
    for executor in line.executors:
        await executor.stop()
    placed = [await bot.place(market_order()) for _ in range(3)]
    ids = {attempt.told()["order_id"] for attempt in placed}
    records = Records(line)

    async def twice_each() -> bool:
        rows = [header(r.headers, "order_id") for r in await records.all(COMMANDS)]
        return all(rows.count(order_id) >= 2 for order_id in ids)

    await until(twice_each, 20, "each record is in the topic twice")
    await line.restart(line.executors[0])
    for order_id in ids:
        await bot.wait_for(order_id, "filled")
    await assert_clean(line, bot)
