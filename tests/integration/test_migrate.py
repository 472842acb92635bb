"""Migrations survive their own runner: a kill -9 between two of them must not stop the next."""

import concurrent.futures
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from orderonce_shared.runtime import migrate
from orderonce_shared.runtime.migrate import apply_migrations, migration_folders
from yoyo.backends.base import DatabaseBackend

from tests.servers import Database

FIRST = "0001_"  # what the oldest installation has
DEAD_PID = 4_000_000  # above any pid_max in use


@pytest.mark.timeout(20)
def test_a_runner_that_was_killed_does_not_block_the_next_one(database: Database) -> None:
    with psycopg.connect(database.owner_url) as connection:
        connection.execute(
            "INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), %s)", (DEAD_PID,)
        )
    assert apply_migrations(database.owner_url) == []


@contextlib.contextmanager
def empty_database(postgres_url: str, name: str) -> Iterator[str]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield postgres_url.rsplit("/", 1)[0] + "/" + name
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def files_of(url: str) -> dict[str, int]:
    """The file of each of our tables: another one means that the table was written anew."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT oid::regclass::text, relfilenode FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace IN ('api'::regnamespace, 'executor'::regnamespace)"
        ).fetchall()
    return dict(found)


@pytest.fixture
def old_installation(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A database as the oldest installation has it."""
    for number, folder in enumerate(migration_folders()):
        (tmp_path / str(number)).mkdir()
        for file in Path(folder).glob(f"{FIRST}*.sql"):
            shutil.copy(file, tmp_path / str(number))
    with empty_database(postgres_url, "t_upgrade") as url:
        with monkeypatch.context() as patched:
            patched.setattr(
                migrate, "migration_folders", lambda: [str(one) for one in tmp_path.iterdir()]
            )
            assert all(name.startswith(FIRST) for name in apply_migrations(url))
        yield url


@pytest.mark.timeout(60)
def test_an_upgrade_writes_no_table_anew(old_installation: str) -> None:
    """All orders of all time lie in them: nothing would be accepted or sent meanwhile."""
    before = files_of(old_installation)
    assert apply_migrations(old_installation)
    after = files_of(old_installation)
    assert {name: after[name] for name in before} == before


@pytest.mark.timeout(60)
def test_an_upgrade_does_not_queue_behind_a_long_reader(
    old_installation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes after a waiting ALTER TABLE waits too: accepts would stand still for as long as
    a backup reads."""
    monkeypatch.setattr(migrate, "TABLE_WAIT_S", 0.5)
    with psycopg.connect(old_installation) as backup:
        backup.execute("SELECT count(*) FROM api.orders")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            apply_migrations(old_installation)
        with psycopg.connect(old_installation) as service:
            service.execute("SET lock_timeout = '1s'")
            service.execute("SELECT count(*) FROM api.orders")
    assert apply_migrations(old_installation)


@pytest.mark.timeout(60)
def test_two_runners_on_an_empty_database_share_the_work(postgres_url: str) -> None:
    with empty_database(postgres_url, "t_two_migrations") as url:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            first, second = pool.map(apply_migrations, (url, url))
        assert sorted(first + second) == sorted(
            file.stem for folder in migration_folders() for file in Path(folder).glob("*.sql")
        )


@pytest.mark.timeout(60)
def test_a_runner_that_dies_before_its_note_has_done_nothing(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next one meets what the file makes, and no migration ever runs again."""

    def dies(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with empty_database(postgres_url, "t_dying_migration") as url:
        with monkeypatch.context() as patched:
            patched.setattr(DatabaseBackend, "mark_one", dies)
            with pytest.raises(RuntimeError, match="killed"):
                apply_migrations(url)

        assert apply_migrations(url)
