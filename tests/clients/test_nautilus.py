"""NautilusTrader, live: what the release for this Python needs (1.221 before 3.12, then 1.231).

It takes events for the truth and its models refuse what they do not know, so it is the strictest
reader of streams here. ORDERONCE_CLIENTS_PYTHON names another Python than ours for it.
"""

from pathlib import Path

import pytest

from tests.clients.playing import played


@pytest.mark.timeout(600)  # the first use makes the environment
async def test_it_trades_by_what_the_stream_tells(tmp_path: Path) -> None:
    async with played(tmp_path, "nautilus", "--listen-keys") as done:
        seen = done.seen
    assert seen["timely"], seen["told"]

    events = [row["event"] for row in seen["told"] if row["id"] == seen["resting"]]
    assert events[0] == "OrderSubmitted"
    assert {"OrderAccepted", "OrderPendingCancel"} <= set(events)
    assert events[-1] == "OrderCanceled"
    (fill,) = [row for row in seen["told"] if row["event"] == "OrderFilled"]
    assert fill["id"] != seen["resting"]
    assert (fill["quantity"], fill["price"]) == ("0.01000000", "60001.00000000")
    assert fill["fee"] == "0.00001000 BTC"
    assert seen["free"]["BTC"] == "1000.00999000 BTC"
    assert seen["open"] == []

    (cancel,) = done.asked("DELETE", "/api/v3/order")
    assert {"orderId", "origClientOrderId"} <= cancel["params"].keys(), "it sends both"
    assert {row["sent_in"] for row in done.asked("POST", "/api/v3/order")} == {"query"}
    assert done.asked("GET", "/sapi/v1/asset/tradeFee")
    methods = [row["ws_method"] for row in done.rows if row["ws_method"]]
    if seen["by_listen_key"]:
        assert done.asked("POST", "/api/v3/userDataStream")
        assert methods == []
    else:
        assert methods[:2] == ["session.logon", "userDataStream.subscribe"]
