"""One key from many sides at once, and bad company in one batch."""

import asyncio

import asyncpg

from tests.e2e.judging import assert_clean
from tests.line import Line
from tests.workload import Bot, limit_order, market_order, new_key


async def test_64_posts_of_one_key_over_two_apis(line: Line, bot: Bot) -> None:
    """One body, one order row, one create at the venue.

    Guard: unique (client, key) and the twin that waits for the first one's bytes.
    """
    key, body = new_key(), market_order()
    posts = [bot.send("/v1/orders", body, key, line.api_urls[n % 2]) for n in range(64)]
    replies = await asyncio.gather(*posts)
    assert {reply.status for reply in replies} == {202}
    assert len({reply.reply for reply in replies}) == 1
    assert sum(not reply.replayed for reply in replies) == 1
    listed = (await bot.get("/v1/orders?account=paper-1&limit=200"))["orders"]
    assert len(listed) == 1
    order = await bot.wait_for(listed[0]["order_id"], "filled")
    assert len(await line.creates(order["client_order_id"])) == 1
    await assert_clean(line, bot)


async def test_good_posts_among_bad_ones(line: Line, bot: Bot) -> None:
    """60 good posts with a same-key pair of different payload and a NUL in a tag: each gets its
    own answer.

    Guard: a batch that fails is run member by member; NUL is refused in validation.
    """
    pair, poison = new_key(), new_key()
    good = [bot.send("/v1/orders", market_order(), new_key()) for _ in range(60)]
    twins = [
        bot.send("/v1/orders", market_order(quantity=quantity), pair, line.api_urls[0])
        for quantity in ("0.00100", "0.00300")
    ]
    bad = [bot.send("/v1/orders", market_order(client_tag="a\x00b"), poison)]
    replies = await asyncio.gather(*good[:30], *twins, *bad, *good[30:])
    by_key = {reply.key: reply for reply in replies}
    assert by_key[poison].status == 400
    assert sorted(reply.status or 0 for reply in replies if reply.key == pair) == [202, 422]
    others = [reply for reply in replies if reply.key not in (pair, poison)]
    assert {reply.status for reply in others} == {202}
    for reply in replies:
        if reply.status == 202:
            await bot.wait_for(reply.told()["order_id"], "filled")
    winner = next(r for r in replies if r.key == pair and r.status == 202)
    bot.record.keys[pair] = ("/v1/orders", winner.asked())  # what the auditor holds against it
    await assert_clean(line, bot)


async def test_a_denial_is_replayed_and_burns_its_key(line: Line, bot: Bot) -> None:
    """A retry never turns a no into a yes, not even when the reason has gone.

    Guard: denials are stored with their bytes.
    """
    key, body = new_key(), market_order("paper-5")
    await line.admin("POST", "/v1/accounts/paper-5/halt")
    first = await bot.place(body, key)
    assert first.denied
    assert first.told()["code"] == "account-halted"
    await line.admin("POST", "/v1/accounts/paper-5/resume")
    again = await bot.place(body, key)
    assert (again.status, again.reply, again.replayed) == (422, first.reply, True)
    assert (await bot.order(first.told()["order_id"]))["status"] == "denied"
    await assert_clean(line, bot, "paper-5")


async def test_an_accept_is_replayed_while_its_account_is_halted(line: Line, bot: Bot) -> None:
    """An existing key is answered before any check.

    Guard: checks decide only for a new key.
    """
    key, body = new_key(), limit_order("paper-5")
    first = await bot.place(body, key)
    await bot.wait_for(first.told()["order_id"], "open")
    await line.admin("POST", "/v1/accounts/paper-5/halt")
    again = await bot.place(body, key)
    assert (again.status, again.reply, again.replayed) == (202, first.reply, True)
    await bot.cancel(first.told()["order_id"])
    await bot.wait_for(first.told()["order_id"], "canceled")  # a halt never stops a cancel
    await assert_clean(line, bot, "paper-5")


async def test_F10_a_key_used_after_its_life_never_executes_again(line: Line, bot: Bot) -> None:
    """An old intent that is sent again a day later: told apart from a retry, and from a new order.

    Guard: keys are kept past their life; the answer names the order that they made.
    """
    key, body = new_key(), market_order()
    first = await bot.place(body, key)
    order = await bot.wait_for(first.told()["order_id"], "filled")
    owner = await asyncpg.connect(line.database.owner_url)
    try:
        await owner.execute(
            "UPDATE api.idempotency_key SET created_at = created_at - interval '25 hours'"
            " WHERE key = $1",
            key,
        )
    finally:
        await owner.close()
    for url in line.api_urls:
        for asked in (body, market_order(quantity="0.00200")):
            again = await bot.send("/v1/orders", asked, key, url)
            assert again.status == 422
            assert again.told()["type"] == "/errors/idempotency-key-expired"
            assert again.told()["order_id"] == order["order_id"]
    assert len(await line.creates(order["client_order_id"])) == 1
