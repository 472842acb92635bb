"""F20: a cancel meets an order in each of its states. Nothing stays live after `canceled`."""

from uuid import uuid4

from orderonce_shared.domain.identity import client_order_id
from orderonce_shared.domain.lifecycle import Status

from tests.e2e.judging import Records, assert_clean, cancel_command, history, place_command
from tests.line import Line, until
from tests.workload import Bot, limit_order, market_order, new_key


async def _own_id(bot: Bot, key: str) -> str:
    return client_order_id((await bot.get("/v1/whoami"))["client"], key)


async def _assert_not_live(line: Line, one: str) -> None:
    order = await line.venue_order(one)
    assert order is None or order["status"] not in ("NEW", "PARTIALLY_FILLED"), order


async def test_F20_cancel_of_a_claimed_order(line: Line, bot: Bot) -> None:
    """Refused before processing, then its account is halted: it waits, and the cancel ends it.

    Guard: the durable mark, asked for in every CAS.
    """
    key = new_key()
    one = await _own_id(bot, key)
    await line.arm("rate_limit", times=None, match={"client_order_id": one, "method": "POST"})
    placed = await bot.place(limit_order("paper-6"), key)
    order_id = placed.told()["order_id"]

    async def refused_once() -> bool:
        return len(await line.creates(one)) >= 1

    await until(refused_once, 10, "the venue refused it before processing")
    await line.admin("POST", "/v1/accounts/paper-6/halt")
    cancel = await bot.cancel(order_id)
    assert cancel.status == 202
    order = await bot.wait_for(order_id, "canceled")
    assert order["venue_order_id"] is None
    await line.control("DELETE", "/control/faults")
    await line.admin("POST", "/v1/accounts/paper-6/resume")
    later = await bot.place(market_order("paper-6"))  # passes the same lane after the resume
    await bot.wait_for(later.told()["order_id"], "filled")
    assert await line.executed_creates(one) == []
    await assert_clean(line, bot, "paper-6")


async def test_F20_cancel_of_an_order_on_the_wire(line: Line, bot: Bot) -> None:
    """The create is inside the venue when the cancel comes: "no such order" is not believed.

    Guard: a cancel's "no such order" before R7's three steps proves nothing; cancel on find.
    """
    key = new_key()
    one = await _own_id(bot, key)
    await line.arm("slow", ms=1000, match={"client_order_id": one, "method": "POST"})
    placed = await bot.place(limit_order(), key)
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "sending")
    await bot.cancel(order_id)
    order = await bot.wait_for(order_id, "canceled")
    assert order["venue_order_id"] is not None
    await _assert_not_live(line, one)
    assert len(await line.creates(one)) == 1
    await assert_clean(line, bot)


async def test_F20_cancel_of_an_unknown_order(line: Line, bot: Bot) -> None:
    """The reply is lost and the venue is blind to the order: canceled again when it is found.

    Guard: the mark drives a second cancel on find.
    """
    key = new_key()
    one = await _own_id(bot, key)
    await line.arm("accept_then_reset", match={"client_order_id": one, "method": "POST"})
    await line.arm("not_found_lag", seconds=3.0, match={"account": "paper-7"})
    placed = await bot.place(limit_order("paper-7"), key)
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "unknown")
    await bot.cancel(order_id)
    await bot.wait_for(order_id, "canceled")
    await _assert_not_live(line, one)
    assert "unknown" in await history(bot, order_id)
    assert len(await line.creates(one)) == 1
    await assert_clean(line, bot, "paper-7")


async def test_F20_cancel_of_a_partly_filled_order(line: Line, bot: Bot) -> None:
    """Ends canceled with what was filled, and the ledger has just that.

    Guard: the cumulative fill never falls in a merge.
    """
    key = new_key()
    one = await _own_id(bot, key)
    # more than the first level of the book holds, at its price: the rest stays
    body = limit_order("paper-7", symbol="SOL/USDT", quantity="1000.000", price="150.02")
    placed = await bot.place(body, key)
    order_id = placed.told()["order_id"]
    order = await bot.wait_for(order_id, "open")
    assert 0 < float(order["filled_quantity"]) < 1000
    await bot.cancel(order_id)
    ended = await bot.wait_for(order_id, "canceled")
    assert ended["filled_quantity"] == order["filled_quantity"]
    await _assert_not_live(line, one)
    await assert_clean(line, bot, "paper-7")


async def test_F20_cancel_of_an_open_order_replays(line: Line, bot: Bot) -> None:
    """The plain case; the same cancel again replays, and a cancel of an ended order is harmless.

    Guard: one key space over all commands.
    """
    placed = await bot.place(limit_order())
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "open")
    key = new_key()
    first = await bot.cancel(order_id, key)
    again = await bot.cancel(order_id, key)
    assert (first.reply, again.replayed) == (again.reply, True)
    await bot.wait_for(order_id, "canceled")
    assert (await bot.cancel(order_id)).status == 202
    assert (await bot.order(order_id))["status"] == "canceled"
    await assert_clean(line, bot)


async def test_F20_cancel_that_arrives_before_its_place(line: Line) -> None:
    """The cancel makes the order's row; the place ends canceled, unsent.

    Guard: a cancel that comes first makes the row, with the place's (client, key).
    """
    client, records = f"direct-{uuid4().hex[:8]}", Records(line)
    place = place_command(client, new_key())
    await records.write(cancel_command(place, new_key()), place)
    event = await records.wait_final(client, place.order_id)
    assert event.status is Status.CANCELED
    after = place_command(client, new_key())  # behind it in the same partition and lane
    await records.write(after)
    assert (await records.wait_final(client, after.order_id)).status is Status.FILLED
    assert await line.creates(client_order_id(client, place.key)) == []
