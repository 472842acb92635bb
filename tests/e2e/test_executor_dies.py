"""F6, F7, F12 and a kill on the wire: an executor that dies between any two of its steps."""

import asyncio

from orderonce_shared.domain.identity import client_order_id

from tests.e2e.judging import assert_clean, history, in_seconds
from tests.line import Line, until
from tests.workload import Bot, limit_order, market_order, new_key

ABSENT_S = 20.0  # window 2 s, step allowance 1 s, late visibility 2 s, and a restart


async def _only(line: Line, failpoint: str) -> None:
    """One executor alone, that dies at this point; the other one is down."""
    first, second = line.executors
    await second.stop()
    await first.stop()
    await line.restart(first, {"EXECUTOR_FAILPOINTS": f"{failpoint}=exit"})


async def test_F06_executor_dies_between_offsets_and_send(line: Line, bot: Bot) -> None:
    """Kafka will not send the record again; another executor takes the claimed row up.

    Guard: R8, rows of a process whose advisory lock is gone are taken up.
    """
    await _only(line, "after_offsets")
    placed = await bot.place(market_order())
    assert await line.executors[0].wait_dead() == 137
    line.executors[1].start()
    order = await bot.wait_for(placed.told()["order_id"], "filled")
    assert len(await line.creates(order["client_order_id"])) == 1
    await assert_clean(line, bot)


async def test_F06_executor_dies_in_its_claim(line: Line, bot: Bot) -> None:
    """Before the claim's commit nothing is owned, and the record comes again.

    Guard: offsets are committed after the database, never before.
    """
    await _only(line, "claim_before_commit")
    placed = await bot.place(market_order())
    assert await line.executors[0].wait_dead() == 137
    line.executors[1].start()
    await bot.wait_for(placed.told()["order_id"], "filled")
    await assert_clean(line, bot)


async def test_F07_executor_dies_between_venue_and_database(line: Line, bot: Bot) -> None:
    """The venue has filled it, nobody wrote that down: the look-up finds it.

    Guard: R7 from SENDING (found: apply); a second send instead would double it here.
    """
    await _only(line, "after_reply")
    placed = await bot.place(market_order())
    assert await line.executors[0].wait_dead() == 137
    order_id = placed.told()["order_id"]
    line.executors[1].start()
    order = await bot.wait_for(order_id, "filled")
    assert "unknown" in await history(bot, order_id)
    assert len(await line.creates(order["client_order_id"])) == 1
    await assert_clean(line, bot)


async def test_F07_executor_dies_with_a_resting_order(line: Line, bot: Bot) -> None:
    """The same with an order that rests: found open, and it can be canceled.

    Guard: R7 from SENDING (found: apply).
    """
    await _only(line, "after_reply")
    placed = await bot.place(limit_order())
    assert await line.executors[0].wait_dead() == 137
    line.executors[1].start()
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "open")
    await bot.cancel(order_id)
    await bot.wait_for(order_id, "canceled")
    await assert_clean(line, bot)


async def test_F07_executor_dies_before_the_first_byte(line: Line, bot: Bot) -> None:
    """After the CAS nothing went out: not placed, but only after R7's bound, and never sent.

    Guard: R7's three steps; from SENDING only look-ups.
    """
    await _only(line, "after_cas")
    placed = await bot.place(market_order())
    assert await line.executors[0].wait_dead() == 137
    line.executors[1].start()
    order_id = placed.told()["order_id"]
    order = await bot.wait_for(order_id, "not_placed", limit_s=ABSENT_S)
    assert order["reason"]["code"] == "proven-absent"
    assert await line.creates(order["client_order_id"]) == []
    assert "unknown" in await history(bot, order_id)
    await assert_clean(line, bot)


async def test_F07_kill_on_the_wire_with_a_lost_reply(line: Line, bot: Bot) -> None:
    """The venue accepts and says nothing, the executor is killed: unknown first, then the truth.

    Guard: state SENDING is committed before the first byte.
    """
    await line.executors[1].stop()
    key = new_key()
    client = (await bot.get("/v1/whoami"))["client"]
    one = client_order_id(client, key)
    await line.arm("accept_then_timeout", match={"client_order_id": one, "method": "POST"})
    await line.arm("not_found_lag", seconds=4.0, match={"account": "paper-5"})
    placed = await bot.place(market_order("paper-5"), key)

    async def at_venue() -> bool:
        return len(await line.executed_creates(one)) == 1

    await until(at_venue, 10, "the venue has executed it")
    line.executors[0].kill()
    line.executors[1].start()
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "unknown")
    await line.control("DELETE", "/control/faults?name=not_found_lag")
    await bot.wait_for(order_id, "filled")
    assert len(await line.creates(one)) == 1
    await assert_clean(line, bot, "paper-5")


async def test_F12_executor_down_past_the_deadline(line: Line, bot: Bot) -> None:
    """Late commands lapse; none is traded late.

    Guard: `expires_at >= signed_at + smallest window` in the CAS.
    """
    for executor in line.executors:
        await executor.stop()
    body = market_order(expires_at=in_seconds(3))
    placed = await asyncio.gather(*(bot.place(body) for _ in range(5)))
    assert {attempt.status for attempt in placed} == {202}
    await asyncio.sleep(3)  # the deadline itself, not a guess
    await line.restart(line.executors[0])
    for attempt in placed:
        order = await bot.wait_for(attempt.told()["order_id"], "lapsed")
        assert order["reason"]["code"] == "deadline-passed"
        assert await line.creates(order["client_order_id"]) == []
    await assert_clean(line, bot)
