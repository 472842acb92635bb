"""What the orders of every REST script must have come to, in the venue's own fields.

The story: buy 0.01 BTC, buy for 100 USDT, sell 0.01 by a limit that takes, let one rest at 50000,
look it up, cancel it. ccxt tells it in fields of its own (test_ccxt.py).
"""

from typing import Any

Seen = dict[str, Any]

CODES = {
    "funds": -2010,
    "unknown": -2013,
    "uncancelled": -2011,
    "filter": -1013,
    "signature": -1022,
    "late": -1021,
}


def judge(orders: Seen) -> None:
    """`orders` as the venue words them; fails at the first thing that is not as it should be."""
    market, resting, cancelled = orders["market"], orders["resting"], orders["cancelled"]
    assert (market["status"], market["executedQty"]) == ("FILLED", "0.01000000")
    assert [(f["price"], f["commission"], f["commissionAsset"]) for f in market["fills"]] == [
        ("60001.00000000", "0.00001000", "BTC")
    ]
    for way in ("by_id", "by_client_id"):
        assert orders[way]["orderId"] == market["orderId"], way
        assert (orders[way]["clientOrderId"], orders[way]["status"]) == ("m-1", "FILLED"), way
    assert (orders["spent"]["status"], orders["spent"]["executedQty"]) == ("FILLED", "0.00166000")
    assert orders["spent"]["cummulativeQuoteQty"] == "99.60166000"
    assert orders["taken"]["fills"][0]["commissionAsset"] == "USDT"

    assert (resting["status"], resting["fills"]) == ("NEW", [])
    assert orders["locked"] == "500.00000000"
    assert orders["open_here"] == orders["open_everywhere"] == ["r-1"]
    assert (cancelled["status"], cancelled["origClientOrderId"]) == ("CANCELED", "r-1")
    assert orders["open_after"] == []

    assert orders["all"] == ["FILLED", "FILLED", "FILLED", "CANCELED"]
    assert [(t["orderId"], t["qty"], t["commission"]) for t in orders["trades"]] == [
        (market["orderId"], "0.01000000", "0.00001000"),
        (orders["spent"]["orderId"], "0.00166000", "0.00000166"),
        (orders["taken"]["orderId"], "0.01000000", "0.60000000"),
    ]


def life(events: list[Seen]) -> list[tuple[str, str]]:
    """The execution reports of a user-data stream, as (execution, status)."""
    return [(event["x"], event["X"]) for event in events if "x" in event]


def free(events: list[Seen], asset: str) -> str:
    """What the last balance event says of an asset."""
    (amount,) = [b["f"] for b in [e for e in events if "B" in e][-1]["B"] if b["a"] == asset]
    return str(amount)


FILLED_THEN_CANCELLED = [
    ("NEW", "NEW"),
    ("TRADE", "FILLED"),
    ("NEW", "NEW"),
    ("CANCELED", "CANCELED"),
]
