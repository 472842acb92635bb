"""What goes out: amounts as text, times with a zone, nothing that was not given."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from orderonce import NewOrder, requests
from orderonce_shared.contracts.http import PlaceBody
from orderonce_shared.contracts.reading import read_body

MARKET = NewOrder("paper-1", "BTC/USDT", "buy", "market", "0.001")


@pytest.mark.parametrize("amount", [0.1, 1, True])
def test_an_amount_that_may_be_rounded_is_refused(amount: Any) -> None:
    with pytest.raises(TypeError, match="Decimal or a string"):
        NewOrder("paper-1", "BTC/USDT", "buy", "market", amount).body()


@pytest.mark.parametrize("amount", ["1e-5", "-1", "", "1.", ".5", "NaN", Decimal("NaN"), "１"])
def test_text_that_is_no_plain_amount_is_refused(amount: Decimal | str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        NewOrder("paper-1", "BTC/USDT", "buy", "market", amount).body()


def test_a_small_decimal_has_no_exponent() -> None:
    assert requests.plain(Decimal("0.0000001")) == "0.0000001"


def test_a_time_without_a_zone_is_refused() -> None:
    order = NewOrder("a", "B/C", "buy", "market", "1", expires_at=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="zone"):
        order.body()


@pytest.mark.parametrize(
    "order",
    [
        MARKET,
        NewOrder("paper-1", "BTC/USDT", "sell", "limit", Decimal("0.5"), Decimal("60000.10"),
                 time_in_force="ioc", expires_at=datetime(2026, 11, 22, tzinfo=UTC),
                 client_tag="grid-7"),
        NewOrder("paper-1", "BTC/USDT", "buy", "limit", "1", "2", post_only=True),
    ],
)  # fmt: skip
def test_the_api_reads_every_body(order: NewOrder) -> None:
    """Held against the API's own model, the one definition."""
    raw = requests.place(order.body(), "k" * 16).body
    assert raw is not None

    read = read_body(PlaceBody, raw)

    assert (read.account, read.symbol, read.side) == (order.account, order.symbol, order.side)
    assert read.quantity == Decimal(str(order.quantity))


def test_the_same_intent_is_the_same_bytes() -> None:
    assert requests.place(MARKET.body(), "k") == requests.place(MARKET.body(), "k")


def test_waiting_is_asked_for_up_to_the_cap() -> None:
    assert requests.place({}, "k", 60).headers["Prefer"] == "wait=5"
    assert "Prefer" not in requests.place({}, "k").headers


def test_paths_cannot_be_broken_out_of() -> None:
    assert requests.get("orders", "../keys").path == "/v1/orders/..%2Fkeys"
