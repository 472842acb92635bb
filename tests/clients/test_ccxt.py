"""ccxt and ccxt.pro as they are installed by their users, in an environment without ours.

tests/contract tries more with the ccxt of our own environment; here it is the lock's.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.playing import Played, played

pytestmark = pytest.mark.timeout(600)  # the first use makes the environment


@pytest.fixture(scope="module")
async def rest(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Played]:
    async with played(tmp_path_factory.mktemp("ccxt"), "ccxt") as done:
        yield done


def test_orders_and_look_ups(rest: Played) -> None:
    assert rest.seen["version"] == "4.5.90"
    assert rest.seen["markets"] == ["BTC/USDT", "ETH/USDT", "SOL/USDT", "WEI/USDT", "XRP/BTC"]
    orders = rest.seen["orders"]
    market = orders["market"]
    assert (market["status"], market["filled"], market["average"]) == ("closed", 0.01, 60001)
    assert market["fees"] == [{"currency": "BTC", "cost": 0.00001}]
    for way in ("by_id", "by_client_id"):
        assert (orders[way]["id"], orders[way]["clientOrderId"]) == (market["id"], "m-1"), way
        assert (orders[way]["status"], orders[way]["filled"]) == ("closed", 0.01), way
    assert (orders["spent"]["status"], orders["spent"]["filled"]) == ("closed", 0.00166)
    assert orders["taken"]["fees"] == [{"currency": "USDT", "cost": 0.6}]
    assert (orders["resting"]["status"], orders["used"]) == ("open", 500)
    assert orders["open_here"] == orders["open_everywhere"] == ["r-1"]
    assert orders["cancelled"]["status"] == "canceled"
    assert orders["open_after"] == []
    assert orders["all"] == ["closed", "closed", "closed", "canceled"]


def test_trades_carry_their_fees(rest: Played) -> None:
    orders = rest.seen["orders"]
    told = [(t["order"], t["amount"], t["fee"]["cost"]) for t in orders["trades"]]
    assert told == [
        (orders["market"]["id"], 0.01, 0.00001),
        (orders["spent"]["id"], 0.00166, 0.00000166),
        (orders["taken"]["id"], 0.01, 0.6),
    ]
    assert orders["balance"]["free"] == pytest.approx(1000.00164834, abs=1e-9)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("funds", "InsufficientFunds"),
        ("unknown", "OrderNotFound"),
        ("uncancelled", "OrderNotFound"),
        ("filter", "BadRequest"),
        ("signature", "AuthenticationError"),
        ("late", "InvalidNonce"),
        ("reader", "AuthenticationError"),
    ],
)
def test_a_refusal_is_of_the_class_that_ccxt_has_for_it(rest: Played, what: str, kind: str) -> None:
    assert rest.seen["refusals"][what]["class"] == kind, rest.seen["refusals"][what]


def test_orders_come_as_a_form_and_cancels_in_the_query(rest: Played) -> None:
    assert {row["sent_in"] for row in rest.asked("POST", "/api/v3/order")} == {"body"}
    assert {row["sent_in"] for row in rest.asked("DELETE", "/api/v3/order")} == {"query"}


@pytest.mark.parametrize("key", ["trade", "ed25519"])
async def test_pro_trades_by_frames_and_hears_of_it(tmp_path: Path, key: str) -> None:
    async with played(tmp_path, "ccxt", script="pro.py", key=key) as pro:
        seen = pro.seen
    assert (seen["filled"]["status"], seen["filled"]["filled"]) == ("closed", 0.01)
    assert (seen["resting"]["status"], seen["status"]["status"]) == ("open", "open")
    assert seen["listed"] == [seen["resting"]["id"]]
    assert seen["cancelled"]["status"] == "canceled"
    assert seen["unknown"] == "OrderNotFound"

    last = {order["id"]: (order["status"], order["filled"]) for order in seen["orders"]}
    assert last == {
        seen["filled"]["id"]: ("closed", 0.01),
        seen["resting"]["id"]: ("canceled", 0.0),
    }
    (trade,) = seen["trades"]
    assert (trade["order"], trade["fee"]) == (
        seen["filled"]["id"],
        {"cost": 0.00001, "currency": "BTC"},
    )
    assert seen["balances"][-1]["BTC"]["free"] == pytest.approx(1000.00999, abs=1e-9)
    assert {row["sent_in"] for row in pro.asked("POST", "/api/v3/order")} == {"frame"}
