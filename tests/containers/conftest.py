"""What the container tests share: a site with a line on it, whose servers and cables a test may
treat as it likes; and that everything in the engine ends with the session.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest

from tests.containers.field import Field, open_field
from tests.line import Shape
from tests.pool import Ground, Pool, ground_of, lend
from tests.stacks.containers import Site, running

ACCOUNTS = ("paper-1", "paper-2", "paper-3", "paper-4")


@pytest.fixture(scope="session", autouse=True)
def _owned(engine_session: None) -> None:
    """Every test here may make containers."""


@pytest.fixture(scope="session")
def ground(images: dict[str, str]) -> Iterator[Ground]:
    with running(Site(images)) as site, ground_of(site) as made:
        yield made


@pytest.fixture(scope="session")
async def pool(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pool]:
    shape = Shape(apis=2, executors=3, accounts=ACCOUNTS)
    made = Pool(ground, tmp_path_factory.mktemp("lines"), shape)
    yield made
    await made.drop()


@pytest.fixture
async def field(ground: Ground, pool: Pool, request: pytest.FixtureRequest) -> AsyncIterator[Field]:
    """Two APIs, three executors, a ledger, an exchange, all well; and a bot that may use them."""
    site = cast(Site, ground.stack)
    await asyncio.to_thread(site.mend)
    async for line in lend(pool, request):
        async with open_field(site, line, ACCOUNTS) as made:
            yield made
