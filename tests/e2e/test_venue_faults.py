"""F8, F15, F18: what the venue says, half says, or does not say, and what that proves."""

import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from orderonce_shared.domain.identity import client_order_id

from tests.e2e.judging import assert_clean, history, in_seconds
from tests.line import Line
from tests.workload import Bot, limit_order, market_order, new_key

BOUND_S = 2.0 + 1.0 + 2.0  # window, step allowance, late visibility: no absence before that
ABSENT_S = 20.0


async def _own_id(bot: Bot, key: str) -> str:
    return client_order_id((await bot.get("/v1/whoami"))["client"], key)


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        ("accept_then_timeout", {}),
        ("accept_then_reset", {}),
        ("accept_then_5xx", {}),
        ("accept_then_5xx", {"body": "json", "code": -1007}),
        ("accept_then_5xx", {"body": "json", "code": -1000, "status": 500}),
        ("accept_then_5xx", {"body": "empty", "status": 502}),
        ("half_body", {}),
        ("empty_body", {}),
        ("html_200", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.get("code", "")),
)
async def test_F08_accepted_and_not_said(
    line: Line, bot: Bot, fault: str, fields: dict[str, Any]
) -> None:
    """The venue placed it and the reply is lost: unknown, then found, and sent once.

    Guard: only words of the evidence table refuse; a 5xx, a reset or half a body proves nothing.
    """
    await line.arm("ws_drop", seconds=60)  # by REST alone: the stream would tell before it asks
    key = new_key()
    one = await _own_id(bot, key)
    await line.arm(fault, match={"client_order_id": one, "method": "POST"}, **fields)
    placed = await bot.place(market_order(), key)
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "filled")
    assert "unknown" in await history(bot, order_id)
    assert len(await line.creates(one)) == 1
    await assert_clean(line, bot)


async def test_F08_refused_with_a_5xx(line: Line, bot: Bot) -> None:
    """The venue placed nothing and said so in a way that proves nothing.

    Guard: NOT_PLACED only after R7's three steps; never sent again without policy H.
    """
    key = new_key()
    one = await _own_id(bot, key)
    await line.arm("refuse_5xx", match={"client_order_id": one, "method": "POST"})
    began = time.monotonic()
    placed = await bot.place(market_order(), key)
    order_id = placed.told()["order_id"]
    order = await bot.wait_for(order_id, "not_placed", limit_s=ABSENT_S)
    assert time.monotonic() - began >= BOUND_S
    assert order["reason"]["code"] == "proven-absent"
    assert "unknown" in await history(bot, order_id)
    assert len(await line.creates(one)) == 1
    await assert_clean(line, bot)


async def test_F08_lookups_that_fail_are_not_absence(line: Line, bot: Bot) -> None:
    """The reply is lost and every look-up fails past the bound: unknown, not "not placed".

    Guard: "cannot ask" is never "not found".
    """
    await line.arm("ws_drop", seconds=60)  # by REST alone: the stream would tell of the fill
    key = new_key()
    one = await _own_id(bot, key)
    await line.arm("accept_then_reset", match={"client_order_id": one, "method": "POST"})
    await line.arm("refuse_5xx", times=None, match={"account": "paper-5", "method": "GET"})
    placed = await bot.place(market_order("paper-5"), key)
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "unknown")
    unknown_since = time.monotonic()
    while time.monotonic() - unknown_since < BOUND_S + 3:
        assert (await bot.order(order_id))["status"] == "unknown"
    await line.control("DELETE", "/control/faults?name=refuse_5xx")
    await bot.wait_for(order_id, "filled")
    await assert_clean(line, bot, "paper-5")


async def test_F15_duplicate_client_id_that_is_ours(line: Line, bot: Bot) -> None:
    """The venue holds an order of our client id already (a claim that was forgotten): adopted.

    Guard: "duplicate" is looked up, neither a refusal nor a reason to take another id.
    """
    key, body = new_key(), limit_order("paper-2", price="51000.00")
    one = await _own_id(bot, key)
    there = await _create_by_hand(line, "paper-2", one, body)
    placed = await bot.place(body, key)
    order_id = placed.told()["order_id"]
    order = await bot.wait_for(order_id, "open")
    assert order["venue_order_id"] == str(there["orderId"])
    await bot.cancel(order_id)
    await bot.wait_for(order_id, "canceled")
    assert len(await line.executed_creates(one)) == 1
    await assert_clean(line, bot, "paper-2")


async def _create_by_hand(
    line: Line, account: str, one: str, body: dict[str, Any]
) -> dict[str, Any]:
    """A signed create straight to the venue, as the executor would send it."""
    keys = json.loads((line.folder / "paper" / "keys.json").read_text())["accounts"][account]
    query = urlencode({
        "symbol": body["symbol"].replace("/", ""), "side": body["side"].upper(), "type": "LIMIT",
        "timeInForce": "GTC", "quantity": body["quantity"], "price": body["price"],
        "newClientOrderId": one, "recvWindow": 5000, "timestamp": int(time.time() * 1000),
    })  # fmt: skip
    secret = keys["trade"]["secret"].encode()
    signature = hmac.new(secret, query.encode(), hashlib.sha256).hexdigest()
    reply = await line.http.post(
        f"{line.paper_url}/api/v3/order?{query}&signature={signature}",
        headers={"X-MBX-APIKEY": keys["trade"]["api_key"]},
    )
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told


@pytest.mark.parametrize(
    ("fault", "fields"), [("rate_limit", {}), ("busy", {"status": 429})], ids=["-1003", "-1008"]
)
async def test_F18_refused_before_processing(
    line: Line, bot: Bot, fault: str, fields: dict[str, Any]
) -> None:
    """429 with -1003 or -1008, twice: back to claimed, placed later, never unknown.

    Guard: the evidence table's "before processing"; attempts are rows, so each is seen.
    """
    key = new_key()
    one = await _own_id(bot, key)
    await line.arm(fault, times=2, match={"client_order_id": one, "method": "POST"}, **fields)
    placed = await bot.place(market_order("paper-3"), key)
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "filled")
    creates = await line.creates(one)
    assert [row["executed"] for row in creates] == [False, False, True]
    assert "unknown" not in await history(bot, order_id)
    await assert_clean(line, bot, "paper-3")


async def test_F18_refused_until_the_deadline(line: Line, bot: Bot) -> None:
    """Refused for ever: lapsed with the last refusal as its reason, and nothing at the venue.

    Guard: back to CLAIMED is bounded by the deadline.
    """
    key = new_key()
    one = await _own_id(bot, key)
    await line.arm("rate_limit", times=None, match={"client_order_id": one, "method": "POST"})
    placed = await bot.place(market_order("paper-3", expires_at=in_seconds(4)), key)
    order = await bot.wait_for(placed.told()["order_id"], "lapsed")
    assert order["reason"]["code"] in ("deadline-passed", "attempts-exhausted")
    assert await line.executed_creates(one) == []
    await assert_clean(line, bot, "paper-3")
