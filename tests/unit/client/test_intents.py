"""An intent is on disk before it is sent, and one name has one key for ever."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

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
    OrderDenied,
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
    """An order API that decides a key once, and can be away for days. `holds`: what is sent to it
    stays on its way, until somebody delivers it.
    """

    now: float = 1_800_000_000.0
    away: bool = False
    holds: bool = False
    loses_answers: bool = False
    requests: list[httpx.Request] = field(default_factory=list)
    decided: dict[str, dict[str, str]] = field(default_factory=dict)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.away:
            raise httpx.ConnectError("away")
        if self.holds:
            raise httpx.ReadTimeout("still on its way")
        reply = self.deliver(request)
        if self.loses_answers:
            raise httpx.ReadTimeout("lost")
        return reply

    def deliver(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "POST", "a bot that places needs no leave to read"
        key, body = request.headers["Idempotency-Key"], json.loads(request.content)
        first = self.decided.setdefault(key, body)
        if first != body:
            differs = sorted(name for name, _ in first.items() ^ body.items())
            told = {"type": "/errors/idempotency-key-reused", "order_id": "7", "differs": differs}
            return httpx.Response(422, json=told)
        if self._is_late(body):
            told = {"type": "/errors/order-denied", "code": "expires-in-past", "order_id": "8"}
            return httpx.Response(422, json=told)
        return _accepts(request)

    def _is_late(self, body: dict[str, str]) -> bool:
        until = body.get("expires_at")
        return until is not None and datetime.fromisoformat(until).timestamp() <= self.now

    @property
    def orders(self) -> int:
        return sum(not self._is_late(body) for body in self.decided.values())


ORDER = NewOrder("a", "B/C", "buy", "market", "1")
DAYS_S = 3 * 86_400


def bot(api: Api, folder: Path) -> Client:
    """The bot after a start; its file is the one from before."""
    store = IntentStore(folder / "db", clock=lambda: api.now)
    made = Client("http://api.test", api_key="x", intents=store, patience=Patience(total_s=0.0))
    made._http = httpx.Client(transport=httpx.MockTransport(api))
    return made


def test_an_old_intent_that_was_never_accepted_is_no_order(tmp_path: Path) -> None:
    """Guard: the API would give it a fresh deadline, and trade on an idea of three days ago."""
    api = Api(away=True)
    with bot(api, tmp_path) as client, pytest.raises(NoAnswer):
        client.place(ORDER, "one")
    api.away, api.now = False, api.now + DAYS_S
    with bot(api, tmp_path) as client:
        for however_old in (False, False, True):  # its key is used up: nothing brings it back
            with pytest.raises(IntentOld, match="Forget it"):
                client.place(ORDER, "one", however_old=however_old)
    assert api.orders == 0


def test_an_old_intent_is_placed_when_the_bot_insists(tmp_path: Path) -> None:
    api = Api(away=True)
    with bot(api, tmp_path) as client, pytest.raises(NoAnswer):
        client.place(ORDER, "one")
    api.away, api.now = False, api.now + DAYS_S
    with bot(api, tmp_path) as client:
        assert client.place(ORDER, "one", however_old=True).order_id == "7"
    assert api.orders == 1


def test_a_request_that_comes_after_its_bot_gave_up_makes_no_second_order(tmp_path: Path) -> None:
    """Guard: a commit may wait for a minute; "not found" says nothing about what is on its way."""
    api = Api(holds=True)
    with bot(api, tmp_path) as client, pytest.raises(NoAnswer):
        client.place(ORDER, "one")
    (on_its_way,), api.holds, api.now = tuple(api.requests), False, api.now + 60.0
    with bot(api, tmp_path) as client:
        with pytest.raises(IntentOld):
            client.place(ORDER, "one")
        IntentStore(tmp_path / "db").forget("one")
        client.place(ORDER, "one")

    assert api.deliver(on_its_way).status_code == 422
    assert api.orders == 1


def test_an_old_intent_is_not_forgotten_on_no_answer(tmp_path: Path) -> None:
    """Nothing is known of it: neither that it was accepted nor that it never can be."""
    api = Api(away=True)
    for _ in range(2):
        with bot(api, tmp_path) as client, pytest.raises(NoAnswer):
            client.place(ORDER, "one")
        api.now += DAYS_S
    assert len({one.headers["Idempotency-Key"] for one in api.requests}) == 1


def test_an_old_intent_that_was_accepted_gets_its_answer(tmp_path: Path) -> None:
    """Its answer was lost: the same key and bytes are harmless, however old."""
    api = Api(loses_answers=True)
    with bot(api, tmp_path) as client, pytest.raises(NoAnswer):
        client.place(ORDER, "one")
    api.loses_answers, api.now = False, api.now + DAYS_S
    with bot(api, tmp_path) as client:
        assert client.place(ORDER, "one").order_id == "7"
        client.place(ORDER, "one")  # answered now: its key needs no burning
    assert len({one.headers["Idempotency-Key"] for one in api.requests}) == 1
    assert [b"expires_at" in one.content for one in api.requests] == [False, True, False, False]
    assert api.orders == 1


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
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("order", "later_s"), [(ORDER, 31.0), (IOC, 31.0), (LIMIT, 121.0), (LIMIT, -DAYS_S)]
)
def test_an_old_intent_is_not_sent_as_it_is(
    tmp_path: Path, order: NewOrder, later_s: float
) -> None:
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
    with bot(api, tmp_path) as client, pytest.raises(OrderDenied):
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


def test_bots_that_open_a_file_of_an_earlier_version_together_all_can(tmp_path: Path) -> None:
    """Guard: without one transaction around look and change the second adds the column twice."""
    together = Barrier(8)

    def opens(file: Path) -> IntentStore:
        together.wait(timeout=10.0)
        return IntentStore(file)

    with ThreadPoolExecutor(8) as threads:
        for number in range(20):  # they do not meet in each
            file = tmp_path / f"{number}.db"
            with closing(sqlite3.connect(file)) as database:
                database.execute(
                    "CREATE TABLE intent (name TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE,"
                    " body TEXT NOT NULL, order_id TEXT)"
                )
            stores = list(threads.map(opens, [file] * 8))
            assert stores[0].keep("one", BODY).kept_at is not None


async def test_the_other_client_has_the_same_rule(tmp_path: Path) -> None:
    api = Api()
    store = IntentStore(tmp_path / "db", clock=lambda: api.now)
    store.keep("one", ORDER.body())
    api.now += DAYS_S
    async with AsyncClient("http://api.test", api_key="x", intents=store) as client:
        client._http = httpx.AsyncClient(transport=httpx.MockTransport(api))
        with pytest.raises(IntentOld):
            await client.place(ORDER, "one")
    assert api.orders == 0
