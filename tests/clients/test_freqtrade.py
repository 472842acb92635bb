"""freqtrade, live and with real orders, until three pairs were traded twice: a minute or two."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.clients.playing import played

PAIRS = {"BTC/USDT", "ETH/USDT", "SOL/USDT"}
LIMIT_S = 280  # it waits for a new minute, and starts slowly where the machine is busy


@pytest.mark.timeout(900)  # the first use makes the environment
async def test_it_trades_and_its_books_are_the_exchanges(tmp_path: Path) -> None:
    async with played(tmp_path, "freqtrade", limit_s=LIMIT_S) as done:
        seen = done.seen
        book = (await done.paper.control("GET", "orders?account=paper-1"))["orders"]
    assert seen["errors"] == []
    assert seen["warnings"] == []
    assert seen["code"] == 130, "stopped by SIGINT, not by itself"

    trades = seen["trades"]
    assert sorted(trade["pair"] for trade in trades) == sorted([*PAIRS, *PAIRS]), seen["last"]
    assert {(trade["is_open"], trade["exit_reason"]) for trade in trades} == {(0, "roi")}
    assert {trade["fee_open_currency"] for trade in trades} == {"BTC", "ETH", "SOL"}
    assert {trade["fee_close_currency"] for trade in trades} == {"USDT"}

    assert len(book) == 2 * len(trades)
    assert [told_by_freqtrade(row) for row in seen["orders"]] == [told_by_book(row) for row in book]
    assert {row["sent_in"] for row in done.asked("POST", "/api/v3/order")} == {"body"}


def told_by_freqtrade(row: dict[str, Any]) -> tuple[Any, ...]:
    assert (row["status"], row["ft_is_open"], row["remaining"]) == ("closed", 0, 0)
    name = row["symbol"].replace("/", "")
    filled, average = Decimal(str(row["filled"])), Decimal(str(row["average"]))
    return name, int(row["order_id"]), row["side"], filled, average


def told_by_book(row: dict[str, Any]) -> tuple[Any, ...]:
    assert row["status"] == "FILLED"
    executed, quote = Decimal(row["executed"]), Decimal(row["quote_executed"])
    return row["symbol"], row["order_id"], row["side"].lower(), executed, quote / executed
