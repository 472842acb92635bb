"""The ledger as a real process, with real Kafka, Postgres and paper exchange: killed, fed poison,
shown planted breaks.

The venue's trades are made at its control door, and reported to orders.fills by the test, as the
executor would.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer
from orderonce_shared.contracts.letters import DLQ_HEADERS
from orderonce_shared.contracts.topics import DLQ, FILLS, prefixed
from orderonce_shared.domain.venue import VenueFill
from orderonce_shared.runtime.bearer import mac, mint_key
from orderonce_shared.runtime.clock import SystemClock
from orderonce_shared.runtime.kafka_publisher import Outgoing, Publisher
from orderonce_shared.venues.adapter import Door
from orderonce_shared.venues.credentials import load_credentials

from tests.line import Child, until
from tests.servers import Database, Template, pick_port, topics
from tests.unit.ledger.making import changed, fill, record

Json = dict[str, Any]
ACCOUNTS = tuple(f"paper-{n}" for n in range(1, 9))
KILLED = 137


@dataclass
class World:
    """One ledger process and everything around it. Tests use an account each."""

    database: Database
    bootstrap: str
    prefix: str
    http: httpx.AsyncClient
    ledger: Child
    paper: Child
    url: str
    control_url: str
    publisher: Publisher
    doors: dict[str, Door]
    keys: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, key: str = "all", **query: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys[key]}"}
        return await self.http.get(self.url + path, params=query, headers=headers)

    async def reconcile(self, account: str) -> Json:
        headers = {"Authorization": f"Bearer {self.keys['all']}"}
        answer = await self.http.post(
            f"{self.url}/v1/reconciliations", json={"account": account}, headers=headers
        )
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        return told

    async def control(self, method: str, path: str, body: Json | None = None) -> Json:
        answer = await self.http.request(method, self.control_url + path, json=body)
        assert answer.is_success, answer.text
        told: Json = answer.json()
        return told

    async def trade(
        self, account: str, quantity: str = "0.01000", symbol: str = "BTC"
    ) -> VenueFill:
        """A trade at the venue that nobody has reported yet."""
        price = {"BTC": "60000.50", "WEI": "1.00"}[symbol]
        asked = {"symbol": f"{symbol}USDT", "side": "BUY", "quantity": quantity, "price": price}
        told = await self.control("POST", "/control/trade", {"account": account, **asked})
        number = told["trade"]["trade_id"]
        page = await self.doors[account].trades(f"{symbol}/USDT", from_id=str(number))
        return page[0]

    async def report(self, account: str, *fills: VenueFill) -> None:
        await self.send(account, *(record(one, account) for one in fills))

    async def send(self, account: str, *values: bytes) -> None:
        topic = prefixed(self.prefix, FILLS)
        records = [Outgoing(topic, account, value, [("schema", b"fill.v1")]) for value in values]
        assert all(await self.publisher.publish(records))

    async def booked(self, account: str) -> list[Json]:
        answer = await self.get("/v1/fills", account=account)
        assert answer.status_code == 200, answer.text
        rows: list[Json] = answer.json()["fills"]
        return rows

    async def wait_booked(self, account: str, number: int) -> list[Json]:
        rows: list[Json] = []

        async def is_there() -> bool:
            rows[:] = await self.booked(account)
            return len(rows) >= number

        await until(is_there, 20, f"{number} fills of {account} are booked")
        assert len(rows) == number
        return rows

    async def breaks(self, account: str, status: str = "open") -> set[str]:
        answer = await self.get("/v1/breaks", account=account, status=status)
        return {row["type"] for row in answer.json()["breaks"]}


@pytest.fixture(scope="module")
async def world(
    database_template: Template,
    kafka_bootstrap: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("ledger")
    with database_template.copy() as database:
        async with topics(kafka_bootstrap, f"l{uuid4().hex[:10]}.") as prefix:
            made = await _make(database, kafka_bootstrap, prefix, folder)
            try:
                yield made
            finally:
                made.ledger.kill()
                made.paper.kill()
                for door in made.doors.values():
                    await door.close()
                await made.publisher.close()
                await made.http.aclose()


async def _make(database: Database, bootstrap: str, prefix: str, folder: Path) -> World:
    port, control, own, admin = (pick_port() for _ in range(4))
    http = httpx.AsyncClient(timeout=30)
    paper = Child(
        "paper",
        ("-m", "orderonce_paper", "--data", str(folder / "paper"), "--port", str(port),
         "--control-port", str(control)),
        {}, f"http://127.0.0.1:{control}/control/health", folder / "paper.log",
    )  # fmt: skip
    paper.start()
    await paper.wait_ready(http)
    told = json.loads((folder / "paper" / "keys.json").read_text())["accounts"]
    credentials = folder / "read.json"
    credentials.touch(mode=0o600)
    rows = {name: {"venue": "paper", **one["read"]} for name, one in told.items()}
    credentials.write_text(json.dumps({"accounts": rows}))
    pepper = secrets.token_bytes(32)
    keys = _seed(database, {name: str(one["uid"]) for name, one in told.items()}, pepper)
    paper_url = f"http://127.0.0.1:{port}"
    env = {
        "LEDGER_DATABASE_URL": database.ledger_url,
        "LEDGER_KAFKA_BOOTSTRAP": bootstrap,
        "LEDGER_TOPIC_PREFIX": prefix,
        "LEDGER_PORT": str(own),
        "LEDGER_ADMIN_PORT": str(admin),
        "LEDGER_PEPPER": pepper.hex(),
        "LEDGER_CREDENTIALS": str(credentials),
        "LEDGER_VENUE_URLS": json.dumps({"paper": paper_url}),
        "LEDGER_GRACE_MS": "200",
        "LEDGER_RECONCILE_EVERY_S": "3600",
    }
    ready = f"http://127.0.0.1:{admin}/readyz"
    ledger = Child("ledger", ("-m", "orderonce_ledger"), env, ready, folder / "ledger.log")
    ledger.start()
    await ledger.wait_ready(http)
    clock = SystemClock()
    doors = {
        name: await Door.open(
            "paper", name, one, base_url=paper_url, monotonic=clock.monotonic, read_only=True
        )
        for name, one in load_credentials(credentials).items()
    }
    made = World(
        database, bootstrap, prefix, http, ledger, paper, f"http://127.0.0.1:{own}",
        f"http://127.0.0.1:{control}", Publisher(bootstrap, "test"), doors, keys,
    )  # fmt: skip

    async def are_open() -> bool:
        answer = await made.get("/v1/accounts")
        return all(row["books"] == "open" for row in answer.json()["accounts"])

    await until(are_open, 30, "all books are open")
    return made


def _seed(database: Database, uids: dict[str, str], pepper: bytes) -> dict[str, str]:
    """Accounts, instruments and keys, as the order API and the executor leave them."""
    keys: dict[str, str] = {}
    grants = {
        "all": (["ledger:read"], ["*"]),
        "one": (["ledger:read"], ["paper-1"]),
        "orders": (["orders:read"], ["*"]),
    }
    with psycopg.connect(database.owner_url) as connection:
        for name, uid in uids.items():
            connection.execute(
                "INSERT INTO control.account (account, venue, venue_uid) VALUES (%s, 'paper', %s)",
                [name, uid],
            )
        for base in ("BTC", "ETH", "SOL", "WEI"):
            connection.execute(
                "INSERT INTO control.instrument (venue, symbol, base, quote, tick_size, step_size,"
                " min_quantity, max_quantity, min_notional)"
                " VALUES ('paper', %s, %s, 'USDT', 1, 1, 1, 1, 1)",
                [f"{base}/USDT", base],
            )
        for name, (scopes, accounts) in grants.items():
            minted = mint_key()
            connection.execute(
                "INSERT INTO control.api_key (kid, client, name, env, secret_mac, pepper_id,"
                " scopes, accounts) VALUES (%s, 'bot', %s, 'test', %s, 1, %s, %s)",
                [minted.kid, name, mac(pepper, minted.kid, minted.secret), scopes, accounts],
            )
            keys[name] = minted.text
    return keys


async def test_from_a_trade_to_its_journal_and_a_proof_of_zero(world: World) -> None:
    made = [await world.trade("paper-1") for _ in range(3)]
    order_id = uuid4()
    await world.send("paper-1", *(record(one, "paper-1", order_id) for one in made))
    rows = await world.wait_booked("paper-1", 3)
    assert {row["trade_id"] for row in rows} == {one.trade_id for one in made}
    first = rows[-1]
    assert first["order_id"] == str(order_id)
    assert first["venue_order_id"] == made[0].venue_order_id
    told = (await world.get(f"/v1/journals/{first['journal']}")).json()
    assert told["hash"] == first["journal_hash"]
    assert told["fill"] == first
    assert [entry["role"] for entry in told["entries"]] == ["base", "quote", "fee"]
    by_order = await world.get("/v1/fills", order_id=str(order_id))
    assert len(by_order.json()["fills"]) == 3
    run = await world.reconcile("paper-1")
    assert run["proven"] is True
    assert run["runs"][0]["matched"] == 3
    again = await world.get(f"/v1/reconciliations/{run['id']}")
    assert again.json()["runs"] == run["runs"]
    proof = (await world.get("/v1/proof", account="paper-1")).json()
    assert {Decimal(row["proof"]) for row in proof["proof"]} == {Decimal(0)}
    truly = await world.doors["paper-1"].balances()
    held = (await world.get("/v1/accounts/paper-1/balances")).json()["balances"]
    assert {row["asset"]: Decimal(row["balance"]) for row in held} == truly


async def test_eighteen_digits_from_the_venue_to_the_proof(world: World) -> None:
    made = await world.trade("paper-7", "1.000000000000000001", "WEI")
    await world.report("paper-7", made)
    row = (await world.wait_booked("paper-7", 1))[0]
    assert row["quantity"] == "1.000000000000000001"
    assert (await world.reconcile("paper-7"))["proven"] is True


@pytest.mark.parametrize("point", ["book_before_commit", "book_after_commit"])
async def test_killed_around_the_commit_books_once(world: World, point: str) -> None:
    account = {"book_before_commit": "paper-2", "book_after_commit": "paper-3"}[point]
    made = [await world.trade(account) for _ in range(5)]
    await world.ledger.stop()
    world.ledger.start({"LEDGER_FAILPOINTS": f"{point}=exit"})
    await world.report(account, *made)
    assert await world.ledger.wait_dead() == KILLED
    expected = 0 if point == "book_before_commit" else 5
    assert _count(world, account) in ({expected} if expected == 0 else {1, 2, 3, 4, 5})
    world.ledger.start()
    await world.ledger.wait_ready(world.http)
    await world.wait_booked(account, 5)
    assert (await world.reconcile(account))["proven"] is True


def _count(world: World, account: str) -> int:
    with psycopg.connect(world.database.owner_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM ledger.fill WHERE account = %s", [account]
        ).fetchone()
    assert row is not None
    return int(row[0])


async def test_planted_breaks_are_named_and_end(world: World) -> None:
    """A trade by hand, a fill that the venue does not know, a wrong quantity and a wrong fee: each
    by its name."""
    account = "paper-4"
    good, by_hand, wrong_amount, wrong_fee = [await world.trade(account) for _ in range(4)]
    ghost = changed(good, trade_id=str(int(wrong_fee.trade_id) - 1), venue_order_id="999999")
    await world.report(
        account,
        good,
        ghost,
        changed(wrong_amount, quantity=wrong_amount.quantity * 2),
        changed(wrong_fee, fees=()),
    )
    await world.wait_booked(account, 4)
    await asyncio.sleep(0.3)  # the grace
    run = await world.reconcile(account)
    assert run["status"] == "ok"
    expected = {"MISSING_IN_LEDGER", "MISSING_AT_VENUE", "QTY", "FEE_ASSET"}
    assert await world.breaks(account) == expected
    assert run["proven"] is True  # the four explain the whole difference
    shown = (await world.get("/v1/breaks", account=account, type="MISSING_IN_LEDGER")).json()
    assert shown["breaks"][0]["detail"]["venue"]["trade_id"] == by_hand.trade_id
    assert [step["step"] for step in shown["breaks"][0]["history"]] == ["opened"]
    await world.report(account, by_hand)
    await world.wait_booked(account, 5)
    await world.reconcile(account)
    assert await world.breaks(account) == expected - {"MISSING_IN_LEDGER"}
    assert await world.breaks(account, "auto_resolved") == {"MISSING_IN_LEDGER"}


async def test_dust_at_the_venue_is_a_balance_break(world: World) -> None:
    account = "paper-5"
    dust = {"account": account, "asset": "BTC", "amount": "0.00000001"}
    await world.control("POST", "/control/trade", dust)
    run = await world.reconcile(account)
    assert run["proven"] is False
    assert await world.breaks(account) == {"BALANCE"}
    back = {"account": account, "asset": "BTC", "amount": "-0.00000001"}
    await world.control("POST", "/control/trade", back)
    assert (await world.reconcile(account))["proven"] is True
    assert await world.breaks(account) == set()


@pytest.mark.parametrize("fault", ["html_200", "half_body", "empty_body", "refuse_5xx"])
async def test_a_bad_page_is_a_failed_run_and_never_no_trades(world: World, fault: str) -> None:
    account = "paper-6"
    if not await world.booked(account):
        await world.report(account, await world.trade(account))
        await world.wait_booked(account, 1)
    await asyncio.sleep(0.3)
    match = {"method": "GET", "path": "/api/v3/myTrades", "account": account}
    await world.control("POST", "/control/faults", {"name": fault, "match": match})
    run = await world.reconcile(account)
    await world.control("DELETE", "/control/faults")
    assert run["status"] == "failed"
    assert run["runs"][0]["reason"]
    assert await world.breaks(account) == set()
    assert (await world.reconcile(account))["proven"] is True


async def test_poison_goes_to_the_dead_letters_and_holds_up_nobody(world: World) -> None:
    account = "paper-8"
    made = await world.trade(account)
    poison = [
        b"not json",
        b"",
        json.dumps({"schema": "fill.v1"}).encode(),
        record(changed(fill(1), trade_id="x" * 5), account),
        record(changed(fill(1), trade_id="1", raw={"text": "\x00"}), account),
        record(made, account).replace(b'"bot"', b'"\\ud800"'),
    ]
    await world.send(account, *poison, record(made, account))
    await world.wait_booked(account, 1)
    letters = await _read_dead_letters(world, len(poison))
    assert sorted(value for value, _ in letters) == sorted(poison)
    for _, headers in letters:
        assert {"schema", *DLQ_HEADERS} <= headers.keys()
        assert headers["dlq_topic"] == prefixed(world.prefix, FILLS).encode()


async def _read_dead_letters(world: World, number: int) -> list[tuple[bytes, dict[str, bytes]]]:
    consumer = AIOKafkaConsumer(
        prefixed(world.prefix, DLQ),
        bootstrap_servers=world.bootstrap,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        found: list[tuple[bytes, dict[str, bytes]]] = []
        async with asyncio.timeout(20):
            while len(found) < number:
                letter = await consumer.getone()
                found.append((letter.value or b"", dict(letter.headers)))
        return found
    finally:
        await consumer.stop()


async def test_the_door_says_no_in_problem_documents(world: World) -> None:
    told = (await world.get("/v1/accounts")).json()["accounts"]
    foreign = next(row["head"] for row in told if row["account"] == "paper-2")
    asked: list[tuple[str, str, Json, int, str]] = [
        ("GET", "/v1/proof", {}, 401, "credentials-invalid"),
        ("GET", "/v1/proof", {"key": "nonsense"}, 401, "credentials-invalid"),
        ("GET", "/v1/proof", {"key": world.keys["orders"]}, 403, "not-permitted"),
        ("GET", "/v1/nothing", {"key": world.keys["all"]}, 404, "not-found"),
        ("DELETE", "/v1/proof", {"key": world.keys["all"]}, 405, "method-not-allowed"),
        ("GET", "/v1/accounts/paper-2/balances", {"key": world.keys["one"]}, 404, "not-found"),
        ("GET", "/v1/proof?account=paper-2", {"key": world.keys["one"]}, 404, "not-found"),
        ("GET", f"/v1/journals/{foreign}", {"key": world.keys["one"]}, 404, "not-found"),
        ("GET", "/v1/journals/x", {"key": world.keys["all"]}, 404, "not-found"),
        ("GET", "/v1/reconciliations/x", {"key": world.keys["all"]}, 404, "not-found"),
        ("GET", "/v1/fills?limit=0", {"key": world.keys["all"]}, 400, "request-invalid"),
        ("GET", "/v1/fills?limit=201", {"key": world.keys["all"]}, 400, "request-invalid"),
        ("GET", "/v1/fills?cursor=%00", {"key": world.keys["all"]}, 400, "request-invalid"),
        ("GET", "/v1/breaks?cursor=1", {"key": world.keys["all"]}, 400, "request-invalid"),
        ("GET", "/v1/breaks?type=%00", {"key": world.keys["all"]}, 400, "request-invalid"),
        ("GET", "/v1/accounts/%00/balances", {"key": world.keys["all"]}, 400, "request-invalid"),
        ("GET", "/v1/accounts/nobody/balances", {"key": world.keys["all"]}, 404, "not-found"),
        ("GET", "/v1/breaks?status=gone", {"key": world.keys["all"]}, 400, "request-invalid"),
        ("GET", "/v1/fills?order_id=1", {"key": world.keys["all"]}, 400, "request-invalid"),
        ("GET", "/v1/fills?account=%00", {"key": world.keys["all"]}, 400, "request-invalid"),
    ]
    for method, path, given, status, type_ in asked:
        headers = {"Authorization": f"Bearer {given['key']}"} if given else {}
        answer = await world.http.request(method, world.url + path, headers=headers)
        assert answer.status_code == status, (method, path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        document = answer.json()
        assert document["type"] == f"/errors/{type_}"
        assert document["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"account": 1}', b'{"x": 1}', b'{"account":"a","account":"b"}', b"\xff"]
)
async def test_a_bad_body(world: World, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {world.keys['all']}"}
    url = f"{world.url}/v1/reconciliations"
    answer = await world.http.post(url, content=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "/errors/body-invalid")
    big = await world.http.post(url, content=b" " * 5000, headers=headers)
    assert big.status_code == 413


async def test_a_key_sees_its_own_accounts_only(world: World) -> None:
    accounts = (await world.get("/v1/accounts", "one")).json()["accounts"]
    assert [row["account"] for row in accounts] == ["paper-1"]
    fills = (await world.get("/v1/fills", "one")).json()["fills"]
    assert {row["account"] for row in fills} <= {"paper-1"}
    proof = (await world.get("/v1/proof", "one")).json()["proof"]
    assert {row["account"] for row in proof} <= {"paper-1"}


async def test_pages_follow_each_other_without_gap_or_repeat(world: World) -> None:
    everything = (await world.get("/v1/fills")).json()["fills"]
    paged: list[Json] = []
    cursor: Json = {}
    while True:
        told = (await world.get("/v1/fills", limit=2, **cursor)).json()
        paged += told["fills"]
        if told["next_cursor"] is None:
            break
        cursor = {"cursor": told["next_cursor"]}
    assert paged == everything


async def test_the_admin_port_counts(world: World) -> None:
    text = (await world.http.get(world.ledger.ready_url.replace("readyz", "metrics"))).text
    for name in (
        "orderonce_ledger_fills_total",
        "orderonce_ledger_book_batch_fills_bucket",
        "orderonce_ledger_book_seconds_bucket",
        "orderonce_ledger_lag_seconds_bucket",
        "orderonce_ledger_reconciliations_total",
        "orderonce_ledger_proof_nonzero_assets",
        "orderonce_ledger_reconciliation_age_seconds",
        "orderonce_ledger_fills_parked",
    ):
        assert name in text
