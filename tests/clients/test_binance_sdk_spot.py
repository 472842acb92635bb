"""Binance's own SDK: everything in the query, answers as models, and the session log-on.

It is installed without its own pins: they ask for a release of certifi that is not published.
"""

from collections.abc import AsyncIterator

import pytest

from tests.clients import story
from tests.clients.playing import Played, played

pytestmark = pytest.mark.timeout(600)  # the first use makes the environment


@pytest.fixture(scope="module")
async def done(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Played]:
    async with played(tmp_path_factory.mktemp("sdk"), "binance_sdk_spot") as it:
        yield it


def test_orders_look_ups_and_trades(done: Played) -> None:
    assert done.seen["version"] == "13.3.0"
    assert done.seen["symbols"] == ["BTCUSDT", "ETHUSDT", "SOLUSDT", "WEIUSDT", "XRPBTC"]
    assert done.seen["one"] == ["BTCUSDT"]
    story.judge(done.seen["orders"])
    assert done.seen["orders"]["balance"] == "1000.00164834"


def test_answers_fit_its_models(done: Played) -> None:
    """Where a type is not the model's it warns, and may fall back to a raw dict."""
    assert done.seen["orders"]["models"] == ["NewOrderResponse"]
    assert done.seen["misfits"] == []


@pytest.mark.parametrize("what", story.CODES)
def test_a_refusal_is_its_exception_with_the_code(done: Played, what: str) -> None:
    code = story.CODES[what]
    assert done.seen["refusals"][what] == {"class": "BadRequestError", "code": code}


def test_a_key_that_may_not_trade(done: Played) -> None:
    assert done.seen["refusals"]["reader"] == {"class": "UnauthorizedError", "code": -2015}


def test_a_small_float_goes_out_with_an_exponent_and_is_refused(done: Played) -> None:
    assert done.seen["refusals"]["exponent"] == {"class": "BadRequestError", "code": -1100}
    sent = [row["params"].get("quantity") for row in done.asked("POST", "/api/v3/order")]
    assert "1e-05" in sent


def test_a_small_decimal_goes_out_in_plain_digits(done: Played) -> None:
    assert done.seen["refusals"]["decimal"]["class"] is None
    (row,) = done.asked("POST", "/api/v3/order/test")
    assert row["params"]["quantity"] == "0.00009"


@pytest.mark.parametrize(
    ("way", "btc"), [("signed", "1000.01163834"), ("logged_on", "1000.02162834")]
)
def test_the_user_stream_tells_of_orders_and_balances(done: Played, way: str, btc: str) -> None:
    told = done.seen[way]
    assert told["subscription"] == 0
    assert (told["filled"], told["found"], told["cancelled"]) == ("FILLED", "NEW", "CANCELED")
    assert story.life(told["events"]) == story.FILLED_THEN_CANCELLED
    assert story.free(told["events"], "BTC") == btc
    # Of a frame it does not raise; the error stands where the result would.
    assert told["unknown"]["error"]["code"] == -2013


def test_a_session_that_is_logged_on_signs_nothing_more(done: Played) -> None:
    methods = [row["ws_method"] for row in done.rows if row["ws_method"]]
    start = methods.index("session.logon")
    assert methods[start : start + 3] == [
        "session.logon",
        "userDataStream.subscribe",
        "order.place",
    ]


def test_a_market_stream(done: Played) -> None:
    assert (done.seen["quote"]["s"], done.seen["quote"]["b"]) == ("BTCUSDT", "60000.00000000")


def test_everything_comes_in_the_query(done: Played) -> None:
    at_rest = [row for row in done.rows if row["door"] == "rest" and row["params"]]
    assert {row["sent_in"] for row in at_rest} == {"query"}
