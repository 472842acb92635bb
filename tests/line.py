"""The straight line as real processes: order APIs, executors, ledger, paper exchange.

Each Line has a database, a topic prefix and a data folder of its own. Tests kill, freeze and
restart its processes; whatever a test does, its end leaves no process behind. A failing test
prints the tail of every log.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
from orderonce_cli.stack.children import LAUNCH

from tests.servers import Database, pick_port

Json = dict[str, Any]

READY_S = 45.0  # a cold Python with ccxt, five at once on two busy cores
STOP_S = 12.0  # services promise 10 s
ASK_S = 10.0
POLL_S = 0.05
TAIL_BYTES = 3_000
# Without byte code on disk every start of a service would compile all of its libraries anew.
INHERITED = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
SCOPES = ("orders:read", "orders:write", "orders:cancel", "ledger:read")

# Windows short enough that R7's three steps take seconds: window, 1 s step allowance, 2 s late
# visibility of the paper venue.
LEDGER_DEFAULTS = {"LEDGER_GRACE_MS": "2000"}  # a fill is in the ledger well within that
EXECUTOR_DEFAULTS = {"EXECUTOR_WINDOW_MS": "2000", "EXECUTOR_VENUE_TIMEOUT_MS": "1500"}


class Child:
    """One service process that can be killed, frozen and started again on the same ports."""

    def __init__(
        self, name: str, arguments: tuple[str, ...], env: Mapping[str, str], ready: str, log: Path
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.env = dict(env)
        self.ready_url = ready
        self.log = log
        self.failing = False  # runs with failpoints or other settings of one test
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The code with which it ended (negative: a signal); None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self, extra: Mapping[str, str] | None = None) -> None:
        """Spawn it, tied to this process: the kernel kills it when the tests die."""
        assert not self.running, f"{self.name} runs already"
        self.failing = bool(extra)
        tied = [str(int(signal.SIGKILL)), str(os.getpid()), "-1", "-1"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCH), *tied, sys.executable, *self.arguments],
                env={**INHERITED, **self.env, **(extra or {})},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_S)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    async def stop(self) -> None:
        """SIGTERM, and wait for the end that it promises."""
        self.signal(signal.SIGTERM)
        await until(lambda: not self.running, STOP_S, f"{self.name} has stopped")

    async def wait_dead(self, limit_s: float = 20.0) -> int:
        """Wait until it has ended by itself (a failpoint); gives the exit code."""
        await until(lambda: not self.running, limit_s, f"{self.name} has died")
        code = self.exit_code
        assert code is not None
        return code

    async def wait_ready(self, http: httpx.AsyncClient) -> None:
        last = "no answer"

        async def is_ready() -> bool:
            nonlocal last
            assert self.running, f"{self.name} ended with {self.exit_code}:\n{self.tail()}"
            try:
                answer = await http.get(self.ready_url)
            except httpx.HTTPError as error:
                last = repr(error)
                return False
            last = answer.text
            return answer.status_code == 200

        try:
            await until(is_ready, READY_S, f"{self.name} is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}; last answer: {last}\n{self.tail()}") from None

    def tail(self) -> str:
        if not self.log.exists():
            return ""
        text = self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        return f"--- {self.log.name}\n{text}"


async def until(check: Callable[[], bool | Awaitable[bool]], limit_s: float, what: str) -> None:
    """Ask again and again until the answer is yes; AssertionError naming `what` at the limit."""
    deadline = time.monotonic() + limit_s
    while True:
        answer = check()
        if await answer if not isinstance(answer, bool) else answer:
            return
        assert time.monotonic() < deadline, f"{what}: not within {limit_s} s"
        await asyncio.sleep(POLL_S)


@dataclass
class Line:
    """A running line. `apis`, `executors`, `ledgers` and `paper` are its processes."""

    database: Database
    folder: Path
    http: httpx.AsyncClient
    pepper: str
    common: Mapping[str, str]
    paper: Child
    paper_url: str
    control_url: str
    apis: list[Child] = field(default_factory=list)
    api_urls: list[str] = field(default_factory=list)
    api_admin_urls: list[str] = field(default_factory=list)
    executors: list[Child] = field(default_factory=list)
    executor_admin_urls: list[str] = field(default_factory=list)
    ledgers: list[Child] = field(default_factory=list)
    ledger_url: str = ""
    ledger_admin_url: str = ""
    admin_key: str = ""

    @property
    def children(self) -> list[Child]:
        return [*self.apis, *self.executors, *self.ledgers, self.paper]

    # making

    def add_api(self) -> Child:
        port, admin = pick_port(), pick_port()
        env = self._env("ORDER_API", self.database.order_api_url, admin)
        env |= {"ORDER_API_PORT": str(port), "ORDER_API_PEPPER": self.pepper}
        child = self._child(f"order-api-{len(self.apis) + 1}", "orderonce_api", env, admin)
        self.apis.append(child)
        self.api_urls.append(f"http://127.0.0.1:{port}")
        self.api_admin_urls.append(f"http://127.0.0.1:{admin}")
        return child

    def add_executor(self, extra: Mapping[str, str]) -> Child:
        admin = pick_port()
        env = self._env("EXECUTOR", self.database.executor_url, admin)
        env |= EXECUTOR_DEFAULTS | dict(extra)
        env |= {
            "EXECUTOR_CREDENTIALS": str(self.folder / "executor-credentials.json"),
            "EXECUTOR_VENUE_URLS": json.dumps({"paper": self.paper_url}),
        }
        name = f"executor-{len(self.executors) + 1}"
        child = self._child(name, "orderonce_executor", env, admin)
        self.executors.append(child)
        self.executor_admin_urls.append(f"http://127.0.0.1:{admin}")
        return child

    def add_ledger(self, extra: Mapping[str, str]) -> Child:
        port, admin = pick_port(), pick_port()
        env = self._env("LEDGER", self.database.ledger_url, admin)
        env |= LEDGER_DEFAULTS | dict(extra)
        env |= {
            "LEDGER_PORT": str(port),
            "LEDGER_PEPPER": self.pepper,
            "LEDGER_CREDENTIALS": str(self.folder / "ledger-credentials.json"),
            "LEDGER_VENUE_URLS": json.dumps({"paper": self.paper_url}),
        }
        child = self._child("ledger", "orderonce_ledger", env, admin)
        self.ledgers.append(child)
        self.ledger_url = f"http://127.0.0.1:{port}"
        self.ledger_admin_url = f"http://127.0.0.1:{admin}"
        return child

    def _env(self, prefix: str, database_url: str, admin_port: int) -> dict[str, str]:
        shared = {f"{prefix}_{name}": value for name, value in self.common.items()}
        return shared | {
            f"{prefix}_DATABASE_URL": database_url,
            f"{prefix}_HOST": "127.0.0.1",
            f"{prefix}_ADMIN_PORT": str(admin_port),
        }

    def _child(self, name: str, module: str, env: dict[str, str], admin: int) -> Child:
        ready = f"http://127.0.0.1:{admin}/readyz"
        return Child(name, ("-m", module), env, ready, self.folder / f"{name}.log")

    # using

    async def restart(self, child: Child, extra: Mapping[str, str] | None = None) -> None:
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
            child.signal(signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            await until(
                lambda: not any(child.running for child in self.children), STOP_S, "line stopped"
            )
        for child in self.children:
            child.kill()

    async def kill(self) -> None:
        for child in self.children:
            child.kill()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        await self.http.aclose()


@dataclass(frozen=True)
class Shape:
    """How many of what. `executor_env` and `ledger_env` are settings of these processes."""

    apis: int = 1
    executors: int = 1
    ledgers: int = 1
    accounts: tuple[str, ...] = ("paper-1",)
    executor_env: Mapping[str, str] = field(default_factory=dict)
    ledger_env: Mapping[str, str] = field(default_factory=dict)
    paper_flags: tuple[str, ...] = ()


@contextlib.asynccontextmanager
async def run_line(
    database: Database, bootstrap: str, prefix: str, folder: Path, shape: Shape
) -> AsyncIterator[Line]:
    """Start a line of this shape and wait until it takes orders; all of it ends with the block."""
    (folder / "paper").mkdir(parents=True)
    port, control = pick_port(), pick_port()
    control_url = f"http://127.0.0.1:{control}"
    paper = Child(
        "paper",
        ("-m", "orderonce_paper", "--data", str(folder / "paper"), "--port", str(port),
         "--control-port", str(control), *shape.paper_flags),
        {}, f"{control_url}/control/health", folder / "paper.log",
    )  # fmt: skip
    line = Line(
        database, folder, httpx.AsyncClient(timeout=ASK_S), secrets.token_hex(32),
        {"KAFKA_BOOTSTRAP": bootstrap, "TOPIC_PREFIX": prefix},
        paper, f"http://127.0.0.1:{port}", control_url,
    )  # fmt: skip
    async with line:
        try:
            await _start(line, shape)
            yield line
        except BaseException:
            sys.stderr.write(line.tails())
            raise


async def _start(line: Line, shape: Shape) -> None:
    line.paper.start()
    for _ in range(shape.apis):
        line.add_api()
    minting = asyncio.create_task(_mint_admin_key(line))
    await line.paper.wait_ready(line.http)
    uids = _write_credentials(line.folder)
    for _ in range(shape.executors):
        line.add_executor(shape.executor_env)
    for _ in range(shape.ledgers):
        line.add_ledger(shape.ledger_env)
    for child in [*line.apis, *line.executors, *line.ledgers]:
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
    env = {**INHERITED, **line.apis[0].env}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orderonce_api", "create-key", "--client", "admin",
        "--scopes", "admin", "--accounts", "*", "--name", "admin",
        env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, f"create-key: {err.decode(errors='replace')}"
    key: str = json.loads(out)["key"]
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
