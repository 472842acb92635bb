"""Real servers for the tests: one PostgreSQL and one Kafka per test session, on free ports.

They are the embedded stack's own, in a folder of their own, tied to this process: a kill -9 of the
tests ends them too. ORDERONCE_TEST_POSTGRES (an owner's URL) and ORDERONCE_TEST_KAFKA (a bootstrap
address) name running servers to use instead.
"""

import asyncio
import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import psutil
import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from orderonce_cli.stack import kafka, layout, postgres
from orderonce_cli.stack.children import Spec, launched, marked
from orderonce_cli.stack.layout import Layout
from orderonce_shared.contracts.topics import PARTITIONS, prefixed
from orderonce_shared.runtime.kafka import ensure_topics
from orderonce_shared.runtime.migrate import apply_migrations, set_passwords
from psycopg import sql
from pydantic import SecretStr

POSTGRES_READY_S = 60.0
KAFKA_READY_S = 90.0  # a cold Java on two busy cores
FIRST_PORT, LAST_PORT = 12_000, 19_999  # below the ephemeral range and the embedded stack's own
FOLDER_PREFIX = "orderonce-test-"
FAILED = pytest.StashKey[bool]()  # set on a test's node when it failed
ROLES = ("order_api", "executor", "ledger")

_given: dict[int, int] = {}  # port -> the open file whose lock says that it is ours


def pick_port() -> int:
    """A port that nobody listens on now, and that no other session is given while this one lives:
    a server that starts seconds later must not find another suite's there."""
    while True:
        port = random.SystemRandom().randint(FIRST_PORT, LAST_PORT)
        if port in _given or (held := _hold(port)) is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                os.close(held)
                continue
        _given[port] = held
        return port


def _hold(port: int) -> int | None:
    """The lock on a port's name, which the kernel takes back from the dead; None: another's."""
    folder = Path(tempfile.gettempdir()) / f"orderonce-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    held = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    return held


def wait_until(check: Callable[[], bool], limit_s: float, what: str) -> None:
    """Ask until the answer is yes; AssertionError with `what` when the limit has passed."""
    deadline = time.monotonic() + limit_s
    while not check():
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:.0f} s"
        time.sleep(0.05)


@contextlib.contextmanager
def data_layout() -> Iterator[Layout]:
    """A data folder for this session's servers, named by this process; removed at the end."""
    _remove_orphans()
    folder = Path(tempfile.gettempdir()) / f"{FOLDER_PREFIX}{os.getpid()}-{uuid4().hex[:6]}"
    chosen = Layout(folder)
    layout.prepare(chosen)
    try:
        yield chosen
    finally:
        _remove(chosen)


def _remove(chosen: Layout) -> None:
    shutil.rmtree(chosen.postgres, ignore_errors=True)
    shutil.rmtree(chosen.root, ignore_errors=True)


def _remove_orphans() -> None:
    """Folders of sessions that were killed: their servers died with them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        pid = folder.name.removeprefix(FOLDER_PREFIX).split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            _remove(Layout(folder))


@contextlib.contextmanager
def child(spec: Spec, chosen: Layout) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a child of this process; stopped politely at the end, killed if it lingers."""
    with chosen.log(spec.name).open("ab") as log:
        process = subprocess.Popen(
            launched(spec), env=marked(spec.env, chosen), cwd=spec.cwd,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(spec.stop_signal)
        try:
            process.wait(spec.stop_limit_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def postgres_server(chosen: Layout) -> Iterator[str]:
    """A running PostgreSQL; gives its owner's URL."""
    port = pick_port()
    postgres.prepare(chosen)
    with child(postgres.spec(chosen, port, {"PATH": os.defpath}), chosen) as process:
        wait_until(
            lambda: _alive(process, chosen, "postgres") and postgres.is_ready(chosen, port),
            POSTGRES_READY_S,
            "PostgreSQL is ready",
        )
        yield postgres.url(chosen, port)


@contextlib.contextmanager
def kafka_server(chosen: Layout) -> Iterator[str]:
    """A running Kafka; gives its bootstrap address."""
    ports = {"kafka": pick_port(), "kafka-controller": pick_port()}
    class_path = kafka.prepare(chosen, ports, print)
    with child(kafka.spec(chosen, class_path, {"PATH": os.defpath}), chosen) as process:
        wait_until(
            lambda: _alive(process, chosen, "kafka") and kafka_answers(ports["kafka"]),
            KAFKA_READY_S,
            "Kafka is ready",
        )
        yield f"127.0.0.1:{ports['kafka']}"


def kafka_answers(port: int) -> bool:
    """Whether the broker at that port serves; to be asked outside of a running loop."""
    with asyncio.Runner() as runner:  # not asyncio.run: it would forget the tests' own loop
        return runner.run(kafka.is_ready(port))


def _alive(process: subprocess.Popen[bytes], chosen: Layout, name: str) -> bool:
    if process.poll() is not None:
        tail = chosen.log(name).read_text(errors="replace")[-2000:]
        raise AssertionError(f"{name} ended with code {process.returncode}:\n{tail}")
    return True


@contextlib.asynccontextmanager
async def topics(bootstrap: str, prefix: str, copies: int = 1) -> AsyncIterator[str]:
    """All topics under this prefix, deleted at the end."""
    await ensure_topics(bootstrap, copies, prefix)
    try:
        yield prefix
    finally:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([prefixed(prefix, name) for name in PARTITIONS])
        finally:
            await admin.close()


@dataclass(frozen=True)
class Database:
    """One database of a test: how its owner and each service connect."""

    name: str
    owner_url: str
    order_api_url: str
    executor_url: str
    ledger_url: str


@dataclass(frozen=True)
class Template:
    """A migrated database that is copied for every test."""

    server_url: str
    name: str
    password: str

    @contextlib.contextmanager
    def copy(self) -> Iterator[Database]:
        """A fresh migrated database, dropped at the end whoever is still connected."""
        name = f"t_{os.getpid()}_{uuid4().hex[:10]}"
        with maintenance(self.server_url) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(self.name)
                )
            )
        try:
            roles = {role: self._url(name, role) for role in ROLES}
            yield Database(
                name,
                with_database(self.server_url, name),
                roles["order_api"],
                roles["executor"],
                roles["ledger"],
            )
        finally:
            drop_database(self.server_url, name)

    def _url(self, database: str, role: str) -> str:
        parts = urlsplit(with_database(self.server_url, database))
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{role}:{quote(self.password)}@{host}"))


@contextlib.contextmanager
def migrated_template(server_url: str) -> Iterator[Template]:
    """All migrations applied once. Role passwords are the cluster's: the owner's own serves."""
    name = f"template_{os.getpid()}_{uuid4().hex[:6]}"
    password = urlsplit(server_url).password
    assert password, "the owner's URL needs a password"
    with maintenance(server_url) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        apply_migrations(with_database(server_url, name))
        set_passwords(
            with_database(server_url, "postgres"), dict.fromkeys(ROLES, SecretStr(password))
        )
        yield Template(server_url, name, password)
    finally:
        drop_database(server_url, name)


def with_database(url: str, name: str) -> str:
    """The same URL for another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def maintenance(server_url: str) -> psycopg.Connection[tuple[object, ...]]:
    """The owner's connection to the database that every server has."""
    return psycopg.connect(with_database(server_url, "postgres"), autocommit=True)


def drop_database(server_url: str, name: str) -> None:
    """Drop it whoever is connected; a server that a test killed for good has none any more."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with contextlib.suppress(psycopg.OperationalError), maintenance(server_url) as connection:
        connection.execute(statement)
