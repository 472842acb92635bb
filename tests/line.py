"""The straight line, running for real: order APIs, executors, ledger, paper exchange.

Each Line has a database, a topic prefix and a data folder of its own. Its services are processes of
this machine or containers, as its stack has it (`tests/stacks`). Tests kill, freeze and restart
them; whatever a test does, its end leaves none behind. A failing test prints the tail of every log.
"""

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from tests.servers import Database, pick_port
from tests.stacks.processes import Child, Processes
from tests.stacks.program import READY_S, STOP_S, Program, Running, Stack, until

__all__ = ["Child", "Line", "Running", "Shape", "run_line", "until"]

Json = dict[str, Any]

ASK_S = 10.0
SCOPES = ("orders:read", "orders:write", "orders:cancel", "ledger:read")

# Windows short enough that R7's three steps take seconds: window, 1 s step allowance, 2 s late
# visibility of the paper venue.
LEDGER_DEFAULTS = {"LEDGER_GRACE_MS": "2000"}  # a fill is in the ledger well within that
EXECUTOR_DEFAULTS = {"EXECUTOR_WINDOW_MS": "2000", "EXECUTOR_VENUE_TIMEOUT_MS": "1500"}


@dataclass
class Line:
    """A running line. `apis`, `executors`, `ledgers` and `paper` are its processes."""

    stack: Stack
    database: Database
    folder: Path
    http: httpx.AsyncClient
    pepper: str
    common: Mapping[str, str]
    paper: Running
    paper_url: str
    control_url: str
    apis: list[Running] = field(default_factory=list)
    api_urls: list[str] = field(default_factory=list)
    api_admin_urls: list[str] = field(default_factory=list)
    executors: list[Running] = field(default_factory=list)
    executor_admin_urls: list[str] = field(default_factory=list)
    ledgers: list[Running] = field(default_factory=list)
    ledger_url: str = ""
    ledger_admin_url: str = ""
    admin_key: str = ""

    @property
    def children(self) -> list[Running]:
        return [*self.apis, *self.executors, *self.ledgers, self.paper]

    # making

    def add_api(self) -> Running:
        name, port, admin = f"order-api-{len(self.apis) + 1}", pick_port(), pick_port()
        child = self._add(
            Program(
                name, "order-api", _ready(admin), (port, admin),
                env=self._env("ORDER_API", admin) | {"ORDER_API_PORT": str(port)},
                secrets=self._secrets("ORDER_API", self.database.order_api_url),
            )
        )  # fmt: skip
        self.apis.append(child)
        self.api_urls.append(f"http://127.0.0.1:{port}")
        self.api_admin_urls.append(f"http://127.0.0.1:{admin}")
        return child

    def add_executor(self, extra: Mapping[str, str]) -> Running:
        name, admin = f"executor-{len(self.executors) + 1}", pick_port()
        child = self._add(
            Program(
                name, "executor", _ready(admin), (admin,),
                env=self._env("EXECUTOR", admin) | self._venue("EXECUTOR")
                | EXECUTOR_DEFAULTS | dict(extra),
                secrets=self._secrets("EXECUTOR", self.database.executor_url),
                files={"EXECUTOR_CREDENTIALS": self.folder / "executor-credentials.json"},
            )
        )  # fmt: skip
        self.executors.append(child)
        self.executor_admin_urls.append(f"http://127.0.0.1:{admin}")
        return child

    def add_ledger(self, extra: Mapping[str, str]) -> Running:
        port, admin = pick_port(), pick_port()
        child = self._add(
            Program(
                "ledger", "ledger", _ready(admin), (port, admin),
                env=self._env("LEDGER", admin) | self._venue("LEDGER")
                | {"LEDGER_PORT": str(port)} | LEDGER_DEFAULTS | dict(extra),
                secrets=self._secrets("LEDGER", self.database.ledger_url),
                files={"LEDGER_CREDENTIALS": self.folder / "ledger-credentials.json"},
            )
        )  # fmt: skip
        self.ledgers.append(child)
        self.ledger_url = f"http://127.0.0.1:{port}"
        self.ledger_admin_url = f"http://127.0.0.1:{admin}"
        return child

    def _add(self, program: Program) -> Running:
        return self.stack.child(program, self.folder)

    def _env(self, prefix: str, admin_port: int) -> dict[str, str]:
        inside = self.stack.bootstrap(self.common["KAFKA_BOOTSTRAP"])
        shared = {**self.common, "KAFKA_BOOTSTRAP": inside}
        return {f"{prefix}_{name}": value for name, value in shared.items()} | {
            f"{prefix}_HOST": self.stack.listen,
            f"{prefix}_ADMIN_PORT": str(admin_port),
        }

    def _secrets(self, prefix: str, database_url: str) -> dict[str, str]:
        """The database's URL has a password; executors make no MACs and have no pepper."""
        made = {f"{prefix}_DATABASE_URL": self.stack.database_url(database_url)}
        return made if prefix == "EXECUTOR" else {**made, f"{prefix}_PEPPER": self.pepper}

    def _venue(self, prefix: str) -> dict[str, str]:
        port = int(self.paper_url.rpartition(":")[2])
        url = f"http://{self.stack.address(self.paper.name, port)}"
        return {f"{prefix}_VENUE_URLS": json.dumps({"paper": url})}

    # using

    async def restart(self, child: Running, extra: Mapping[str, str] | None = None) -> None:
        """Start a dead child again (with failpoints in `extra`, or plain) and wait for it."""
        child.start(extra)
        await child.wait_ready(self.http)

    async def admit(self, account: str, uid: int) -> None:
        body = {"account": account, "venue": "paper", "venue_uid": str(uid)}
        await self.admin("POST", "/v1/accounts", body)

    async def admin(self, method: str, path: str, body: Json | None = None) -> Json:
        """One call at the admin port of the first API that runs."""
        alive = [u for c, u in zip(self.apis, self.api_admin_urls, strict=True) if c.running]
        headers = {"Authorization": f"Bearer {self.admin_key}"}
        answer = await self.http.request(method, alive[0] + path, json=body, headers=headers)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        told: Json = answer.json() if answer.content else {}
        return told

    async def make_key(
        self, client: str, accounts: tuple[str, ...] = ("*",), **limits: Any
    ) -> tuple[str, str]:
        """A bot's key: (kid, key)."""
        body = {
            "client": client, "name": client, "scopes": list(SCOPES), "accounts": list(accounts),
            **limits,
        }  # fmt: skip
        told = await self.admin("POST", "/v1/keys", body)
        return told["kid"], told["key"]

    async def control(self, method: str, path: str, body: Json | None = None) -> Json:
        """One call at the paper exchange's control door."""
        answer = await self.http.request(method, self.control_url + path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        told: Json = answer.json()
        return told

    async def arm(self, name: str, **fields: Any) -> None:
        await self.control("POST", "/control/faults", {"name": name, **fields})

    async def creates(self, client_order_id: str) -> list[Json]:
        """Every create that the venue received under this id, executed or refused."""
        rows = (await self.control("GET", "/control/requests?path=/api/v3/order&limit=100000"))[
            "requests"
        ]
        return [
            row
            for row in rows
            if row["method"] == "POST" and row["client_order_id"] == client_order_id
        ]

    async def executed_creates(self, client_order_id: str) -> list[Json]:
        return [row for row in await self.creates(client_order_id) if row["executed"]]

    async def venue_order(self, client_order_id: str) -> Json | None:
        """The venue's row of this client id; an AssertionError when there are two."""
        found = await self.control("GET", f"/control/orders?client_order_id={client_order_id}")
        rows = found["orders"]
        assert len(rows) <= 1, f"{len(rows)} orders of one client id at the venue: {rows}"
        return rows[0] if rows else None

    def tails(self) -> str:
        return "\n".join(child.tail() for child in self.children)

    async def stop(self) -> None:
        """End every process: thaw, SIGTERM to all at once, kill what lingers."""
        for child in self.children:
            child.thaw()
            child.terminate()
        with contextlib.suppress(AssertionError):
            await until(
                lambda: not any(child.running for child in self.children), STOP_S, "line stopped"
            )
        for child in self.children:
            child.kill()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(asyncio.to_thread(child.close) for child in self.children))
        await self.http.aclose()


