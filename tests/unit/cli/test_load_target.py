"""A load run sends orders in earnest: it takes the paper venue's accounts unless it is told."""

from typing import Any

import pytest
from orderonce_cli.load import target
from orderonce_cli.load.plan import Target
from orderonce_cli.load.target import Chosen, resolved
from orderonce_cli.problems import Problem

ACCOUNTS = [
    {"account": "binance-main", "venue": "binance"},
    {"account": "paper-1", "venue": "paper"},
    {"account": "paper-2", "venue": "paper"},
]
INSTRUMENT = {
    "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "tick_size": "0.01",
    "step_size": "0.00001", "min_quantity": "0.00001", "max_quantity": "9000",
    "min_notional": "5", "quote_step": "0.01", "reference_price": "60000",
    "reference_at": "2026-11-22T10:00:00.000000Z",
}  # fmt: skip


class Api:
    def __init__(self, *_: object) -> None:
        pass

    def get(self, path: str, **_: object) -> Any:
        return {"accounts": ACCOUNTS} if path == "/v1/accounts" else {"instruments": [INSTRUMENT]}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "Api", Api)
    monkeypatch.setenv("ORDERONCE_KEY", "oo_test_x")


def reached(accounts: str, venue: str = "paper") -> Target:
    with resolved(Chosen("http", accounts=accounts, venue=venue, api=("http://x",))) as found:
        return found


@pytest.mark.parametrize("accounts", ["2", "paper-1,paper-2"])
def test_the_accounts_of_the_paper_venue_are_taken(accounts: str) -> None:
    assert reached(accounts).accounts == ("paper-1", "paper-2")


@pytest.mark.parametrize("accounts", ["3", "paper-1,binance-main", "unheard-of"])
def test_an_account_elsewhere_is_not_taken_by_accident(accounts: str) -> None:
    with pytest.raises(Problem):
        reached(accounts)


def test_another_venue_is_taken_when_it_is_named() -> None:
    assert reached("1", "binance").accounts == ("binance-main",)
