"""Fixtures that every test may use: real servers, started once and only when a test asks."""

import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from uuid import uuid4

import pytest
from orderonce_cli.stack.layout import Layout

from tests import servers
from tests.containers import images as service_images
from tests.servers import Database, Template
from tests.stacks import choice, engine


def pytest_addoption(parser: pytest.Parser) -> None:
    choice.add_option(parser)


def pytest_sessionstart(session: pytest.Session) -> None:
    choice.require(session.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `stack` runs on each chosen one; a single one leaves its name alone."""
    if "stack" in metafunc.fixturenames:
        stacks = choice.chosen(metafunc.config)
        ids = stacks if len(stacks) > 1 else [pytest.HIDDEN_PARAM]
        metafunc.parametrize("stack", stacks, ids=ids, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    choice.select(config, items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build before the first test: a time limit of one test is not for minutes of building."""
    if not session.config.option.collectonly and choice.need_images(session.items):
        service_images.tags()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if told := choice.say(config):
        terminalreporter.write_line(told)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell fixtures, which end after their test, whether it failed."""
    report = yield
    if report.when in ("setup", "call") and report.failed:
        item.stash[servers.FAILED] = True
    return report


@pytest.fixture(scope="session")
def servers_layout() -> Iterator[Layout]:
    """The folder of this session's servers."""
    with servers.data_layout() as layout:
        yield layout


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The owner's URL of a real PostgreSQL server."""
    given = os.environ.get("ORDERONCE_TEST_POSTGRES")
    if given:
        yield given
        return
    with servers.postgres_server(request.getfixturevalue("servers_layout")) as url:
        yield url


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    """The bootstrap address of a real Kafka."""
    given = os.environ.get("ORDERONCE_TEST_KAFKA")
    if given:
        yield given
        return
    with servers.kafka_server(request.getfixturevalue("servers_layout")) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def engine_session() -> Iterator[None]:
    """Whatever a test makes in the container engine ends with this process."""
    with engine.session():
        yield


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """Service -> image of this checkout, built when there is none of these sources."""
    return service_images.tags()


@pytest.fixture(scope="session")
def database_template(postgres_url: str) -> Iterator[Template]:
    """A database with all migrations; tests get copies."""
    with servers.migrated_template(postgres_url) as template:
        yield template


@pytest.fixture
def database(database_template: Template) -> Iterator[Database]:
    """A fresh migrated database of this test's own."""
    with database_template.copy() as fresh:
        yield fresh


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port that is free, another one at each call."""
    return servers.pick_port


@pytest.fixture
async def topic_prefix(kafka_bootstrap: str) -> AsyncIterator[str]:
    """A prefix whose topics exist and are this test's own."""
    async with servers.topics(kafka_bootstrap, f"t{uuid4().hex[:10]}.") as prefix:
        yield prefix
