"""Every named query of every service is PREPAREd on a migrated database, as that service's role.

The server itself checks tables, columns, functions, types and syntax: a misspelt column fails here
with the server's own hint, in a millisecond. EXPLAIN of the prepared statement then checks the
role's rights on every table and column, without touching a row.
"""

import contextlib
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
from orderonce_shared.runtime.queries import load_queries

from tests.servers import Database, Template

SERVICES = {
    "order_api": "orderonce_api",
    "executor": "orderonce_executor",
    "ledger": "orderonce_ledger",
}
PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES")  # the others have no plan

Connection = psycopg.Connection[tuple[object, ...]]


def _queries() -> list[tuple[str, str, str]]:
    """(role, name, statement) of every named query."""
    found: list[tuple[str, str, str]] = []
    for role, package in SERVICES.items():
        for path in sorted(Path(str(files(package))).rglob("*.sql")):
            if "migrations" not in path.parts:
                found += [(role, name, text) for name, text in load_queries(path).items()]
    return found


ALL = _queries()


@pytest.fixture(scope="module")
def migrated(database_template: Template) -> Iterator[Database]:
    with database_template.copy() as database:
        yield database


@pytest.fixture(scope="module")
def connections(migrated: Database) -> Iterator[dict[str, Connection]]:
    """One connection per role, rolled back after each query."""
    with contextlib.ExitStack() as stack:
        urls = {role: getattr(migrated, f"{role}_url") for role in SERVICES}
        yield {role: stack.enter_context(psycopg.connect(url)) for role, url in urls.items()}


@pytest.mark.parametrize(
    ("role", "name", "statement"), [pytest.param(*row, id=f"{row[0]}.{row[1]}") for row in ALL]
)
def test_query_is_prepared(
    connections: dict[str, Connection], role: str, name: str, statement: str
) -> None:
    first_word = re.sub(r"--[^\n]*\n", "", statement).split(maxsplit=1)[0].upper()
    with _undone(connections[role]) as connection:
        if first_word in PLANNED:
            _run(connection, f"PREPARE tried AS {statement}")
            _run(connection, f"EXPLAIN EXECUTE tried{_nulls(connection)}")
        else:
            _run(connection, statement)


def test_each_service_has_queries() -> None:
    assert {role for role, _, _ in ALL} == set(SERVICES)


def test_a_misspelt_column_and_a_missing_right_are_seen(
    connections: dict[str, Connection],
) -> None:
    """What the test above stands on: PREPARE sees names, EXPLAIN sees rights."""
    with _undone(connections["ledger"]) as connection:
        with pytest.raises(psycopg.errors.UndefinedColumn):
            _run(connection, "PREPARE tried AS SELECT acount FROM control.account")
        connection.rollback()
        _run(connection, "PREPARE tried AS UPDATE control.account SET halted = true")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            _run(connection, "EXPLAIN EXECUTE tried")


@pytest.mark.parametrize("role", SERVICES)
def test_a_role_cannot_read_another_schema(connections: dict[str, Connection], role: str) -> None:
    own = {"order_api": "api", "executor": "executor", "ledger": "ledger"}
    owner_of = {schema: name for name, schema in own.items()}
    for schema in owner_of:
        if owner_of[schema] == role:
            continue
        allowed = connections[role].execute(
            "SELECT has_schema_privilege(current_user, %s, 'USAGE')", [schema]
        )
        assert allowed.fetchone() == (False,)
        connections[role].rollback()


@contextlib.contextmanager
def _undone(connection: Connection) -> Iterator[Connection]:
    """The connection; as it was before when the block ends (PREPARE outlives a rollback)."""
    try:
        yield connection
    finally:
        connection.rollback()
        _run(connection, "DEALLOCATE ALL")
        connection.rollback()


def _run(connection: Connection, statement: str) -> None:
    connection.execute(statement.encode())


def _nulls(connection: Connection) -> str:
    """A NULL for each parameter of the statement that was prepared."""
    row = connection.execute(
        "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'tried'"
    ).fetchone()
    assert row is not None
    count = int(str(row[0]))
    return f"({', '.join(['NULL'] * count)})" if count else ""
