"""A stack's real Postgres and Kafka through every kind of death: nothing left, nothing lost."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from filelock import FileLock
from orderonce_cli.stack import children, jars, layout, ports
from orderonce_cli.stack.layout import Layout

pytestmark = pytest.mark.timeout(300)

LIMIT_S = 120.0
COMMAND = (sys.executable, "-m", "orderonce_cli")


class Stack:
    """The command line, pointed at one data folder."""

    def __init__(self, root: Path, **env: str) -> None:
        self.where = Layout(root)
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
        self.env = {**os.environ, "PYTHONPATH": paths, **env}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments, "--data", str(self.where.root)],
            env=self.env, capture_output=True, text=True, timeout=LIMIT_S,
        )  # fmt: skip

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments, "--data", str(self.where.root)],
            env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def up(self) -> dict[str, Any]:
        done = self.run("up", "--infrastructure", "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("status", "--json").stdout))

    def assert_nothing_left(self) -> None:
        assert children.leftovers(self.where, []) == []
        for name, port in ports.kept(self.where).items():
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0, name


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="orderonce-stack-"))
    yield folder
    Stack(folder).run("down", "--wipe")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stack(root: Path) -> Stack:
    return Stack(root)


def pid_of(shown: dict[str, Any], name: str) -> int:
    return int(next(p["pid"] for p in shown["processes"] if p["name"] == name))


def _runs(pid: int) -> bool:
    try:
        return not children.has_ended(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def until(true: Callable[[], bool], limit_s: float = 30.0) -> float:
    """Wait for a condition; gives how long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < limit_s
        time.sleep(0.02)
    return time.monotonic() - began


def write_row(shown: dict[str, Any], note: str) -> None:
    with psycopg.connect(shown["postgres"]) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS notes (note text)")
        connection.execute("INSERT INTO notes VALUES (%s)", [note])


def rows(shown: dict[str, Any]) -> list[str]:
    with psycopg.connect(shown["postgres"]) as connection:
        return [row[0] for row in connection.execute("SELECT note FROM notes")]


async def write_record(shown: dict[str, Any], topic: str, value: bytes) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=shown["kafka"])
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(
        bootstrap_servers=shown["kafka"], acks="all", enable_idempotence=True
    )
    await producer.start()
    await producer.send_and_wait(topic, value)
    await producer.stop()


async def record(shown: dict[str, Any], topic: str) -> bytes:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=shown["kafka"], auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            return bytes((await consumer.getone()).value)
    finally:
        await consumer.stop()


@pytest.mark.parametrize("victims", ["supervisor", "everything"])
async def test_after_kill_9_the_next_up_has_all_data_and_no_leftover(
    stack: Stack, victims: str
) -> None:
    before = stack.up()
    write_row(before, victims)
    await write_record(before, f"kept-{victims}", victims.encode())
    old = [before["supervisor"], *(p["pid"] for p in before["processes"])]
    doomed = old if victims == "everything" else old[:1]
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    assert stack.status()["state"] == "crashed"
    after = stack.up()
    assert after["state"] == "ready"
    assert not set(old) & {p["pid"] for p in after["processes"]}
    assert not [pid for pid in old if _runs(pid)]
    assert victims in rows(after)
    assert await record(after, f"kept-{victims}") == victims.encode()
    assert (after["kafka"], after["postgres"]) == (before["kafka"], before["postgres"])


@pytest.mark.parametrize("killed", [False, True])
def test_down_leaves_nothing_and_loses_nothing(stack: Stack, killed: bool) -> None:
    shown, note = stack.up(), f"kept-{killed}"
    write_row(shown, note)
    if killed:
        os.kill(shown["supervisor"], signal.SIGKILL)
    assert stack.run("down").returncode == 0
    stack.assert_nothing_left()
    assert stack.run("status").returncode == 3
    assert note in rows(stack.up())


def test_a_killed_server_is_started_again_within_a_second(stack: Stack) -> None:
    shown = stack.up()
    for name in ("postgres", "kafka"):
        old = pid_of(shown, name)
        os.kill(old, signal.SIGKILL)
        assert until(lambda name=name, old=old: written(stack, name) != old) < 1.0
    until(lambda: _answers(stack.status()))


def written(stack: Stack, name: str) -> int:
    return int(json.loads(stack.where.state.read_text())["children"][name][0])


