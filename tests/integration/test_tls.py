"""The line over TLS: Kafka by SASL_SSL with SCRAM-SHA-512, Postgres with sslmode=verify-full, each
service with its own user and no other right than deploy/kubernetes gives it. And what an operator
is told when something of it is wrong.
"""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from orderonce_cli.stack.layout import Layout
from orderonce_shared.runtime.kafka_security import OPEN, why_refused

from tests import servers
from tests.line import Line, Shape, run_line, until
from tests.secured import (
    SecuredProcesses,
    SecureKafka,
    SecurePostgres,
    new_authority,
    secure_kafka,
    secure_postgres,
)
from tests.servers import pick_port
from tests.stacks.processes import Child, Processes
from tests.workload import Bot, market_order, new_key

pytestmark = pytest.mark.timeout(240)  # two servers and a whole line of their own come up first

PREFIX = "tls."
SERVICES = {"order-api": "ORDER_API", "executor": "EXECUTOR", "ledger": "LEDGER"}
WRONG = "a-wrong-password-that-no-log-may-show"
TOLD_S = 30.0  # a cold Python, three at once


@dataclass
class World:
    line: Line
    stack: SecuredProcesses
    kafka: SecureKafka
    postgres: SecurePostgres
    stranger: Path  # the CA file of somebody else


@pytest.fixture(scope="module")
def layout() -> Iterator[Layout]:
    with servers.data_layout() as made:
        yield made


