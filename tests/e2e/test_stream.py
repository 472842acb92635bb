"""R9, F24: orders are followed by the venue's stream, with REST behind it; whatever the stream
repeats, shuffles, delays or swallows, each fill is booked once and no order goes back."""

import asyncio
import re
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from orderonce_shared.domain.identity import client_order_id

from tests.e2e.judging import assert_clean, history
from tests.line import Line, until
from tests.workload import Bot, limit_order, market_order, new_key

ETH, SOL = "ETH/USDT", "SOL/USDT"
RECORDED = 'orderonce_executor_stream_words_total{outcome="recorded"}'
STARTS = "orderonce_executor_stream_starts_total"
UP = "orderonce_executor_stream_up"
BOUND_S = 2.0 + 1.0 + 2.0  # window, step allowance, late visibility: no absence before that


async def number(line: Line, name: str, account: str = "") -> float:
    """A number of /metrics, added up over the executors that run."""
    total = 0.0
    for child, url in zip(line.executors, line.executor_admin_urls, strict=True):
        if child.running:
            text = (await line.http.get(f"{url}/metrics")).text
            label = f'{{account="{account}"}}' if account else ""
            found = re.search(rf"^{re.escape(name + label)} (\S+)$", text, re.MULTILINE)
            total += float(found[1]) if found else 0.0
    return total


async def listening(line: Line, account: str) -> None:
    """Every executor hears that account's stream."""

    async def all_up() -> bool:
        return await number(line, UP, account) == sum(child.running for child in line.executors)

    await until(all_up, 20, f"every executor listens to {account}")


async def ask(line: Line, query: str, order_id: str) -> Any:
    """One value of the executor's tables."""
    connection = await asyncpg.connect(line.database.owner_url)
    try:
        return await connection.fetchval(query, order_id)
    finally:
        await connection.close()


async def source(line: Line, order_id: str) -> str | None:
    """How the venue's word came that last changed the order's row, but for the create's answer."""
    query = "SELECT seen_from FROM executor.attempt WHERE order_id = $1 ORDER BY attempt DESC"
    found: str | None = await ask(line, query, order_id)
    return found


async def own_id(bot: Bot, key: str) -> str:
    return client_order_id((await bot.get("/v1/whoami"))["client"], key)


def never_goes_back(statuses: list[str]) -> bool:
    """Whether nothing follows the end, and no `open` a `filled`."""
    ends = [n for n, status in enumerate(statuses) if status in ("filled", "canceled")]
    return not ends or ends[0] == len(statuses) - 1


async def test_F24_slow_ack_after_the_streams_filled(line: Line, bot: Bot) -> None:
    """The stream says FILLED while the create is still on the wire; its answer changes nothing.

    Guard: an ended order absorbs; the answer's CAS misses, and its words are kept and settled.
    """
    account, key = "paper-4", new_key()
    await listening(line, account)
    one = await own_id(bot, key)
    await line.arm("fills_before_ack", ms=1_200, match={"client_order_id": one})
    placed = await bot.place(market_order(account), key)
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "filled")
    assert await source(line, order_id) == "stream", "known before the answer"
    assert "unknown" not in await history(bot, order_id)

    async def answered() -> bool:
        query = "SELECT verdict FROM executor.attempt WHERE order_id = $1 AND applied"
        return bool(await ask(line, query, order_id) == "acknowledged")

    await until(answered, 10, "the slow answer was heard, kept and settled")
    statuses = await history(bot, order_id)
    assert statuses.count("filled") == 1
    assert never_goes_back(statuses), statuses
    assert len(await line.creates(one)) == 1
    await assert_clean(line, bot, account)


async def looked_at(line: Line, order_id: str) -> None:
    """REST has had its first look at an order that has just come to rest."""
    query = "SELECT next_at > clock_timestamp() FROM executor.placement WHERE order_id = $1"

    async def is_left_alone() -> bool:
        return bool(await ask(line, query, order_id))

    await until(is_left_alone, 20, "looked at")


async def test_a_resting_order_that_fills_is_known_by_the_stream(line: Line, bot: Bot) -> None:
    """Behind a stream REST looks seldom: who told is in the evidence. (A look may be under way just
    then, but not at all of them.)"""
    account = "paper-5"
    await listening(line, account)
    ids = []
    for price in ("2990.00", "2989.00", "2988.00"):
        placed = await bot.place(limit_order(account, symbol=ETH, price=price, quantity="0.5"))
        ids.append(placed.told()["order_id"])
        await bot.wait_for(ids[-1], "open")
        await looked_at(line, ids[-1])
    moved = {"symbol": "ETHUSDT", "bid": "2980.00", "ask": "2980.10"}
    await line.control("POST", "/control/price", moved)
    for order_id in ids:
        await bot.wait_for(order_id, "filled")
    assert "stream" in [await source(line, order_id) for order_id in ids]
    await assert_clean(line, bot, account)


