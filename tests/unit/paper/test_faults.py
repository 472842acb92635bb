"""Which requests meet which fault; what cannot be armed is told why."""

from typing import Any

import pytest
from orderonce_paper.faults import BadFault, Faults, Seen

ORDER = Seen(
    "POST",
    "/api/v3/order",
    "paper-1",
    {"symbol": "BTCUSDT", "side": "BUY", "newClientOrderId": "bot-17"},
)
PING = Seen("GET", "/api/v3/ping", None, {})


def armed(**fields: Any) -> Faults:
    faults = Faults()
    faults.arm(fields)
    return faults


def met(faults: Faults, seen: Seen, times: int = 1) -> list[bool]:
    return [bool(faults.take(seen)) for _ in range(times)]


def test_a_fault_is_spent_after_its_times_and_begins_after_its_skips() -> None:
    assert met(armed(name="html_200"), ORDER, 2) == [True, False]
    assert met(armed(name="html_200", times=2, after=1), ORDER, 4) == [False, True, True, False]
    assert met(armed(name="html_200", times=None), ORDER, 3) == [True] * 3


def test_without_a_path_a_fault_of_orders_waits_for_an_order() -> None:
    faults = armed(name="accept_then_reset")
    assert met(faults, PING) == [False]
    assert met(faults, ORDER) == [True]
    assert met(armed(name="slow"), PING) == [True]
    assert met(armed(name="rate_limit", match={"path": "/api/v3/ping"}), PING) == [True]


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({"account": "paper-1"}, True),
        ({"account": "paper-2"}, False),
        ({"symbol": "BTCUSDT", "side": "BUY"}, True),
        ({"symbol": "BTCUSDT", "side": "SELL"}, False),
        ({"client_order_id": "bot-17"}, True),
        ({"client_order_id": "bot-1"}, False),
        ({"client_order_id": "bot-1*"}, True),
        ({"client_order_id": "x*"}, False),
        ({"method": "post", "path": "/api/v3/*"}, True),
        ({"method": "DELETE"}, False),
    ],
)
def test_what_a_match_means(match: dict[str, str], fits: bool) -> None:
    assert met(armed(name="slow", match=match), ORDER) == [fits]


def test_chance_comes_from_the_seed() -> None:
    runs = [met(armed(name="slow", times=None, probability=0.5, seed=s), ORDER, 60) for s in "aab"]
    assert runs[0] == runs[1] != runs[2]
    assert 10 < sum(runs[0]) < 50


def test_standing_faults_stay_until_cleared() -> None:
    faults = armed(name="not_found_lag", seconds=3)
    assert [faults.lag_ms("not_found_lag", PING) for _ in range(3)] == [3000] * 3
    assert faults.take(ORDER) == []
    faults.arm({"name": "clock_skew", "ms": -250, "drift_ppm": 40})
    assert faults.skew() == (-250.0, 40.0)
    assert faults.clear("clock_skew") == 1
    assert faults.skew() == (0.0, 0.0)
    assert faults.clear(fault_id=1) == 1
    assert faults.armed == []


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"name": "accept_early"}, "known: accept_late, accept_then_5xx"),
        ({"name": "accept_late", "window": "open"}, "kept, ignored"),
        ({"name": "fill_late", "match": {"path": "/x"}}, "fill_late has no field path"),
        ({"name": "ws_drop", "match": {"symbol": "X"}}, "it has account"),
        ({}, "unknown fault None"),
        ({"name": ["slow"]}, "unknown fault"),
        ({"name": "slow", "seconds": 3}, "no field seconds"),
        ({"name": "slow", "ms": "3"}, "ms is a number"),
        ({"name": "slow", "ms": 1e300}, "too large"),
        ({"name": "slow", "where": "moon"}, "arrival, engine, reply"),
        ({"name": "slow", "times": 0}, "times"),
        ({"name": "slow", "times": True}, "times"),
        ({"name": "slow", "after": -1}, "after"),
        ({"name": "slow", "probability": 2}, "probability"),
        ({"name": "slow", "match": {"host": "x"}}, "no field host"),
        ({"name": "slow", "match": {"side": 1}}, "strings"),
        ({"name": "slow", "match": []}, "strings"),
        ({"name": "accept_then_5xx", "status": 99}, "200 to 599"),
        ({"name": "accept_then_timeout", "seconds": -1}, "not negative"),
    ],
)
def test_nonsense_is_refused_in_words(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(BadFault, match=why):
        Faults().arm(asked)
