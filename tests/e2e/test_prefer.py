"""`Prefer: wait` through real processes: events are spread over both APIs, and whichever of them
accepted an order answers when it has settled.
"""

import asyncio
import json

import httpx

from tests.line import Line, until
from tests.workload import Bot, limit_order, market_order, new_key


async def preferring(bot: Bot, url: str, body: object, wait_s: int) -> httpx.Response:
    async with httpx.AsyncClient(timeout=15) as http:
        return await http.post(
            f"{url}/v1/orders", content=json.dumps(body),
            headers={"Authorization": f"Bearer {bot.bearer}", "Idempotency-Key": new_key(),
                     "Content-Type": "application/json", "Prefer": f"wait={wait_s}"},
        )  # fmt: skip


async def test_both_apis_answer_with_the_settled_order(line: Line, bot: Bot) -> None:
    """Every account lies on a partition that one of the two processes reads.

    Guard: a look at the database for all who wait, beside what this process applies itself.
    """
    asked = [
        (url, market_order(f"paper-{n}") if n % 2 else limit_order(f"paper-{n}"))
        for url in line.api_urls
        for n in range(1, 7)
    ]
    answers = await asyncio.gather(*(preferring(bot, url, body, 5) for url, body in asked))
    resting = []
    for (_, body), answer in zip(asked, answers, strict=True):
        assert answer.status_code == 200, answer.text
        assert answer.headers["preference-applied"] == "wait=5"
        order = answer.json()
        assert order["status"] == ("filled" if body["type"] == "market" else "open")
        if order["status"] == "open":
            resting.append(order["order_id"])
    for order_id in resting:
        await bot.cancel(order_id)
        await bot.wait_for(order_id, "canceled")


async def test_a_stopping_api_answers_with_the_acceptance(line: Line, bot: Bot) -> None:
    """SIGTERM while an answer is held back: the bot has its 202 at once, and the order goes on."""
    for executor in line.executors:
        executor.freeze()
    api, url = line.apis[0], line.api_urls[0]
    reply = asyncio.create_task(preferring(bot, url, market_order(), 5))
    other = line.api_urls[1]
    found: list[dict[str, object]] = []
    while not found:  # accepted: the wait has begun, or is about to
        found = (await bot.get("/v1/orders?limit=1", other))["orders"]
        await asyncio.sleep(0.02)
    stopping = asyncio.create_task(api.stop())
    answer = await asyncio.wait_for(reply, 10)
    assert answer.status_code == 202, answer.text
    assert answer.json()["order_id"] == found[0]["order_id"]
    await stopping
    assert api.exit_code == 0
    await line.restart(api)
    for executor in line.executors:
        executor.thaw()
    await bot.wait_for(str(found[0]["order_id"]), "filled", "unknown")
    await bot.wait_for(str(found[0]["order_id"]), "filled")


async def test_a_bot_that_hangs_up_frees_its_place(line: Line, bot: Bot) -> None:
    """Nobody reads the answer any more: the wait ends at once, the order goes on."""
    for executor in line.executors:
        executor.freeze()
    url, admin = line.api_urls[0], line.api_admin_urls[0]

    async def gone() -> float:
        text = (await line.http.get(f"{admin}/metrics")).text
        rows = [row for row in text.splitlines() if row.startswith("orderonce_api_waits_total{")]
        return sum(float(row.split()[-1]) for row in rows if 'end="gone"' in row)

    before = await gone()
    asking = asyncio.create_task(preferring(bot, url, market_order(), 5))
    found: list[dict[str, object]] = []
    while not found:
        found = (await bot.get("/v1/orders?limit=1", line.api_urls[1]))["orders"]
        await asyncio.sleep(0.02)
    asking.cancel()

    async def is_gone() -> bool:
        return await gone() == before + 1

    await until(is_gone, 4, "the wait has ended with its connection")
    for executor in line.executors:
        executor.thaw()
    await bot.wait_for(str(found[0]["order_id"]), "filled")
