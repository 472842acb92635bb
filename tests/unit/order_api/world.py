"""The order API on a real database, without Kafka: what main.py wires, with a publisher that
remembers.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from orderonce_api import core, store
from orderonce_api.accept import Placing
from orderonce_api.admin import Admin, admin_app
from orderonce_api.auth import Gate
from orderonce_api.bots import Bots, bots_app
from orderonce_api.cancel import Canceling
from orderonce_api.desk import Desk
from orderonce_api.follow import Follower
from orderonce_api.http import Edge
from orderonce_api.key_store import KeyStore
from orderonce_api.keys import Keeper, create_key
from orderonce_api.letter_store import LetterStore
from orderonce_api.letters import Letters
from orderonce_api.metrics import Metrics
from orderonce_api.relay import Line, Relay
from orderonce_api.surroundings import Surroundings
from orderonce_api.tally import Tally
from orderonce_api.waiting import Waiters
from orderonce_shared.contracts.http import CreateKeyBody
from orderonce_shared.domain.money import parse_amount
from orderonce_shared.runtime.bearer import Bearer
from orderonce_shared.runtime.clock import SystemClock
from orderonce_shared.runtime.database import Pool, open_pool
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.kafka_publisher import Outgoing
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.process import Process
from pydantic import SecretStr

PEPPER = bytes.fromhex("ab" * 32)
EVERYTHING = ("orders:read", "orders:write", "orders:cancel", "admin")


@dataclass
class Memory:
    """A publisher that takes everything, or nothing."""

    records: list[Outgoing] = field(default_factory=list)
    takes: bool = True

    async def publish(self, records: Sequence[Outgoing]) -> list[bool]:
        if self.takes:
            self.records += records
        return [self.takes] * len(records)


@dataclass
class Api:
    """One process's worth of the order API."""

    pool: Pool
    writer: store.Writer
    cancel_writer: store.Writer
    store: store.Store
    published: Memory
    relay: Relay
    line: Line
    metrics: Metrics
    bearer: Bearer
    placing: Placing
    follower: Follower
    bots: Edge
    admin: Edge
    tally: Tally
    waiters: Waiters
    letters: Letters
    process: Process

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@dataclass
class World:
    owner: "asyncpg.Connection[Any]"
    apis: list[Api]
    key: str = ""

    @property
    def api(self) -> Api:
        return self.apis[0]

    def client(
        self, key: str | None = None, *, api: int = 0, admin: bool = False
    ) -> httpx.AsyncClient:
        app = self.apis[api].admin if admin else self.apis[api].bots
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://api",
            headers={"Authorization": f"Bearer {key or self.key}"},
        )

    async def new_key(self, client: str = "bot", **limits: Any) -> str:
        body = CreateKeyBody.model_validate(
            {"client": client, "scopes": EVERYTHING, "accounts": ["*"], **limits}
        )
        _, text = await create_key(self.api.store, PEPPER, body)
        return text


async def _api(url: str, key_life: timedelta) -> Api:
    pool = await open_pool(SecretStr(url), application="test", size=6)
    clock, log, metrics, memory = SystemClock(), configure_logs("test"), Metrics(), Memory()
    kept = store.Store(pool)
    relay = Relay(memory, kept, metrics, clock)
    line = Line(kept, metrics, timedelta(seconds=20))
    writers = store.Writer(SecretStr(url), "place"), store.Writer(SecretStr(url), "cancel")
    defaults = core.Defaults(timedelta(seconds=30), timedelta(seconds=120))
    key_store = KeyStore(pool)
    tally = Tally(key_store, clock)
    process = Process(log)
    waiters = Waiters(kept, metrics, process)
    letters = Letters(LetterStore(pool), memory, "", clock, metrics, log)
    desks = [
        Desk(writer, relay, line, clock, metrics, log, Failpoints(), key_life, defaults, tally)
        for writer in writers
    ]
    bearer = Bearer(pool, PEPPER, clock)
    gate = Gate(bearer, log)
    placing = Placing(desks[0])
    surroundings = Surroundings(gate, tally, kept, key_store, clock)
    bots = bots_app(Bots(gate, placing, Canceling(desks[1]), waiters, surroundings, kept, clock))
    keeper = Keeper(kept, PEPPER, bearer, log)
    admin = admin_app(Admin(gate, keeper, letters, process.health, metrics.registry))
    return Api(
        pool,
        writers[0],
        writers[1],
        kept,
        memory,
        relay,
        line,
        metrics,
        bearer,
        placing,
        Follower(kept, metrics, log),
        Edge(bots, log, metrics),
        Edge(admin, log, metrics),
        tally,
        waiters,
        letters,
        process,
    )


@asynccontextmanager
async def world(
    database: Any, *, apis: int = 1, key_life: timedelta = timedelta(hours=24)
) -> AsyncIterator[World]:
    owner = await asyncpg.connect(database.owner_url)
    made = World(owner, [await _api(database.order_api_url, key_life) for _ in range(apis)])
    try:
        for number in (1, 2):
            await admit(owner, f"paper-{number}", str(number))
        await instrument(owner, "BTC/USDT")
        made.key = await made.new_key()
        yield made
    finally:
        for api in made.apis:
            await api.writer.close()
            await api.cancel_writer.close()
            await api.pool.close()
        await owner.close()


async def admit(owner: Any, account: str, uid: str, venue: str = "paper") -> None:
    await owner.execute(
        "INSERT INTO control.account (account, venue, venue_uid) VALUES ($1, $2, $3)",
        account,
        venue,
        uid,
    )


async def instrument(owner: Any, symbol: str, *, reference_age_s: int = 0) -> None:
    base, quote = symbol.split("/")
    amounts = [parse_amount(text) for text in ("0.01", "0.00001", "0.0001", "9000", "5", "50000")]
    await owner.execute(
        """INSERT INTO control.instrument
                  (venue, symbol, base, quote, tick_size, step_size, min_quantity, max_quantity,
                   min_notional, reference_price, reference_at)
           VALUES ('paper', $1, $2, $3, $4, $5, $6, $7, $8, $9,
                   clock_timestamp() - make_interval(secs => $10::int))""",
        symbol,
        base,
        quote,
        *amounts,
        reference_age_s,
    )


def limit_order(**changes: Any) -> dict[str, Any]:
    body = {
        "account": "paper-1",
        "symbol": "BTC/USDT",
        "side": "buy",
        "type": "limit",
        "quantity": "0.00100",
        "price": "50000.00",
    }
    return {**body, **changes}


def fresh_key() -> str:
    return str(uuid4())


async def place(
    client: httpx.AsyncClient, key: str | None = None, **changes: Any
) -> httpx.Response:
    return await client.post(
        "/v1/orders", json=limit_order(**changes), headers={"Idempotency-Key": key or fresh_key()}
    )


async def cancel(
    client: httpx.AsyncClient, order_id: str, key: str | None = None
) -> httpx.Response:
    return await client.post(
        f"/v1/orders/{order_id}/cancel", headers={"Idempotency-Key": key or fresh_key()}
    )


def problem(reply: httpx.Response) -> str:
    """The type of the problem document that this reply must be."""
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    document = reply.json()
    assert document["status"] == reply.status_code
    assert document["request_id"]
    return str(document["type"]).removeprefix("/errors/")