def _answers(shown: dict[str, Any]) -> bool:
    try:
        with psycopg.connect(shown["postgres"], connect_timeout=2) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    host, port = shown["kafka"].split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_a_second_up_finds_the_running_stack_and_another_shape_is_refused(stack: Stack) -> None:
    first = stack.up()
    assert stack.up()["supervisor"] == first["supervisor"]
    other = stack.run("up", "--executors", "2")
    assert other.returncode == 1
    assert "orderonce down" in other.stderr


def test_an_up_beside_another_up_is_told_so(stack: Stack) -> None:
    stack.up()
    with FileLock(stack.where.up_lock):
        other = stack.run("up", "--infrastructure")
    assert other.returncode == 1
    assert "Another `orderonce up`" in other.stderr


def test_two_ups_at_once_make_one_stack(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "data")
    try:
        both = [stack.spawn("up", "--infrastructure") for _ in range(2)]
        said = [process.communicate(timeout=LIMIT_S)[1] for process in both]
        codes = sorted(process.returncode for process in both)
        assert codes[0] == 0, said
        assert codes[1] == 0 or any("Another `orderonce up`" in text for text in said)
        assert len(stack.status()["processes"]) == 2
    finally:
        stack.run("down", "--wipe")
    stack.assert_nothing_left()


def test_a_port_in_use_is_named_and_nothing_is_left_running(stack: Stack) -> None:
    stack.up()
    stack.run("down")
    taken = ports.kept(stack.where)["kafka"]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", taken))
        other.listen()
        refused = stack.run("up", "--infrastructure")
    assert refused.returncode == 1
    assert f"Port {taken}" in refused.stderr
    assert f"process {os.getpid()}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert children.leftovers(stack.where, []) == []


def test_a_tampered_jar_is_refused_by_name(tmp_path: Path, root: Path) -> None:
    real = layout.cache_folder(Layout(root))
    jars.ensure(real, print)
    folder = next(path for path in real.glob("kafka-*") if path.is_dir())
    forged = tmp_path / "cache" / folder.name
    shutil.copytree(folder, forged)
    victim = next(forged.glob("kafka-clients-*.jar"))
    with victim.open("ab") as file:
        file.write(b"\0")
    stack = Stack(tmp_path / "data", ORDERONCE_CACHE=str(tmp_path / "cache"))
    try:
        refused = stack.run("up", "--infrastructure")
        assert refused.returncode == 1
        assert f"{victim.name} differs from the lock" in refused.stderr
        stack.assert_nothing_left()
    finally:
        stack.run("down", "--wipe")


def test_ctrl_c_ends_a_foreground_stack_and_leaves_nothing(stack: Stack) -> None:
    stack.run("down")
    process = stack.spawn("up", "--infrastructure", "--foreground", "--json")
    until(lambda: stack.status()["state"] == "ready", LIMIT_S)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=LIMIT_S)
    assert json.loads(shown)["state"] == "ready"
    assert process.returncode == 0
    stack.assert_nothing_left()


def test_ctrl_c_while_starting_stops_what_was_started(stack: Stack) -> None:
    stack.run("down")
    process = stack.spawn("up", "--infrastructure")
    until(lambda: children.leftovers(stack.where, []) != [])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    stack.assert_nothing_left()


def test_fresh_wipes(stack: Stack) -> None:
    write_row(stack.up(), "old")
    shown = stack.run("up", "--infrastructure", "--fresh", "--json")
    with psycopg.connect(json.loads(shown.stdout)["postgres"]) as connection:
        found = connection.execute("SELECT to_regclass('notes')").fetchone()
    assert found == (None,)


def test_postgres_is_durable_and_lets_nobody_in_without_a_password(stack: Stack) -> None:
    url = stack.up()["postgres"]
    with psycopg.connect(url) as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",), name
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        methods = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
        assert methods.fetchall() == [("scram-sha-256",)]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(url.split(":")[2].split("@")[0], "wrong"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_disk_that_is_too_small_is_a_sentence(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)])
    if mounted.returncode != 0:
        pytest.skip("this root may not mount")
    try:
        refused = Stack(disk / "data").run("up", "--infrastructure")
        assert refused.returncode == 1
        assert f"at least {layout.MIN_FREE_MB} MB" in refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)
