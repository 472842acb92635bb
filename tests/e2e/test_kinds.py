"""Every kind of order from post to journal, and amounts that no float could hold."""

from decimal import Decimal

import pytest

from tests.auditor import Finding, Kind
from tests.e2e.judging import assert_clean, findings
from tests.line import Line, until
from tests.workload import Bot, Json, limit_order, market_order, mixed_orders

ETH = "ETH/USDT"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (market_order(), "filled", None),
        (market_order(side="sell"), "filled", None),
        (limit_order(price="60001.00"), "filled", None),
        (limit_order(price="60001.00", time_in_force="ioc"), "filled", None),
        (limit_order(price="59999.00", time_in_force="ioc"), "canceled", "venue-expired"),
        (limit_order(price="60001.00", time_in_force="fok"), "filled", None),
        (limit_order(price="60001.00", quantity="50", time_in_force="fok"), "canceled",
         "venue-expired"),
        (limit_order(price="60001.00", quantity="50", time_in_force="ioc"), "canceled",
         "venue-expired"),
        (limit_order(post_only=True), "open", None),
        (limit_order(post_only=True, price="60001.00"), "rejected", "venue-rejected"),
        (limit_order(), "open", None),
    ],
    ids=[
        "market buy", "market sell", "limit that takes", "ioc that fills", "ioc that misses",
        "fok that fills", "fok that does not fit", "ioc that fills in part", "post-only rests",
        "post-only would take", "limit rests",
    ],
)  # fmt: skip
async def test_each_kind_of_order(
    line: Line, bot: Bot, body: Json, status: str, code: str | None
) -> None:
    placed = await bot.place(body)
    assert placed.status == 202, placed.reply
    order_id = placed.told()["order_id"]
    order = await bot.wait_for(order_id, status)
    assert (order["reason"] or {}).get("code") == code
    if status == "open":
        await bot.cancel(order_id)
        await bot.wait_for(order_id, "canceled")
    await assert_clean(line, bot)


async def test_a_market_buy_by_quote_amount(line: Line, bot: Bot) -> None:
    """It says what it spends; what it bought stands in filled_quantity, and in the ledger."""
    body = market_order(quote_quantity="100.00")
    del body["quantity"]
    placed = await bot.place(body)
    assert placed.status == 202, placed.reply
    order = await bot.wait_for(placed.told()["order_id"], "filled")
    assert (order["quantity"], order["quote_quantity"]) == (None, "100.00")
    assert order["time_in_force"] is None
    spent = Decimal(order["average_price"]) * Decimal(order["filled_quantity"])
    assert Decimal("99") < spent <= Decimal("100")
    (create,) = await line.creates(order["client_order_id"])
    assert Decimal(create["params"]["quoteOrderQty"]) == Decimal("100")
    assert "quantity" not in create["params"]
    await assert_clean(line, bot)


async def test_an_open_order_is_followed_to_its_fill(line: Line, bot: Bot) -> None:
    """The market moves through a resting order, and nobody had to ask."""
    placed = await bot.place(limit_order("paper-2", symbol=ETH, price="2990.00", quantity="0.5"))
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "open")
    moved = {"symbol": "ETHUSDT", "bid": "2980.00", "ask": "2980.10"}
    await line.control("POST", "/control/price", moved)
    order = await bot.wait_for(order_id, "filled")
    assert order["average_price"] is not None
    await assert_clean(line, bot, "paper-2")


async def test_18_digit_amounts_are_exact_from_post_to_journal(line: Line, bot: Bot) -> None:
    """No digit is lost: not in JSON, not in ccxt, not in Postgres."""
    quantity = "12345.000000000000000001"
    body = limit_order("paper-3", symbol="WEI/USDT", quantity=quantity, price="1.01",
                       time_in_force="ioc")  # fmt: skip
    placed = await bot.place(body)
    order = await bot.wait_for(placed.told()["order_id"], "filled")
    assert order["quantity"] == quantity
    assert Decimal(order["filled_quantity"]) == Decimal(quantity)
    book = await line.venue_order(order["client_order_id"])
    assert book is not None
    assert Decimal(book["executed"]) == Decimal(quantity)
    await assert_clean(line, bot, "paper-3")  # fills, fees and balances equal to the last digit


async def test_a_mixed_run_is_clean(line: Line, bot: Bot) -> None:
    """Forty orders of every kind, judged by the auditor; what rests is canceled."""
    accounts = ("paper-1", "paper-2")
    resting = []
    for body in mixed_orders(7, 40, accounts):
        placed = await bot.place(body)
        assert placed.status == 202, placed.reply
        if body.get("post_only"):
            resting.append(placed.told()["order_id"])
    for order_id in resting:
        await bot.cancel(order_id)
        await bot.wait_for(order_id, "canceled")
    await assert_clean(line, bot, *accounts)


async def test_a_planted_trade_is_named(line: Line, bot: Bot) -> None:
    """A trade by hand at the venue: the ledger's reconciliation names it, the auditor too."""
    account = "paper-8"
    placed = await bot.place(market_order(account))
    await bot.wait_for(placed.told()["order_id"], "filled")
    await assert_clean(line, bot, account)
    planted = await line.control(
        "POST", "/control/trade",
        {"account": account, "symbol": "BTCUSDT", "side": "BUY", "quantity": "0.01000",
         "price": "60000.50"},
    )  # fmt: skip
    trade_id = str(planted["trade"]["trade_id"])
    found: list[Finding] = []

    async def is_broken() -> bool:
        found[:] = await findings(line, bot, account, limit_s=0)
        return Kind.BREAK in {finding.kind for finding in found}

    await until(is_broken, 20, "the grace for fills in flight has passed and a break is open")
    kinds = {finding.kind for finding in found}
    assert {Kind.BREAK, Kind.LEDGER_MISSING, Kind.BALANCE} <= kinds, found
    named = [f for f in found if f.kind is Kind.BREAK and "MISSING_IN_LEDGER" in f.subject]
    assert named, found
    assert any(trade_id in finding.detail for finding in named), found
    assert Kind.PROOF not in kinds  # the break explains the whole difference
