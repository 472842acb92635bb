"""An intent is on disk before it is sent, and one name has one key for ever."""

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from orderonce import Client, IntentDiffers, IntentStore, NewOrder, NoAnswer, Patience

BODY = {"account": "a", "quantity": "1"}


def test_a_name_keeps_its_key(tmp_path: Path) -> None:
    first = IntentStore(tmp_path / "db").keep("one", BODY)

    assert IntentStore(tmp_path / "db").keep("one", BODY) == first


def test_two_names_have_two_keys(tmp_path: Path) -> None:
    store = IntentStore(tmp_path / "db")

    assert store.keep("one", BODY).key != store.keep("two", BODY).key


def test_another_order_under_a_kept_name_is_refused(tmp_path: Path) -> None:
    store = IntentStore(tmp_path / "db")
    store.keep("one", BODY)

    with pytest.raises(IntentDiffers):
        store.keep("one", {**BODY, "quantity": "2"})


def test_threads_that_meet_get_one_key(tmp_path: Path) -> None:
    store = IntentStore(tmp_path / "db")
    with ThreadPoolExecutor(8) as threads:
        keys = {intent.key for intent in threads.map(lambda _: store.keep("one", BODY), range(40))}

    assert len(keys) == 1


def test_unanswered_ones_are_listed_until_noted(tmp_path: Path) -> None:
    store = IntentStore(tmp_path / "db")
    store.keep("one", BODY)
    store.keep("two", BODY)
    store.note("one", "order-1")

    assert [intent.name for intent in store.unanswered()] == ["two"]
    found = store.find("one")
    assert found is not None
    assert found.order_id == "order-1"


def test_a_forgotten_name_may_be_used_anew(tmp_path: Path) -> None:
    store = IntentStore(tmp_path / "db")
    first = store.keep("one", BODY)
    store.forget("one")

    assert store.keep("one", {**BODY, "quantity": "2"}).key != first.key


def test_a_kept_intent_survives_kill_9(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from orderonce import IntentStore;"
        "print(IntentStore(sys.argv[1]).keep('one', {'a': '1'}).key, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, os.fspath(tmp_path / "db")], capture_output=True, text=True
    )
    assert run.returncode == -signal.SIGKILL

    kept = IntentStore(tmp_path / "db").find("one")

    assert kept is not None
    assert kept.key == run.stdout.strip()


def test_a_power_cut_takes_no_kept_intent_back(tmp_path: Path) -> None:
    """Less than EXTRA leaves the end of a transaction to the folder's next flush: after a power cut
    the intent could be gone although its order was sent, and the next one would have a new key."""
    with IntentStore(tmp_path / "db")._open() as database:
        (level,) = database.execute("PRAGMA synchronous").fetchone()
        (journal,) = database.execute("PRAGMA journal_mode").fetchone()

    assert (level, journal) == (3, "delete")


class _Full(IntentStore):
    """A disk that takes the intent, and is full when the answer has come."""

    def note(self, name: str, order_id: str) -> None:
        raise sqlite3.OperationalError("database or disk is full")


def _accepts(_: httpx.Request) -> httpx.Response:
    at = "2026-11-22T10:00:00.000000Z"
    shown = {"order_id": "7", "client_order_id": "c", "accepted_at": at, "expires_at": at}
    return httpx.Response(202, json=shown)


def test_an_answer_that_cannot_be_noted_is_told_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the store means that nothing was sent; this order is accepted."""
    store = _Full(tmp_path / "db")
    with Client("http://api.test", api_key="x", intents=store) as client:
        client._http = httpx.Client(transport=httpx.MockTransport(_accepts))
        placed = client.place(NewOrder("a", "B/C", "buy", "market", "1"), "one")

    assert placed.order_id == "7"
    assert [intent.name for intent in store.unanswered()] == ["one"]
    assert "disk is full" in caplog.text


def test_what_httpx_cannot_decode_is_no_answer() -> None:
    def garbled(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, content=b"no gzip")

    patience = Patience(total_s=0.0)
    with Client("http://api.test", api_key="x", patience=patience) as client:
        client._http = httpx.Client(transport=httpx.MockTransport(garbled))
        with pytest.raises(NoAnswer, match="DecodingError"):
            client.place(NewOrder("a", "B/C", "buy", "market", "1"), key="k" * 16)


@pytest.mark.parametrize("left", [None, ""])
def test_a_key_file_that_is_being_replaced_is_not_an_error_of_the_order(
    tmp_path: Path, left: str | None
) -> None:
    """An OSError would mean that nothing was sent; here a try was, and nobody heard its answer."""
    file = tmp_path / "key"
    file.write_text("oo_test_old")
    tries: list[httpx.Request] = []

    def half_way(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        if len(tries) == 1:
            raise httpx.ReadTimeout("lost")
        file.unlink() if left is None else file.write_text(left)
        return httpx.Response(401, json={"type": "/errors/credentials-invalid"})

    with Client("http://api.test", key_file=file) as client:
        client._http = httpx.Client(transport=httpx.MockTransport(half_way))
        with pytest.raises(NoAnswer):
            client.place(NewOrder("a", "B/C", "buy", "market", "1"), key="k" * 16)
    assert [request.headers["authorization"] for request in tries] == ["Bearer oo_test_old"] * 2


def test_placing_needs_a_name_or_a_key() -> None:
    with Client("http://127.0.0.1:1", api_key="x") as client, pytest.raises(TypeError):
        client.place(NewOrder("a", "B/C", "buy", "market", "1"))


def test_an_intent_needs_a_file() -> None:
    with (
        Client("http://127.0.0.1:1", api_key="x") as client,
        pytest.raises(TypeError, match="file"),
    ):
        client.place(NewOrder("a", "B/C", "buy", "market", "1"), "one")


def test_the_api_key_is_not_shown() -> None:
    with Client("http://127.0.0.1:1", api_key="oo_test_secret") as client:
        assert "secret" not in repr(client)
        assert "secret" not in repr(vars(client))
