"""python-binance: it sends cancels in a body, which nobody else does, and needs ping and time."""

from collections.abc import AsyncIterator

import pytest

from tests.clients import story
from tests.clients.playing import Played, played

pytestmark = pytest.mark.timeout(600)  # the first use makes the environment


@pytest.fixture(scope="module")
async def done(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Played]:
    async with played(tmp_path_factory.mktemp("python-binance"), "python_binance") as it:
        yield it


def test_orders_look_ups_and_trades(done: Played) -> None:
    assert done.seen["version"] == "1.0.37"
    assert done.seen["symbols"] == ["BTCUSDT", "ETHUSDT", "SOLUSDT", "WEIUSDT", "XRPBTC"]
    assert done.seen["symbol"] == "BTC"
    story.judge(done.seen["orders"])
    assert done.seen["orders"]["balance"]["free"] == "1000.00164834"


@pytest.mark.parametrize("what", story.CODES)
def test_a_refusal_is_its_exception_with_the_code(done: Played, what: str) -> None:
    assert done.seen["refusals"][what] == {
        "class": "BinanceAPIException",
        "code": story.CODES[what],
        "status": 400,
    }


def test_the_user_stream_tells_of_orders_and_balances(done: Played) -> None:
    told = done.seen["streams"]
    assert told["filled"]["status"] == "FILLED"
    assert (told["found"]["status"], told["cancelled"]["status"]) == ("NEW", "CANCELED")
    assert story.life(told["events"]) == story.FILLED_THEN_CANCELLED
    assert story.free(told["events"], "BTC") == "1000.01163834"
    assert story.free(told["events"], "USDT") == "99999299.77834000"
    assert told["unknown"] == {"class": "BinanceAPIException", "code": -2013}


def test_a_market_stream(done: Played) -> None:
    (quote,) = done.seen["streams"]["quotes"]
    assert (quote["s"], quote["b"]) == ("BTCUSDT", "60000.00000000")


def test_orders_and_cancels_both_come_as_a_form(done: Played) -> None:
    at_rest = [row for row in done.rows if row["door"] == "rest"]
    forms = {row["method"]: row["sent_in"] for row in at_rest if row["path"] == "/api/v3/order"}
    assert forms == {"POST": "body", "GET": "query", "DELETE": "body"}
    assert done.asked("GET", "/api/v3/ping"), "its constructor asks"
    assert done.asked("GET", "/api/v3/time"), "its asynchronous client sets its clock by it"
