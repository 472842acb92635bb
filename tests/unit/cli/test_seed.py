"""A stack is ready when its books are: a fill before that would never become a journal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from orderonce_cli.problems import Problem
from orderonce_cli.stack import seed
from orderonce_cli.stack.seed import ACCOUNTS, Place

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "demo.key").write_text("oo_test_demo")
    return Place("http://127.0.0.1:8", "http://127.0.0.1:9", "http://127.0.0.1:7", tmp_path)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handler], None]:
    """Let a function stand for the services."""
    client = httpx.Client
    monkeypatch.setattr(seed, "LOOK_AGAIN_S", 0.001)

    def by(handler: Handler) -> None:
        transport = httpx.MockTransport(handler)
        monkeypatch.setattr(httpx, "Client", lambda **more: client(transport=transport, **more))

    return by


def books(opened: int, waiting_for: str | None = "the venue's balances") -> dict[str, Any]:
    return {
        "accounts": [
            {"account": account, "books": "open", "waiting_for": None}
            if number < opened
            else {"account": account, "books": "waiting", "waiting_for": waiting_for}
            for number, account in enumerate(ACCOUNTS)
        ]
    }


def test_books_are_waited_for_until_every_account_has_its_own(
    place: Place, answered: Callable[[Handler], None]
) -> None:
    last = len(ACCOUNTS)
    bodies: list[Any] = [None, {"accounts": []}, books(0), books(last - 1), books(last)]
    asked: list[httpx.Request] = []

    def ledger(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        body = bodies[len(asked) - 1]
        return httpx.Response(503) if body is None else httpx.Response(200, json=body)

    answered(ledger)
    seed.wait_for_books(place, lambda: False)
    assert len(asked) == len(bodies)
    assert str(asked[0].url) == "http://127.0.0.1:7/v1/accounts"
    assert asked[0].headers["Authorization"] == "Bearer oo_test_demo"


def test_books_that_do_not_open_are_named_with_what_they_wait_for(
    place: Place, answered: Callable[[Handler], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seed, "BOOKS_LIMIT_S", 0.05)
    answered(lambda request: httpx.Response(200, json=books(7)))
    with pytest.raises(Problem, match=r"paper-8 waits for the venue's balances$"):
        seed.wait_for_books(place, lambda: False)


def test_an_account_that_the_ledger_does_not_know_yet_has_no_books() -> None:
    body = books(len(ACCOUNTS))
    del body["accounts"][0]
    assert seed.unopened(body) == "paper-1 waits for its first look"
    assert seed.unopened(books(len(ACCOUNTS))) is None


def test_a_stop_ends_the_wait(place: Place, answered: Callable[[Handler], None]) -> None:
    answered(lambda request: httpx.Response(200, json=books(0)))
    with pytest.raises(Problem):
        seed.wait_for_books(place, lambda: True)


def test_instruments_are_waited_for(place: Place, answered: Callable[[Handler], None]) -> None:
    bodies: list[dict[str, Any]] = [{"instruments": [{"symbol": "X"}]}, {"instruments": []}]
    asked: list[str] = []

    def api(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json=bodies.pop())

    answered(api)
    seed.wait_for_instruments(place, lambda: False)
    assert asked == ["http://127.0.0.1:8/v1/instruments?account=paper-1"] * 2
