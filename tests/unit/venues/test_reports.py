"""Reports of Binance's user-data stream: read to the last digit, or not at all."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import Fee, VenueStatus
from orderonce_shared.venues.spot import Unreadable, read_report, report_client_id

PAIR = "BTC/USDT"


def report(**changes: Any) -> dict[str, Any]:
    """A resting buy, just accepted."""
    return {
        "e": "executionReport", "E": 1_700_000_000_001, "s": "BTCUSDT", "c": "ours-1", "S": "BUY",
        "o": "LIMIT", "f": "GTC", "q": "0.01000000", "p": "50000.00000000", "P": "0.00000000",
        "F": "0.00000000", "g": -1, "C": "", "x": "NEW", "X": "NEW", "r": "NONE", "i": 42,
        "l": "0.00000000", "z": "0.00000000", "L": "0.00000000", "n": "0", "N": None,
        "T": 1_700_000_000_000, "t": -1, "I": 1, "w": True, "m": False, "M": False,
        "O": 1_700_000_000_000, "Z": "0.00000000", "Y": "0.00000000", "Q": "0.00000000", **changes,
    }  # fmt: skip


def trade(**changes: Any) -> dict[str, Any]:
    """Its second trade, which fills it."""
    filled = {
        "x": "TRADE", "X": "FILLED", "t": 7, "l": "0.00400000", "L": "50000.00000000",
        "Y": "200.00000000", "z": "0.01000000", "Z": "500.00000000", "n": "0.00000400",
        "N": "BTC", "m": True,
    }  # fmt: skip
    return report(**filled | changes)


def test_an_order_that_rests() -> None:
    order = read_report(report(), PAIR)
    assert (order.status, order.filled_quantity, order.fills) == (VenueStatus.OPEN, 0, ())
    assert (order.venue_order_id, order.client_order_id) == ("42", "ours-1")


def test_a_trade_is_told_with_its_order() -> None:
    raw = trade()
    order = read_report(raw, PAIR)
    assert order.status is VenueStatus.FILLED
    assert (order.filled_quantity, order.filled_cost) == (Decimal("0.01"), Decimal(500))
    (fill,) = order.fills
    assert (fill.trade_id, fill.venue_order_id, fill.side) == ("7", "42", Side.BUY)
    assert (fill.quantity, fill.price, fill.cost) == (Decimal("0.004"), 50000, 200)
    assert fill.fees == (Fee("BTC", Decimal("0.000004")),)
    assert fill.liquidity == "maker"
    assert fill.traded_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert fill.raw == order.raw == raw


def test_a_sale_that_takes_part_of_it() -> None:
    order = read_report(trade(S="SELL", X="PARTIALLY_FILLED", m=False, N="USDT"), PAIR)
    assert order.status is VenueStatus.OPEN
    assert (order.fills[0].side, order.fills[0].liquidity) == (Side.SELL, "taker")


def test_of_a_cancel_the_id_is_the_orders_and_not_the_cancels() -> None:
    raw = report(x="CANCELED", X="CANCELED", c="the-cancels-own", C="ours-1")
    assert report_client_id(raw) == "ours-1"
    order = read_report(raw, PAIR)
    assert (order.client_order_id, order.status) == ("ours-1", VenueStatus.CANCELED)


@pytest.mark.parametrize("status", ["EXPIRED", "EXPIRED_IN_MATCH"])
def test_an_ioc_remainder_expires_with_what_it_got(status: str) -> None:
    raw = report(x="EXPIRED", X=status, f="IOC", z="0.00400000", Z="200.00000000")
    order = read_report(raw, PAIR)
    assert (order.status, order.filled_quantity) == (VenueStatus.EXPIRED, Decimal("0.004"))
    assert order.fills == ()


@pytest.mark.parametrize(
    "raw",
    [
        None, [], "executionReport", report(c="", C=""), report(c=None, C=None), report(c=7),
        report(X="PENDING_CANCEL"), report(X=None), report(s="ETHUSDT"), report(i="42"),
        report(i=-1), report(z="much"), report(z=None), report(Z="-1"), report(X="FILLED"),
        trade(t=-1), trade(S="BOTH"), trade(m=None), trade(l="0.00000000"), trade(l="0.02000000"),
        trade(L="0.00000000"), trade(Y=1.5), trade(N=None), trade(T="yesterday"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_proves_nothing(raw: Any) -> None:
    with pytest.raises(Unreadable):
        read_report(raw, PAIR)
