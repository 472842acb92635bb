"""Whatever ends a session of tests, the engine keeps nothing of it, and two sessions never meet."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.servers import pick_port, wait_until
from tests.stacks import engine

ROOT = Path(__file__).resolve().parents[2]
# A shell starts background jobs with Ctrl-C turned off, and children inherit that.
START = (
    "import pytest, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "sys.exit(pytest.main(sys.argv[1:]))"
)
UP_S = 90.0  # a Python, a Kafka and a Postgres beside whatever else runs
GONE_S = 60.0
INNER = """
import time
from pathlib import Path

from tests.stacks import containers


def test_has_a_site(engine_session: None, tmp_path: Path) -> None:
    with containers.running(containers.Site({})) as site:
        Path(__import__("os").environ["TOLD"]).write_text(site.postgres_url)
        time.sleep(float(__import__("os").environ["STAY_S"]))
"""


class Session:
    """A pytest of its own that holds a Kafka, a Postgres, networks and volumes."""

    def __init__(self, folder: Path, stay_s: float) -> None:
        folder.mkdir()
        self._told = folder / "told"
        (folder / "conftest.py").write_text("from tests.conftest import engine_session\n")
        (folder / "test_inner.py").write_text(INNER)
        env = {**os.environ, "TOLD": str(self._told), "STAY_S": str(stay_s)}
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, "-q", "-p", "no:cacheprovider",
                 "--rootdir", str(folder), "--import-mode=importlib", str(folder)],
                env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.owner = engine.owner(self.process.pid)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_up(self) -> str:
        """Wait until its servers run; gives the URL of its Postgres."""
        wait_until(self._is_up, UP_S, "the inner session's servers run")
        return self._told.read_text()

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.log
        return self._told.exists() and bool(self._told.read_text())


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[list[Session]]:
    """Two sessions that stay until they are ended."""
    made = [Session(tmp_path / name, 600) for name in ("one", "two")]
    yield made
    for session in made:
        session.process.kill()
        session.process.wait()


@pytest.mark.timeout(240)
def test_two_sessions_do_not_meet_and_leave_nothing(sessions: list[Session]) -> None:
    """Side by side they have servers of their own; Ctrl-C ends one and kill -9 the other, and a
    minute later the engine has nothing of either.

    Guard: ports held by a lock, names drawn, labels with the owner, a watcher that outlives it.
    """
    urls = {session.wait_up() for session in sessions}
    assert len(urls) == 2
    assert all(engine.left_by(session.owner) >= 6 for session in sessions)
    polite, rude = sessions
    polite.process.send_signal(signal.SIGINT)
    assert polite.process.wait(GONE_S) == pytest.ExitCode.INTERRUPTED, polite.log
    assert engine.left_by(polite.owner) == 0
    assert engine.left_by(rude.owner) >= 6  # the end of one is not the other's
    rude.process.kill()
    rude.process.wait()
    wait_until(lambda: engine.left_by(rude.owner) == 0, GONE_S, "the watcher has removed all")


def test_the_next_session_removes_what_a_dead_one_left() -> None:
    """As after a power cut: the owner and its watcher are gone, their things are not.

    Guard: a new session sweeps what has no living owner.
    """
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    owner = f"{engine.owner().rsplit('/', 2)[0]}/{dead.pid}/{time.time():.0f}"
    made = engine.client().networks.create(
        f"orderonce-test-left-{dead.pid}", labels={engine.OWNER: owner}
    )
    try:
        assert engine.left_by(owner) == 1
        engine.sweep_orphans()
        assert engine.left_by(owner) == 0
    finally:
        if engine.left_by(owner):
            made.remove()


def test_a_port_is_given_once_on_this_machine() -> None:
    """Guard: the lock on a port's name; a port alone is free until its server starts."""
    port = pick_port()
    asked = subprocess.run(
        [sys.executable, "-c", f"from tests import servers; print(servers._hold({port}))"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert asked.stdout.strip() == "None"


def test_owners_are_told_apart_by_their_start() -> None:
    """A number that another process took over is not the owner.

    Guard: the start time in the label.
    """
    node, pid, started = engine.owner().rsplit("/", 2)
    assert psutil.pid_exists(int(pid))
    assert engine._lives(f"{node}/{pid}/{started}")
    assert not engine._lives(f"{node}/{pid}/{float(started) - 3600:.0f}")