def _ready(admin_port: int) -> str:
    return f"http://127.0.0.1:{admin_port}/readyz"


@dataclass(frozen=True)
class Shape:
    """How many of what, and what runs them. `executor_env` and `ledger_env` are their settings."""

    apis: int = 1
    executors: int = 1
    ledgers: int = 1
    accounts: tuple[str, ...] = ("paper-1",)
    executor_env: Mapping[str, str] = field(default_factory=dict)
    ledger_env: Mapping[str, str] = field(default_factory=dict)
    paper_flags: tuple[str, ...] = ()
    stack: Stack = field(default_factory=Processes)


@contextlib.asynccontextmanager
async def run_line(
    database: Database, bootstrap: str, prefix: str, folder: Path, shape: Shape
) -> AsyncIterator[Line]:
    """Start a line of this shape and wait until it takes orders; all of it ends with the block."""
    line = _paper_alone(database, bootstrap, prefix, folder, shape)
    async with line:
        try:
            await _start(line, shape)
            yield line
        except BaseException:
            sys.stderr.write(line.tails())
            raise


def _paper_alone(
    database: Database, bootstrap: str, prefix: str, folder: Path, shape: Shape
) -> Line:
    """A line that has only its paper exchange yet, not started."""
    folder.mkdir(parents=True)
    port, control = pick_port(), pick_port()
    control_url = f"http://127.0.0.1:{control}"
    described = Program(
        "paper", "paper-exchange", f"{control_url}/control/health", (port, control),
        arguments=shape.paper_flags,
        env={
            "PAPER_HOST": shape.stack.listen, "PAPER_PORT": str(port),
            "PAPER_CONTROL_PORT": str(control),
        },
        data={"PAPER_DATA": folder / "paper"},
    )  # fmt: skip
    return Line(
        shape.stack, database, folder, httpx.AsyncClient(timeout=ASK_S), secrets.token_hex(32),
        {"KAFKA_BOOTSTRAP": bootstrap, "TOPIC_PREFIX": prefix},
        shape.stack.child(described, folder), f"http://127.0.0.1:{port}", control_url,
    )  # fmt: skip


