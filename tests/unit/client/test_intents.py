"""An intent is on disk before it is sent, and one name has one key for ever."""

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from orderonce import (
    AsyncClient,
    Client,
    IntentDiffers,
    IntentOld,
    IntentStore,
    NewOrder,
    NoAnswer,
    Patience,
)

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


@dataclass
class Api:
    """An order API that remembers keys, and can be away for days."""

    now: float = 1_800_000_000.0
    away: bool = False
    accepted: set[str] = field(default_factory=set)
    loses_answers: bool = False
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.away:
            raise httpx.ConnectError("away")
        if request.method == "GET":
            if request.url.path.rsplit("/", 1)[-1] not in self.accepted:
                return httpx.Response(404, json={"type": "/errors/not-found"})
            return httpx.Response(200, json=SHOWN)
        self.accepted.add(request.headers["Idempotency-Key"])
        if self.loses_answers:
            raise httpx.ReadTimeout("lost")
        return _accepts(request)

    @property
    def posts(self) -> int:
        return sum(one.method == "POST" for one in self.requests)


SHOWN: dict[str, object] = {
    "order_id": "7", "client_order_id": "c", "idempotency_key": "k", "account": "a",
    "venue": "paper", "symbol": "B/C", "side": "buy", "type": "market", "quantity": "1",
    "quote_quantity": None, "price": None, "time_in_force": None, "post_only": False,
    "client_tag": None, "status": "filled", "final": True, "parked": False, "reason": None,
    "cancel_requested": False, "venue_order_id": "1", "filled_quantity": "1",
    "average_price": "1", "fees": [], "accepted_at": "2026-11-22T10:00:00.000000Z",
    "sent_at": None, "updated_at": "2026-11-22T10:00:00.000000Z",
    "expires_at": "2026-11-22T10:00:00.000000Z", "version": 3,
}  # fmt: skip
ORDER = NewOrder("a", "B/C", "buy", "market", "1")
DAYS_S = 3 * 86_400


def bot(api: Api, folder: Path) -> Client:
    """The bot after a start; its file is the one from before."""
    store = IntentStore(folder / "db", clock=lambda: api.now)
    made = Client("http://api.test", api_key="x", intents=store, patience=Patience(total_s=0.0))
    made._http = httpx.Client(transport=httpx.MockTransport(api))
    return made


def test_an_old_intent_that_was_never_accepted_is_not_sent(tmp_path: Path) -> None:
    """Guard: the API would give it a fresh deadline, and trade on an idea of three days ago."""
    api = Api(away=True)
    with bot(api, tmp_path) as client, pytest.raises(NoAnswer):
        client.place(ORDER, "one")
    api.away, api.requests, api.now = False, [], api.now + DAYS_S
    with bot(api, tmp_path) as client:
        with pytest.raises(IntentOld, match="however_old"):
            client.place(ORDER, "one")
        assert api.posts == 0
        assert client.place(ORDER, "one", however_old=True).order_id == "7"
    assert api.posts == 1


def test_an_old_intent_that_was_accepted_gets_its_answer(tmp_path: Path) -> None:
    """Its answer was lost: the same key and bytes are harmless, however old."""
    api = Api(loses_answers=True)
    with bot(api, tmp_path) as client, pytest.raises(NoAnswer):
        client.place(ORDER, "one")
    api.loses_answers, api.now = False, api.now + DAYS_S
    with bot(api, tmp_path) as client:
        assert client.place(ORDER, "one").order_id == "7"
        client.place(ORDER, "one")  # answered now: nobody needs to ask first
    keys = {one.headers["Idempotency-Key"] for one in api.requests if one.method == "POST"}
    assert len(keys) == 1
    assert sum(one.method == "GET" for one in api.requests) == 1


LIMIT = NewOrder("a", "B/C", "buy", "limit", "1", price="2")
IOC = NewOrder("a", "B/C", "buy", "limit", "1", price="2", time_in_force="ioc")


@pytest.mark.parametrize(
    ("order", "later_s"),
    [(ORDER, 0.0), (ORDER, 29.0), (ORDER, -20.0), (IOC, 29.0), (LIMIT, 119.0), (LIMIT, -60.0)],
)
def test_a_young_intent_is_sent_at_once(tmp_path: Path, order: NewOrder, later_s: float) -> None:
    api = Api(away=True)
    with bot(api, tmp_path) as client, pytest.raises(NoAnswer):
        client.place(order, "one")
    api.away, api.requests, api.now = False, [], api.now + later_s
    with bot(api, tmp_path) as client:
        client.place(order, "one")
    assert [one.method for one in api.requests] == ["POST"]


@pytest.mark.parametrize(
    ("order", "later_s"), [(ORDER, 31.0), (IOC, 31.0), (LIMIT, 121.0), (LIMIT, -DAYS_S)]
)
def test_an_old_intent_is_asked_for_first(tmp_path: Path, order: NewOrder, later_s: float) -> None:
    """A clock that went back says nothing about an age."""
    api = Api(away=True)
    with bot(api, tmp_path) as client, pytest.raises(NoAnswer):
        client.place(order, "one")
    api.away, api.now = False, api.now + later_s
    with bot(api, tmp_path) as client, pytest.raises(IntentOld):
        client.place(order, "one")


def test_a_deadline_of_its_own_is_the_apis_business(tmp_path: Path) -> None:
    api, until = Api(away=True), datetime(2026, 11, 22, 10, tzinfo=UTC)
    order = NewOrder("a", "B/C", "buy", "market", "1", expires_at=until)
    with bot(api, tmp_path) as client, pytest.raises(NoAnswer):
        client.place(order, "one")
    api.away, api.requests, api.now = False, [], api.now + DAYS_S
    with bot(api, tmp_path) as client:
        client.place(order, "one")
    assert b"2026-11-22T10:00:00Z" in api.requests[0].content


def test_an_intent_of_an_earlier_version_has_no_known_age(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "db") as database:
        database.execute(
            "CREATE TABLE intent (name TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE,"
            " body TEXT NOT NULL, order_id TEXT)"
        )
        body = '{"account": "a", "quantity": "1", "side": "buy", "symbol": "B/C", "type": "market"}'
        database.execute(
            "INSERT INTO intent VALUES ('one', 'key-of-the-old-one', ?, NULL)", (body,)
        )
    database.close()
    api = Api()
    with bot(api, tmp_path) as client, pytest.raises(IntentOld):
        client.place(ORDER, "one")
    (left,) = IntentStore(tmp_path / "db").unanswered()
    assert (left.key, left.kept_at) == ("key-of-the-old-one", None)


async def test_the_other_client_has_the_same_rule(tmp_path: Path) -> None:
    api = Api()
    store = IntentStore(tmp_path / "db", clock=lambda: api.now)
    store.keep("one", ORDER.body())
    api.now += DAYS_S
    async with AsyncClient("http://api.test", api_key="x", intents=store) as client:
        client._http = httpx.AsyncClient(transport=httpx.MockTransport(api))
        with pytest.raises(IntentOld):
            await client.place(ORDER, "one")
    assert api.posts == 0
