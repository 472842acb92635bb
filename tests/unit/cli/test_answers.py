"""What each command asks of a service, and what it makes of the answer."""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import stamina
from orderonce_cli.commands import demo, key, order, recon
from orderonce_cli.main import app
from orderonce_cli.problems import Exit, Problem
from orderonce_cli.stack import control
from orderonce_cli.stack.state import State


class Answering:
    """Stands for a service: one answer to everything, every question kept."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.asked: dict[str, Any] = {}

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        self.asked = {name: value for name, value in params.items() if value is not None}
        return self.answer

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self.asked = dict(body or {})
        return self.answer


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["orderonce", *line.split()])
    with pytest.raises(SystemExit) as ended:
        app()
    return int(ended.value.code or 0)


def service(answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Answering:
    api = Answering(answer)
    for module in (order, key, recon):
        monkeypatch.setattr(module, "connect", lambda door, given: api)
    return api


def test_a_list_of_orders_asks_only_for_what_the_api_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    api = service({"orders": []}, monkeypatch)
    assert run("order list --status unknown --limit 200", monkeypatch) == Exit.OK
    assert api.asked == {"status": "unknown", "limit": 200}
    assert run("order list --status open --status unknown --symbol BTC/USDT", monkeypatch) == 0
    assert api.asked == {"status": "open,unknown", "symbol": "BTC/USDT", "limit": 50}
    for wrong in ("--venue paper", "--limit 201", "--status opne"):
        assert run(f"order list {wrong}", monkeypatch) == Exit.USAGE


def reconciled(breaks: list[int], proven: bool, status: str = "ok") -> dict[str, Any]:
    return {
        "id": "7",
        "status": status,
        "proven": proven,
        "runs": [{"account": f"paper-{n}", "breaks": found} for n, found in enumerate(breaks)],
        "proof": [],
    }


@pytest.mark.parametrize("flag", ["", " --json"])
@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        (reconciled([0, 0], True), Exit.OK, ""),
        (reconciled([2, 1], True), Exit.FAILED, "3 open breaks: orderonce breaks list"),
        (reconciled([0, 1], False), Exit.FAILED, "1 open break: orderonce breaks list"),
        (reconciled([0], False, "failed"), Exit.FAILED, "not proven (status failed)"),
    ],
)
def test_books_that_do_not_agree_are_an_exit_code(
    told: dict[str, Any],
    code: int,
    said: str,
    flag: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service(told, monkeypatch)
    assert run("recon run" + flag, monkeypatch) == code
    assert said in capsys.readouterr().err


def test_open_breaks_are_listed_unless_all_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = service({"breaks": []}, monkeypatch)
    run("breaks list", monkeypatch)
    assert api.asked == {"status": "open"}
    assert capsys.readouterr().out == "no open breaks\n"
    run("breaks list --status auto_resolved", monkeypatch)
    assert api.asked == {"status": "auto_resolved"}
    run("breaks list --all", monkeypatch)
    assert api.asked == {}


def test_a_key_is_made_with_the_limits_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    api = service({"kid": "k"}, monkeypatch)
    base = "key create --client bot --name first"
    asked = {"client": "bot", "name": "first", "scopes": list(key.DEFAULT_SCOPES),
             "accounts": ["*"]}  # fmt: skip
    run(base, monkeypatch)
    assert api.asked == asked
    limits = "--max-quantity 0.5 --max-notional 100 --orders-per-second 3"
    run(f"{base} {limits} --expires-at 2027-01-31T00:00:00Z", monkeypatch)
    assert api.asked == asked | {
        "max_quantity": "0.5",
        "max_notional": "100",
        "orders_per_second": 3,
        "expires_at": "2027-01-31T00:00:00Z",
    }


def test_every_scope_is_in_the_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("key create --help", monkeypatch) == Exit.OK
    shown = capsys.readouterr().out
    for scope in ("orders:read", "orders:write", "orders:cancel", "ledger:read", "admin"):
        assert scope in shown


def test_the_version_is_the_packages_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--version", monkeypatch) == Exit.OK
    assert capsys.readouterr().out == f"orderonce {version('orderonce')}\n"


def test_no_log_line_of_the_retries_reaches_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stamina.instrumentation.get_on_retry_hooks()
    try:
        stamina.instrumentation.set_on_retry_hooks(None)
        assert stamina.instrumentation.get_on_retry_hooks()
        run("--version", monkeypatch)
        assert stamina.instrumentation.get_on_retry_hooks() == ()
    finally:
        stamina.instrumentation.set_on_retry_hooks(before)


@pytest.mark.parametrize(("ran_before", "flag", "stopped"), [
    (False, "", True), (True, "", False), (False, " --keep", False),
])  # fmt: skip
def test_the_demo_stops_only_what_it_started(
    ran_before: bool, flag: str, stopped: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running, downs = [ran_before], []

    def up(*_: Any) -> State:
        running[0] = True
        return State()

    def show(*_: Any, **__: Any) -> None:
        raise Problem("whatever the demo meets")

    monkeypatch.setattr(control, "runs", lambda where: running[0])
    monkeypatch.setattr(control, "up", up)
    monkeypatch.setattr(control, "down", lambda where: downs.append(where))
    monkeypatch.setattr(demo, "_Show", show)
    assert run(f"demo --data {tmp_path}{flag}", monkeypatch) == Exit.FAILED
    assert bool(downs) == stopped