@pytest.fixture(scope="module")
async def world(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("tls")
    folder.chmod(0o755)
    ours = new_authority(folder / "ours")
    stranger = new_authority(folder / "stranger", "somebody else").ca
    async with AsyncExitStack() as stack:
        kafka = await asyncio.to_thread(stack.enter_context, secure_kafka(layout, ours, PREFIX))
        postgres = stack.enter_context(secure_postgres(layout, ours))
        template = stack.enter_context(servers.migrated_template(postgres.owner_url))
        database = stack.enter_context(template.copy())
        topics = make_topics(kafka)
        assert topics.returncode == 0, topics.stderr
        processes = SecuredProcesses(kafka)
        line = await stack.enter_async_context(
            run_line(database, kafka.bootstrap, PREFIX, folder / "line", Shape(stack=processes))
        )
        yield World(line, processes, kafka, postgres, stranger)


def make_topics(kafka: SecureKafka, **changed: str) -> "subprocess.CompletedProcess[str]":
    """The topics job as an operator runs it, as its own user."""
    env = {
        "KAFKA_BOOTSTRAP": kafka.bootstrap,
        "KAFKA_TOPIC_PREFIX": PREFIX,
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_USERNAME": "topics",
        "KAFKA_PASSWORD": kafka.passwords["topics"],
        "KAFKA_CA_FILE": kafka.admin.ca_file,
        **changed,
    }
    return subprocess.run(
        [sys.executable, "-m", "orderonce_shared.runtime.kafka"],
        env={**os.environ, **env}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


async def test_an_order_goes_from_http_to_the_ledger_over_tls(world: World) -> None:
    line = world.line
    await line.control(
        "POST", "/control/price", {"symbol": "BTCUSDT", "bid": "60000", "ask": "60001"}
    )
    _, key = await line.make_key("secured")
    bot = Bot(line.api_urls, key)
    placed = (await bot.place(market_order(), new_key())).told()
    await bot.wait_for(placed["order_id"], "filled")

    async def is_booked() -> bool:
        answer = await line.http.get(
            f"{line.ledger_url}/v1/fills",
            params={"order_id": placed["order_id"]},
            headers={"Authorization": f"Bearer {key}"},
        )
        return answer.status_code == 200 and len(answer.json()["fills"]) > 0

    await until(is_booked, 20, "the fill is in the ledger")
    await bot.close()
    with psycopg.connect(world.postgres.superuser_url) as connection:
        sessions = connection.execute(
            "SELECT usename, bool_and(ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)"
            " WHERE usename IS NOT NULL AND client_addr IS NOT NULL GROUP BY usename"
        ).fetchall()
    assert set(sessions) >= {("order_api", True), ("executor", True), ("ledger", True)}
    assert all(encrypted for _, encrypted in sessions)


async def test_no_secret_is_in_a_log(world: World) -> None:
    logs = b"".join(path.read_bytes() for path in world.line.folder.glob("*.log"))
    assert b"started" in logs
    password = urlsplit(world.postgres.owner_url).password
    assert password
    for secret in (password, *world.kafka.passwords.values()):
        assert secret.encode() not in logs


async def test_whoever_comes_without_tls_is_not_heard(world: World) -> None:
    told = await why_refused(world.kafka.bootstrap, replace(OPEN, prefix="EXECUTOR_"))
    assert told is not None
    assert "EXECUTOR_KAFKA_SECURITY_PROTOCOL" in told
    named = replace(world.kafka.security("executor"), protocol="SASL_PLAINTEXT", ca_file="")
    assert await why_refused(world.kafka.bootstrap, named) is not None
    bare = world.postgres.owner_url.partition("?")[0] + "?sslmode=disable"
    with pytest.raises(psycopg.OperationalError, match="no pg_hba"):
        psycopg.connect(bare, connect_timeout=5)


async def test_tls_older_than_1_2_is_refused_by_us(world: World) -> None:
    context = world.kafka.admin.context()
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


@dataclass(frozen=True)
class Trouble:
    """One thing wrong, and the words that an operator must read. `{P}` is the service's prefix."""

    name: str
    change: Callable[[World, str, dict[str, str]], dict[str, str]]
    words: tuple[str, ...]


def _kafka_ca(world: World, prefix: str, env: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}_KAFKA_CA_FILE": str(world.stranger)}


def _kafka_name(world: World, prefix: str, env: dict[str, str]) -> dict[str, str]:
    port = world.kafka.bootstrap.rpartition(":")[2]
    return {f"{prefix}_KAFKA_BOOTSTRAP": f"localhost:{port}"}


def _kafka_password(world: World, prefix: str, env: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}_KAFKA_PASSWORD": WRONG}


def _kafka_open(world: World, prefix: str, env: dict[str, str]) -> dict[str, str]:
    return {
        f"{prefix}_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        **{f"{prefix}_KAFKA_{name}": "" for name in ("USERNAME", "PASSWORD", "CA_FILE")},
    }


def _url(env: dict[str, str], prefix: str, **changed: str) -> dict[str, str]:
    name = f"{prefix}_DATABASE_URL"
    parts = urlsplit(env[name])
    host = changed.get("host", parts.hostname or "")
    password = quote(changed.get("password", parts.password or ""))
    query = changed.get("query", parts.query)
    made = parts._replace(netloc=f"{parts.username}:{password}@{host}:{parts.port}", query=query)
    return {name: urlunsplit(made)}


def _database_ca(world: World, prefix: str, env: dict[str, str]) -> dict[str, str]:
    return _url(env, prefix, query=f"sslmode=verify-full&sslrootcert={world.stranger}")


def _database_name(world: World, prefix: str, env: dict[str, str]) -> dict[str, str]:
    return _url(env, prefix, host="localhost")


def _database_password(world: World, prefix: str, env: dict[str, str]) -> dict[str, str]:
    return _url(env, prefix, password=WRONG)


def _database_open(world: World, prefix: str, env: dict[str, str]) -> dict[str, str]:
    return _url(env, prefix, query="sslmode=disable")


TROUBLES = [
    Trouble("kafka: wrong CA", _kafka_ca, ("{P}_KAFKA_CA_FILE", "stranger/ca.pem", "certificate")),
    Trouble("kafka: another name", _kafka_name, ("{P}_KAFKA_CA_FILE", "localhost")),
    Trouble("kafka: wrong password", _kafka_password, ("{P}_KAFKA_PASSWORD", "SCRAM-SHA-512")),
    Trouble("kafka: no TLS", _kafka_open, ("{P}_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")),
    Trouble("database: wrong CA", _database_ca, ("{P}_DATABASE_URL", "sslrootcert", "stranger")),
    Trouble("database: another name", _database_name, ("{P}_DATABASE_URL", "localhost")),
    Trouble("database: wrong password", _database_password, ("{P}_DATABASE_URL", "refuses")),
    Trouble("database: no TLS", _database_open, ("{P}_DATABASE_URL", "no pg_hba.conf entry")),
]  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
async def test_a_service_that_is_refused_says_why_and_is_not_ready(
    world: World, trouble: Trouble, tmp_path: Path
) -> None:
    """Guards: `why_refused`, `pool_when_ready`, and the check of certificate and name itself."""
    started = [
        (prefix, start_wrong(world, service, prefix, trouble, tmp_path))
        for service, prefix in SERVICES.items()
    ]
    try:
        for prefix, child in started:
            words = [word.format(P=prefix) for word in trouble.words]
            said = await wait_told(world.line.http, child, words)
            log = child.log.read_text()
            assert all(word in log for word in words), log
            assert WRONG not in log + said
            assert not [p for p in world.kafka.passwords.values() if p in log + said]
    finally:
        for _, child in started:
            child.kill()


def start_wrong(world: World, service: str, prefix: str, trouble: Trouble, folder: Path) -> Child:
    """One more process of a service, with the trouble in its settings."""
    programs = (p for p in world.stack.programs.values() if p.service == service)
    program = next(programs)
    admin = pick_port()
    ports = {f"{prefix}_ADMIN_PORT": str(admin)}
    if service != "executor":
        ports[f"{prefix}_PORT"] = str(pick_port())
    child = Processes().child(
        replace(
            program,
            ready_url=f"http://127.0.0.1:{admin}/readyz",
            env={**program.env, **ports},
        ),
        folder,
    )
    child.start(trouble.change(world, prefix, child.env))
    return child


async def wait_told(http: httpx.AsyncClient, child: Child, words: list[str]) -> str:
    """Waits until /readyz says 503 with all of these words; gives what it said."""
    said = "nothing"

    async def is_told() -> bool:
        nonlocal said
        assert child.running, f"it ended with {child.exit_code}\n{child.tail()}"
        with suppress(httpx.TransportError):
            answer = await http.get(child.ready_url)
            said = f"{answer.status_code} {answer.text}"
            assert answer.status_code == 503, said
        return all(word in said for word in words)

    try:
        await until(is_told, TOLD_S, f"{child.name} says {words}")
    except AssertionError as error:
        raise AssertionError(f"{error}; it said {said}\n{child.tail()}") from None
    return said


def test_the_jobs_say_why_they_are_refused(world: World) -> None:
    refused = make_topics(world.kafka, KAFKA_PASSWORD=WRONG)
    assert refused.returncode != 0
    assert "KAFKA_PASSWORD" in refused.stderr
    assert WRONG not in refused.stderr
    stranger = make_topics(world.kafka, KAFKA_CA_FILE=str(world.stranger))
    assert "KAFKA_CA_FILE" in stranger.stderr
    parts = urlsplit(world.postgres.owner_url)
    env = {
        "MIGRATE_DATABASE_URL": urlunsplit(
            parts._replace(query=f"sslmode=verify-full&sslrootcert={world.stranger}")
        ),
        **{f"MIGRATE_{role.upper()}_PASSWORD": WRONG for role in servers.ROLES},
    }
    migrate = subprocess.run(
        [sys.executable, "-m", "orderonce_shared.runtime.migrate"],
        env={**os.environ, **env}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert migrate.returncode != 0
    assert "MIGRATE_DATABASE_URL" in migrate.stderr
    assert "certificate verify failed" in migrate.stderr
    assert "Traceback" not in migrate.stderr + refused.stderr + stranger.stderr
    assert WRONG not in migrate.stderr
    assert (parts.password or "?") not in migrate.stderr


async def test_a_user_may_do_nothing_that_is_not_its_own(world: World) -> None:
    """The rights of users.yaml are rights, and not just accepted: the ledger may not place."""
    security = world.kafka.security("ledger")
    producer = AIOKafkaProducer(bootstrap_servers=world.kafka.bootstrap, **security.client())
    await producer.start()
    try:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(f"{PREFIX}orders.commands", b"forged")
    finally:
        await producer.stop()
