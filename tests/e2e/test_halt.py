"""F22: after the reply to a halt nothing new leaves. And keys that are revoked meanwhile."""

import asyncio
import time

from tests.e2e.judging import assert_clean
from tests.line import Line, until
from tests.workload import Bot, market_order, new_key

ACCOUNT = "paper-6"
OFFSET_ERROR_MS = 100  # how well an executor knows the venue's clock on one machine, at worst


async def test_F22_halt_while_orders_leave(line: Line, bot: Bot) -> None:
    """A stream of orders through two executors; what was signed after the halt's reply is none.

    Guard: FOR SHARE on the account's row in the CAS, EXCLUSIVE lock by the halt.
    """
    flow = [asyncio.create_task(bot.place(market_order(ACCOUNT))) for _ in range(120)]

    async def some_left() -> bool:
        return len(await _stamps(line)) >= before + 20

    before = len(await _stamps(line))
    await until(some_left, 15, "orders leave")
    await line.admin("POST", f"/v1/accounts/{ACCOUNT}/halt")
    halted_ms = time.time() * 1000
    placed = await asyncio.gather(*flow)
    accepted = [attempt for attempt in placed if attempt.status == 202]
    denied = [attempt for attempt in placed if attempt.denied]
    assert len(accepted) + len(denied) == len(placed)
    await asyncio.sleep(1.5)  # time in which a wrong one would leave
    late = [stamp for stamp in await _stamps(line) if stamp > halted_ms + OFFSET_ERROR_MS]
    assert late == []
    await line.admin("POST", f"/v1/accounts/{ACCOUNT}/resume")
    for attempt in accepted:
        await bot.wait_for(attempt.told()["order_id"], "filled")
    await assert_clean(line, bot, ACCOUNT)


async def _stamps(line: Line) -> list[int]:
    """When each create of the account was signed, in the venue's time."""
    path = f"/control/requests?path=/api/v3/order&account={ACCOUNT}&limit=100000"
    rows = (await line.control("GET", path))["requests"]
    return [int(row["params"]["timestamp"]) for row in rows if row["method"] == "POST"]


async def test_orders_of_a_revoked_key_end_denied(line: Line, bot: Bot) -> None:
    """Queued orders of a key that was revoked are denied, not sent.

    Guard: the key's row is asked for in the CAS.
    """
    kid, key = await line.make_key("revoked", (ACCOUNT,))
    doomed = Bot(line.api_urls, key)
    for executor in line.executors:
        await executor.stop()
    placed = [await doomed.place(market_order(ACCOUNT)) for _ in range(3)]
    assert {attempt.status for attempt in placed} == {202}
    await line.admin("POST", f"/v1/keys/{kid}/revoke")
    assert (await doomed.send("/v1/orders", market_order(ACCOUNT), new_key())).status == 401
    await line.restart(line.executors[0])
    _, successor = await line.make_key("revoked", (ACCOUNT,))
    heir = Bot(line.api_urls, successor, doomed.record)
    for attempt in placed:
        order = await heir.wait_for(attempt.told()["order_id"], "denied")
        assert order["reason"]["code"] == "key-revoked"
        assert await line.creates(order["client_order_id"]) == []
    await assert_clean(line, heir, ACCOUNT)
    await heir.close()
    await doomed.close()
