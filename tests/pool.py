"""One line for many tests: mended before each, made anew after a failure.

A test may kill, freeze, cut off, halt or skew whatever it likes. What it must do is settle its own
orders, and use an account of its own where it leaves the venue's book different from the ledger.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from tests import servers
from tests.line import Line, Shape, run_line
from tests.servers import FAILED, Template
from tests.stacks.containers import Site
from tests.stacks.program import Stack

ACCOUNTS = tuple(f"paper-{n}" for n in range(1, 9))
QUOTES = {
    "BTCUSDT": ("60000.00", "60001.00"),
    "ETHUSDT": ("3000.00", "3000.10"),
    "SOLUSDT": ("150.00", "150.02"),
    "WEIUSDT": ("1.00", "1.01"),
}


@dataclass(frozen=True)
class Ground:
    """What a line stands on: databases and Kafka as the tests reach them, and what runs it."""

    template: Template
    bootstrap: str
    stack: Stack
    copies: int = 1  # of each topic


@contextlib.contextmanager
def ground_of(site: Site) -> Iterator[Ground]:
    """A site's Postgres and Kafka, with every migration done."""
    with servers.migrated_template(site.postgres_url) as template:
        yield Ground(template, site.bootstrap_outside, site, min(3, len(site.kafkas)))


class Pool:
    """Holds the one line; `drop` throws a spoilt one away."""

    def __init__(self, ground: Ground, folder: Path, shape: Shape) -> None:
        self._ground = ground
        self._folder = folder
        self._shape = replace(shape, stack=ground.stack)
        self._stack: contextlib.AsyncExitStack | None = None
        self._line: Line | None = None

    async def line(self) -> Line:
        if self._line is None:
            async with contextlib.AsyncExitStack() as made:
                self._line = await self._new_line(made)
                self._stack = made.pop_all()
        return self._line

    async def _new_line(self, made: contextlib.AsyncExitStack) -> Line:
        """A line that ends with `made`, half-started or whole."""
        database = made.enter_context(self._ground.template.copy())
        bootstrap, name = self._ground.bootstrap, uuid4().hex[:10]
        topics = servers.topics(bootstrap, f"e{name}.", self._ground.copies)
        prefix = await made.enter_async_context(topics)
        running = run_line(database, bootstrap, prefix, self._folder / name, self._shape)
        return await made.enter_async_context(running)

    async def drop(self) -> None:
        self._line = None
        if self._stack is not None:
            await self._stack.aclose()
            self._stack = None


async def lend(pool: Pool, request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    """The body of a fixture: the line, whole (every process up and ready, no fault armed, the first
    quotes); thrown away when its test fails."""
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
