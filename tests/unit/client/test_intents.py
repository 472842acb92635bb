"""An intent is on disk before it is sent, and one name has one key for ever."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from orderonce import Client, IntentDiffers, IntentStore, NewOrder

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
