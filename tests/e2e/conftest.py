"""The line of the end-to-end tests. It runs in containers or as processes of this machine
(`--stack`), and no test here knows which. What a test may do to it: tests/pool.py.
"""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from tests.line import Line, Shape
from tests.pool import ACCOUNTS, Ground, Pool, ground_of, lend
from tests.servers import Template
from tests.stacks.containers import Site, running
from tests.stacks.processes import Processes
from tests.workload import Bot

SHAPE = Shape(apis=2, executors=2, accounts=ACCOUNTS)


@pytest.fixture(scope="session")
def embedded_ground(database_template: Template, kafka_bootstrap: str) -> Ground:
    return Ground(database_template, kafka_bootstrap, Processes())


@pytest.fixture(scope="session")
def containers_ground(engine_session: None, images: dict[str, str]) -> Iterator[Ground]:
    with running(Site(images)) as site, ground_of(site) as ground:
        yield ground


# Two fixtures and not one with a parameter: both lines may be up, so that tests come in any order.


@pytest.fixture(scope="session")
async def embedded_pool(
    embedded_ground: Ground, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pool]:
    made = Pool(embedded_ground, tmp_path_factory.mktemp("lines"), SHAPE)
    yield made
    await made.drop()


@pytest.fixture(scope="session")
async def containers_pool(
    containers_ground: Ground, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pool]:
    made = Pool(containers_ground, tmp_path_factory.mktemp("lines"), SHAPE)
    yield made
    await made.drop()


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> str:
    """What this test runs on: `--stack` chose."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def pool(request: pytest.FixtureRequest, stack: str) -> Pool:
    """The pool of lines on that stack: real servers either way."""
    chosen: Pool = request.getfixturevalue(f"{stack}_pool")
    return chosen


@pytest.fixture
async def line(pool: Pool, request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    """The line, whole."""
    async for whole in lend(pool, request):
        yield whole


@pytest.fixture
async def bot(line: Line) -> AsyncIterator[Bot]:
    """A bot with a client name of its own that may use every account, through both APIs."""
    _, key = await line.make_key(f"bot-{uuid4().hex[:8]}")
    made = Bot(line.api_urls, key)
    yield made
    await made.close()
