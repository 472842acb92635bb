"""Migrations survive their own runner: a kill -9 between two of them must not stop the next."""

import concurrent.futures
from pathlib import Path

import psycopg
import pytest
from orderonce_shared.runtime.migrate import apply_migrations, migration_folders

from tests.servers import Database

DEAD_PID = 4_000_000  # above any pid_max in use


@pytest.mark.timeout(20)
def test_a_runner_that_was_killed_does_not_block_the_next_one(database: Database) -> None:
    with psycopg.connect(database.owner_url) as connection:
        connection.execute(
            "INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), %s)", (DEAD_PID,)
        )
    assert apply_migrations(database.owner_url) == []


@pytest.mark.timeout(60)
def test_two_runners_on_an_empty_database_share_the_work(postgres_url: str) -> None:
    name = "t_two_migrations"
    url = postgres_url.rsplit("/", 1)[0] + "/" + name
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    try:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            first, second = pool.map(apply_migrations, (url, url))
        assert sorted(first + second) == sorted(
            file.stem for folder in migration_folders() for file in Path(folder).glob("*.sql")
        )
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