async def test_a_cancel_at_the_venue_is_known_by_the_stream(line: Line, bot: Bot) -> None:
    """Its own id in the report is not the order's."""
    account = "paper-5"
    await listening(line, account)
    placed = await bot.place(limit_order(account, symbol=SOL, price="100.00", quantity="1"))
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "open")
    await bot.cancel(order_id)
    await bot.wait_for(order_id, "canceled")
    await assert_clean(line, bot, account)


@pytest.mark.parametrize("fault", ["fill_twice", "fill_out_of_order"])
async def test_fills_told_twice_or_shuffled_are_booked_once(
    line: Line, bot: Bot, fault: str
) -> None:
    """An order that walks several levels, told of in disorder before its answer comes.

    Guard: the merge is monotone, and a trade id counts once.
    """
    account, key = "paper-6", new_key()
    await listening(line, account)
    one = await own_id(bot, key)
    await line.arm(fault, match={"client_order_id": one})
    await line.arm("fills_before_ack", ms=1_200, match={"client_order_id": one})
    placed = await bot.place(market_order(account, quantity="6"), key)
    order_id = placed.told()["order_id"]
    order = await bot.wait_for(order_id, "filled")
    assert Decimal(order["filled_quantity"]) == 6
    assert await source(line, order_id) == "stream"
    statuses = await history(bot, order_id)
    assert never_goes_back(statuses), statuses
    await assert_clean(line, bot, account)


async def test_a_late_fill_is_booked(line: Line, bot: Bot) -> None:
    """The trade comes long after the order is known to be filled; nothing is booked twice."""
    account, key = "paper-6", new_key()
    await listening(line, account)
    one = await own_id(bot, key)
    await line.arm("fill_late", match={"client_order_id": one}, seconds=1.5)
    placed = await bot.place(limit_order(account, symbol=SOL, price="149.00", quantity="2"), key)
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "open")
    await line.control(
        "POST", "/control/price", {"symbol": "SOLUSDT", "bid": "148.00", "ask": "148.02"}
    )
    order = await bot.wait_for(order_id, "filled")
    assert Decimal(order["filled_quantity"]) == 2
    assert never_goes_back(await history(bot, order_id))
    await assert_clean(line, bot, account)


async def test_an_order_that_appears_after_its_client_gave_up(line: Line, bot: Bot) -> None:
    """accept_late: unknown, then at the venue within the declared bound; told by the stream."""
    account, key = "paper-7", new_key()
    await listening(line, account)
    one = await own_id(bot, key)
    await line.arm("accept_late", match={"client_order_id": one}, seconds=1.2)
    placed = await bot.place(limit_order(account, symbol=ETH, price="2500.00", quantity="0.1"), key)
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "open", limit_s=BOUND_S)
    statuses = await history(bot, order_id)
    assert "unknown" in statuses
    assert "not_placed" not in statuses
    assert len(await line.creates(one)) == 1
    await bot.cancel(order_id)
    await bot.wait_for(order_id, "canceled")
    await assert_clean(line, bot, account)


async def test_rest_catches_up_with_what_a_cut_stream_did_not_tell(line: Line, bot: Bot) -> None:
    """The connection ends in place of the report of a fill, and the same again while it is away.

    Guard: at each end and each beginning of a subscription REST looks at every open order.
    """
    account = "paper-7"
    await listening(line, account)
    starts = await number(line, STARTS, account)
    ids = []
    for price in ("2990.00", "2970.00"):
        placed = await bot.place(limit_order(account, symbol=ETH, price=price, quantity="0.2"))
        ids.append(placed.told()["order_id"])
        await bot.wait_for(ids[-1], "open")
    await line.arm("ws_drop", when="event", seconds=2, match={"account": account}, times=9)
    for bid, ask in (("2980.00", "2980.10"), ("2960.00", "2960.10")):
        moved = {"symbol": "ETHUSDT", "bid": bid, "ask": ask}
        await line.control("POST", "/control/price", moved)
    for order_id in ids:
        await bot.wait_for(order_id, "filled")
        assert await source(line, order_id) == "asked"
    await line.control("DELETE", "/control/faults")
    await listening(line, account)
    assert await number(line, STARTS, account) > starts
    await assert_clean(line, bot, account)


async def test_a_burst_costs_no_second_record(line: Line, bot: Bot) -> None:
    """What the answers to the creates have said is not recorded again when the stream says it."""
    account = "paper-8"
    await listening(line, account)
    before = await number(line, RECORDED)
    placed = await asyncio.gather(*(bot.place(market_order(account)) for _ in range(20)))
    for one in placed:
        await bot.wait_for(one.told()["order_id"], "filled")
    recorded = await number(line, RECORDED) - before
    assert recorded < 20, "at most a few whose answer was slower than the stream's grace"
    await assert_clean(line, bot, account)
