"""R12, F23: a venue that leaves creates unanswered gets no more of them until one was answered."""

import time

import pytest

from tests.e2e.judging import assert_clean, in_seconds
from tests.e2e.test_stream import number
from tests.line import Line, until
from tests.workload import Bot, Json, limit_order, market_order

FAILURES, UNKNOWNS, PAUSE_S = 5, 20, 5.0  # the settings' defaults
OPEN = "orderonce_executor_breaker_open"


async def opens(line: Line, account: str) -> None:
    async def is_open() -> bool:
        return await number(line, OPEN, account) == 1

    await until(is_open, 15, f"the breaker of {account} is open")


async def closes(line: Line, account: str) -> None:
    async def is_closed() -> bool:
        return await number(line, OPEN, account) == 0

    await until(is_closed, 30, f"the breaker of {account} is closed")


async def openings(line: Line, account: str) -> list[float]:
    """By failures in a row, and by unknown orders; another test on this line may have had some."""
    name = f'{OPEN}ings_total{{account="{account}",cause="'
    return [await number(line, f'{name}{cause}"}}') for cause in ("failures", "unknowns")]


async def placed(bot: Bot, body: Json) -> Json:
    attempt = await bot.place(body)
    assert attempt.status == 202
    return attempt.told()


async def creates(line: Line, account: str) -> int:
    path = f"/control/requests?path=/api/v3/order&method=POST&account={account}&limit=100000"
    return len((await line.control("GET", path))["requests"])


async def silent_to_creates(line: Line, account: str) -> None:
    """Each create is answered 503 and not executed, until cleared."""
    await line.arm("refuse_5xx", times=None, match={"account": account, "method": "POST"})


async def test_F23_after_five_silences_orders_wait_lapse_or_leave_later(
    line: Line, bot: Bot
) -> None:
    """Nothing new leaves, cancels pass; then one probes, and who is within its deadline is placed.

    Guard: the breaker in the lane; the sweep of its waiting orders; a lapsed one is never sent.
    """
    account = "paper-7"
    resting = await placed(bot, limit_order(account))
    await bot.wait_for(resting["order_id"], "open")
    await silent_to_creates(line, account)
    before = await creates(line, account)
    doubted = []
    for _ in range(FAILURES):
        doubted.append(await placed(bot, market_order(account)))
        await bot.wait_for(doubted[-1]["order_id"], "unknown")
    opened_at = time.monotonic()
    await opens(line, account)

    hurried = [
        await placed(bot, market_order(account, expires_at=in_seconds(1.5))) for _ in range(3)
    ]
    patient = [
        await placed(bot, market_order(account, expires_at=in_seconds(60))) for _ in range(3)
    ]
    regretted = await placed(bot, market_order(account, expires_at=in_seconds(60)))
    await bot.cancel(regretted["order_id"])
    await bot.cancel(resting["order_id"])
    await bot.wait_for(resting["order_id"], "canceled")
    await bot.wait_for(regretted["order_id"], "canceled")
    for order in hurried:
        await bot.wait_for(order["order_id"], "lapsed", limit_s=10)
    left = await creates(line, account) - before - FAILURES
    probes = int((time.monotonic() - opened_at) / PAUSE_S)
    assert left <= probes, "more left than probes"
    assert await number(line, OPEN, account) == 1, "a cancel's answer does not close it"

    await line.control("DELETE", "/control/faults?name=refuse_5xx")
    ended = [await bot.wait_for(one["order_id"], "filled", "not_placed") for one in patient]
    assert [one["status"] for one in ended].count("not_placed") <= left
    for order in [*hurried, regretted]:
        assert await line.creates(order["client_order_id"]) == []
    await closes(line, account)
    for order in doubted:
        await bot.wait_for(order["order_id"], "not_placed")
    await assert_clean(line, bot, account)


async def test_many_unknown_orders_pause_an_account_although_others_are_answered(
    line: Line, bot: Bot
) -> None:
    """Silences between answers: no row of failures, but each is an order in doubt.

    Guard: the count of UNKNOWN orders opens the breaker.
    """
    account = "paper-5"
    before = await openings(line, account)
    await line.arm("ws_drop", seconds=60)
    await line.arm("refuse_5xx", times=None, match={"account": account, "method": "GET"})
    fault = {"account": account, "method": "POST", "side": "SELL"}
    await line.arm("refuse_5xx", times=None, match=fault)
    doubted: list[Json] = []
    fine: list[Json] = []
    while len(doubted) < UNKNOWNS:
        for _ in range(FAILURES - 1):
            doubted.append(await placed(bot, market_order(account, side="sell")))
        for order in doubted[1 - FAILURES :]:
            await bot.wait_for(order["order_id"], "unknown")
        fine.append(await placed(bot, limit_order(account)))
        await bot.wait_for(fine[-1]["order_id"], "open")
    await opens(line, account)
    causes = [now - then for now, then in zip(await openings(line, account), before, strict=True)]
    assert causes == [0, 1]

    await line.control("DELETE", "/control/faults")
    after = await placed(bot, market_order(account))
    await bot.wait_for(after["order_id"], "filled")
    await closes(line, account)
    for order in doubted:
        await bot.wait_for(order["order_id"], "not_placed", limit_s=40)
    for order in fine:
        await bot.cancel(order["order_id"])
        await bot.wait_for(order["order_id"], "canceled")
    await assert_clean(line, bot, account)


@pytest.mark.parametrize("account", ["paper-6"])
async def test_orders_wait_for_a_venue_that_takes_no_connection(
    line: Line, bot: Bot, account: str
) -> None:
    """Refused connections open it too: orders keep their attempts, and leave once it is back.

    Guard: "unreachable" counts as a failure, and an order's attempts are not spent meanwhile.
    """
    line.paper.kill()
    waiting = [await placed(bot, market_order(account)) for _ in range(8)]
    await opens(line, account)
    await line.restart(line.paper)
    for order in waiting:
        await bot.wait_for(order["order_id"], "filled", limit_s=30)
    await closes(line, account)
    await assert_clean(line, bot, account)
