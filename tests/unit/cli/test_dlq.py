"""`orderonce dlq`: what it asks the admin port for, what it shows, and that it asks before it
discards.
"""

import json
import sys
from typing import Any

import httpx
import pytest
from orderonce_cli.api import Api
from orderonce_cli.commands import dlq
from orderonce_cli.main import app
from orderonce_cli.problems import Exit

LETTER: dict[str, Any] = {
    "letter_id": "0193c0de-0000-0000-0000-000000000001", "state": "waiting", "replayable": True,
    "topic": "orders.commands", "partition": 3, "offset": 7, "error": "not JSON",
    "order_id": "0193c0de-0000-0000-0000-000000000002", "client": "bot", "first_seen": "x",
    "last_seen": "y", "times": 1, "replays": 0, "changed_at": None, "changed_by": None,
    "reason": None, "value": {"encoding": "base64", "text": "AP8=", "bytes": 900, "whole": False},
    "key": {"encoding": "utf-8", "text": "paper-1", "bytes": 7, "whole": True},
    "headers": [{"name": "x", "value": {"encoding": "utf-8", "text": "1", "bytes": 1,
                                        "whole": True}}],
    "header_count": 1,
}  # fmt: skip
PATH = f"/v1/dead-letters/{LETTER['letter_id']}"


class Admin:
    """An admin port that remembers what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        api = Api(["http://admin"], "key", httpx.MockTransport(self._answer))
        monkeypatch.setattr(dlq, "connect", lambda door, given: api)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.raw_path.decode(), request.content))
        if request.url.path == "/v1/dead-letters":
            return httpx.Response(200, json={"letters": [LETTER], "next_cursor": "more"})
        return httpx.Response(200, json=LETTER)


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    return Admin(monkeypatch)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["orderonce", "dlq", *arguments])
    with pytest.raises(SystemExit) as ended:
        app()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_list(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "list", "--topic", "orders.fills") == Exit.OK
    out = capsys.readouterr().out
    assert LETTER["letter_id"] in out
    assert "--cursor more" in out
    assert run(monkeypatch, "list", "--all", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["letters"] == [LETTER]
    assert run(monkeypatch, "list", "--state", "discarded") == Exit.OK
    queries = [path.partition("?")[2] for _, path, _ in admin.asked]
    assert queries == ["topic=orders.fills&limit=50", "state=all&limit=50",
                       "state=discarded&limit=50"]  # fmt: skip


def test_show_says_what_is_cut_and_what_is_coded(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "show", LETTER["letter_id"]) == Exit.OK
    out = capsys.readouterr().out
    assert "base64 AP8= … (900 bytes)" in out
    assert "x: 1" in out
    assert admin.asked == [("GET", PATH, b"")]


def test_replay(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "replay", LETTER["letter_id"]) == Exit.OK
    assert admin.asked == [("POST", f"{PATH}/replay", b"{}")]


def test_discard_asks_first(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a person at the terminal, nothing is discarded unless `--yes` is said."""
    assert run(monkeypatch, "discard", LETTER["letter_id"]) == Exit.USAGE
    assert "--yes" in capsys.readouterr().err
    assert [method for method, _, _ in admin.asked] == ["GET"]
    done = run(monkeypatch, "discard", LETTER["letter_id"], "--yes", "--reason", "a test")
    assert done == Exit.OK
    method, path, body = admin.asked[-1]
    assert (method, path, json.loads(body)) == ("POST", f"{PATH}/discard", {"reason": "a test"})
