"""The command line itself: usage, exit codes, and the key that is shown before anything is sent."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from orderonce_cli.api import Given
from orderonce_cli.commands import order
from orderonce_cli.main import app, commands
from orderonce_cli.problems import Exit, Problem
from typer.testing import CliRunner

PLACE = ["order", "place", "--account", "paper-1", "--symbol", "BTC/USDT", "--side", "buy",
         "--quantity", "0.001"]  # fmt: skip


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["orderonce", *arguments])
    with pytest.raises(SystemExit) as ended:
        app()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ORDERONCE_API", "ORDERONCE_KEY", "ORDERONCE_LEDGER", "ORDERONCE_ADMIN_API"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORDERONCE_DATA", str(tmp_path / "none"))
    return tmp_path


def test_without_a_stack_the_sentence_says_how_to_start_one(
    no_stack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(PLACE, monkeypatch) == Exit.UNAVAILABLE
    assert "orderonce up" in capsys.readouterr().err
    assert run(["status", "--json"], monkeypatch) == Exit.UNAVAILABLE
    assert json.loads(capsys.readouterr().out)["state"] == "stopped"


def test_wrong_usage_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["order", "place", "--side", "hold"], monkeypatch) == Exit.USAGE
    assert run(["up", "--executors", "99"], monkeypatch) == Exit.USAGE


def test_down_where_nothing_runs_is_fine(
    no_stack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["down", "--json"], monkeypatch) == Exit.OK
    assert json.loads(capsys.readouterr().out)["was_running"] is False
    assert not (no_stack / "none").exists()


def test_every_command_takes_json() -> None:
    missing = []
    for group in (commands, *(found.typer_instance for found in commands.registered_groups)):
        assert group is not None
        for command in group.registered_commands:
            assert command.callback is not None
            if "json" not in command.callback.__annotations__:
                missing.append(command.callback.__name__)
    assert missing == []


class Recording:
    """Stands for the order API; fails so that nothing comes after the send."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any], str]] = []

    def post_once(self, path: str, body: dict[str, Any], key: str) -> dict[str, Any]:
        self.sent.append((path, body, key))
        raise Problem("no answer", Exit.UNAVAILABLE)


def test_the_key_is_shown_before_the_order_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Recording()
    monkeypatch.setattr(order, "connect", lambda door, given: api)
    result = CliRunner().invoke(commands, PLACE)
    path, body, key = api.sent[0]
    assert f"idempotency key {key}" in result.stderr
    assert path == "/v1/orders"
    assert body == {"account": "paper-1", "symbol": "BTC/USDT", "side": "buy", "type": "market",
                    "quantity": "0.001"}  # fmt: skip


def test_a_given_key_is_used_and_a_price_makes_a_limit_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = Recording()
    monkeypatch.setattr(order, "connect", lambda door, given: api)
    CliRunner().invoke(commands, [*PLACE, "--price", "50000.00", "--key", "mine", "--post-only"])
    _, body, key = api.sent[0]
    assert key == "mine"
    assert (body["type"], body["price"], body["post_only"]) == ("limit", "50000.00", True)


def test_keys_come_from_files_and_the_environment_never_from_arguments(
    no_stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orderonce_cli import api

    monkeypatch.setenv("ORDERONCE_API", "http://127.0.0.1:1")
    with pytest.raises(Problem, match="--key-file"):
        api.connect("order_api", Given())
    secret = no_stack / "bot.key"
    secret.write_text("oo_test_file\n")
    found = api.connect("order_api", Given(key_file=secret))
    assert found._client.headers["Authorization"] == "Bearer oo_test_file"
    monkeypatch.setenv("ORDERONCE_KEY", "oo_test_env")
    found = api.connect("order_api", Given())
    assert found._client.headers["Authorization"] == "Bearer oo_test_env"