async def _start(line: Line, shape: Shape) -> None:
    line.paper.start()
    for _ in range(shape.apis):
        line.add_api().start()
    minting = asyncio.create_task(_mint_admin_key(line))
    await line.paper.wait_ready(line.http)
    uids = _write_credentials(line.folder)
    for _ in range(shape.executors):
        line.add_executor(shape.executor_env)
    for _ in range(shape.ledgers):
        line.add_ledger(shape.ledger_env)
    for child in [*line.executors, *line.ledgers]:
        child.start()
    line.admin_key = await minting
    await asyncio.gather(*(child.wait_ready(line.http) for child in line.apis))
    for account in shape.accounts:
        await line.admit(account, uids[account])
    await asyncio.gather(*(child.wait_ready(line.http) for child in line.children))
    _, key = await line.make_key("probe")
    if shape.executors:
        await _wait_for_instruments(line, key, shape.accounts)
        if shape.ledgers:
            await _wait_for_books(line, key)


async def _mint_admin_key(line: Line) -> str:
    """The first admin key, made as an operator makes it."""
    told = await line.apis[0].run(
        "create-key", "--client", "admin", "--scopes", "admin", "--accounts", "*",
        "--name", "admin",
    )  # fmt: skip
    key: str = json.loads(told)["key"]
    return key


def _write_credentials(folder: Path) -> dict[str, int]:
    """The venue's keys as the services read them: trade keys, read keys. Gives account -> uid."""
    accounts = json.loads((folder / "paper" / "keys.json").read_text())["accounts"]
    for service, kind in (("executor", "trade"), ("ledger", "read")):
        path = folder / f"{service}-credentials.json"
        rows = {name: {"venue": "paper", **told[kind]} for name, told in accounts.items()}
        path.touch(mode=0o600)
        path.write_text(json.dumps({"accounts": rows}))
    return {name: told["uid"] for name, told in accounts.items()}


async def _wait_for_instruments(line: Line, key: str, accounts: tuple[str, ...]) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{line.api_urls[0]}/v1/instruments?account={accounts[0]}"

    async def are_there() -> bool:
        answer = await line.http.get(url, headers=headers)
        if answer.status_code != 200:
            return False
        told = answer.json()
        rows = told.get("instruments", []) if isinstance(told, dict) else told
        return bool(rows) and all(row.get("reference_price") for row in rows)

    await until(are_there, READY_S, "the API knows the venue's instruments")


async def _wait_for_books(line: Line, key: str) -> None:
    """Books that open after the first trade would have that trade in their opening."""
    headers = {"Authorization": f"Bearer {key}"}

    async def are_open() -> bool:
        answer = await line.http.get(f"{line.ledger_url}/v1/accounts", headers=headers)
        return answer.status_code == 200 and all(
            row["books"] == "open" for row in answer.json()["accounts"]
        )

    await until(are_open, READY_S, "every account's books are open")
