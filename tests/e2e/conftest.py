"""One line for all end-to-end tests: mended before each, made anew after a failure.

A test may kill, freeze, halt or skew whatever it likes. What it must do is settle its own orders,
and use an account of its own where it leaves the venue's book different from the ledger.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests import servers
from tests.line import Line, Shape, run_line
from tests.servers import FAILED, Template
from tests.workload import Bot

ACCOUNTS = tuple(f"paper-{n}" for n in range(1, 9))
QUOTES = {
    "BTCUSDT": ("60000.00", "60001.00"),
    "ETHUSDT": ("3000.00", "3000.10"),
    "SOLUSDT": ("150.00", "150.02"),
    "WEIUSDT": ("1.00", "1.01"),
}


class Pool:
    """Holds the one line; `fresh` throws a spoilt one away."""

    def __init__(self, template: Template, bootstrap: str, folder: Path) -> None:
        self._template = template
        self._bootstrap = bootstrap
        self._folder = folder
        self._stack: contextlib.AsyncExitStack | None = None
        self._line: Line | None = None

    async def line(self) -> Line:
        if self._line is None:
            self._stack = contextlib.AsyncExitStack()
            database = self._stack.enter_context(self._template.copy())
            name = uuid4().hex[:10]
            prefix = await self._stack.enter_async_context(
                servers.topics(self._bootstrap, f"e{name}.")
            )
            shape = Shape(apis=2, executors=2, accounts=ACCOUNTS)
            self._line = await self._stack.enter_async_context(
                run_line(database, self._bootstrap, prefix, self._folder / name, shape)
            )
        return self._line

    async def drop(self) -> None:
        self._line = None
        if self._stack is not None:
            await self._stack.aclose()
            self._stack = None


@pytest.fixture(scope="session")
async def pool(
    database_template: Template, kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pool]:
    made = Pool(database_template, kafka_bootstrap, tmp_path_factory.mktemp("lines"))
    yield made
    await made.drop()


@pytest.fixture
async def line(pool: Pool, request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    """The line, whole: every process up and ready, no fault armed, the first quotes."""
    whole = await pool.line()
    await mend(whole)
    yield whole
    if request.node.stash.get(FAILED, False):
        print(whole.tails())  # noqa: T201 (shown with the failure)
        await pool.drop()


async def mend(line: Line) -> None:
    """Undo what the test before did."""
    for child in line.children:
        child.thaw()
        if child.failing:
            child.kill()
        if not child.running:
            child.start()
    for child in line.children:
        await child.wait_ready(line.http)
    await line.control("DELETE", "/control/faults")
    for symbol, (bid, ask) in QUOTES.items():
        await line.control("POST", "/control/price", {"symbol": symbol, "bid": bid, "ask": ask})
    for account in (await line.admin("GET", "/v1/accounts"))["accounts"]:
        if account["halted"]:
            await line.admin("POST", f"/v1/accounts/{account['account']}/resume")


@pytest.fixture
async def bot(line: Line) -> AsyncIterator[Bot]:
    """A bot with a client name of its own that may use every account, through both APIs."""
    _, key = await line.make_key(f"bot-{uuid4().hex[:8]}")
    made = Bot(line.api_urls, key)
    yield made
    await made.close()
