"""Every named query of every service is PREPAREd on a migrated database, as that service's role.

The server itself checks tables, columns, functions, types and syntax: a misspelt column fails here
with the server's own hint, in a millisecond. EXPLAIN of the prepared statement then checks the
role's rights on every table and column, without touching a row. And since a service keeps the plan
that it gets on empty tables, EXPLAIN also shows here which index that plan goes by.
"""

import contextlib
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest
from orderonce_shared.runtime.database import BY_KEY
from orderonce_shared.runtime.queries import load_queries

from tests.servers import Database, Template

SERVICES = {
    "order_api": "orderonce_api",
    "executor": "orderonce_executor",
    "ledger": "orderonce_ledger",
}
PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES")  # the others have no plan

# Tables that grow with every order. To read one of them whole is what makes an old database slow.
GROWING = {"orders", "order_event", "fill", "placement", "command", "attempt", "journal", "entry",
           "venue_record", "recon_match", *(f"idempotency_key_{n}" for n in range(8))}  # fmt: skip
SCANS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan"}
PAGES = {"list_fills"}  # newest first, and only as far as one page

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


def _has_a_plan(statement: str) -> bool:
    first_word = re.sub(r"--[^\n]*\n", "", statement).split(maxsplit=1)[0].upper()
    return first_word in PLANNED


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
    with _undone(connections[role]) as connection:
        if _has_a_plan(statement):
            _run(connection, f"PREPARE tried AS {statement}")
            _run(connection, f"EXPLAIN EXECUTE tried{_nulls(connection)}")
        else:
            _run(connection, statement)


@pytest.mark.parametrize(
    ("role", "name", "statement"),
    [pytest.param(*row, id=f"{row[0]}.{row[1]}") for row in ALL if _has_a_plan(row[2])],
)
def test_query_finds_its_rows_by_an_index_on_tables_that_nobody_analyzed(
    migrated: Database, role: str, name: str, statement: str
) -> None:
    """The plan of a service's connection, made before the first row: it stays the plan when there
    are millions."""
    with _connected_as_a_service(migrated, role) as connection:
        partial = _partial_indexes(connection)
        whole = [
            node
            for node in _plan(connection, statement)
            if node.get("Relation Name") in GROWING
            and node["Node Type"] in SCANS
            and "Index Cond" not in node
            and node.get("Index Name") not in partial
        ]
    assert not whole or name in PAGES, whole


def test_orders_are_looked_up_in_their_own_indexes(migrated: Database) -> None:
    """Not in the index of a client's newest orders, which has the client too."""
    query = next(text for _, name, text in ALL if name == "follow_events")
    with _connected_as_a_service(migrated, "order_api") as connection:
        used = {
            node["Index Name"]
            for node in _plan(connection, query)
            if node.get("Relation Name") == "orders" and "Index Name" in node
        }
    assert used <= {"orders_pkey", "orders_client_key_key"}, used


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


def _connected_as_a_service(database: Database, role: str) -> Connection:
    settings = {**BY_KEY, "plan_cache_mode": "force_generic_plan"}
    options = " ".join(f"-c {key}={value}" for key, value in settings.items())
    return psycopg.connect(getattr(database, f"{role}_url"), options=options)


def _plan(connection: Connection, statement: str) -> list[dict[str, Any]]:
    """All nodes of the plan that the server keeps for a prepared statement."""
    _run(connection, f"PREPARE tried AS {statement}")
    explain = f"EXPLAIN (FORMAT JSON) EXECUTE tried{_nulls(connection)}"
    row: Any = connection.execute(explain.encode()).fetchone()
    return list(_nodes(row[0][0]["Plan"]))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)


def _partial_indexes(connection: Connection) -> set[str]:
    """Indexes of a few rows only, such as the orders that are not final."""
    rows = connection.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indpred IS NOT NULL"
    )
    return {str(name).rpartition(".")[2] for (name,) in rows.fetchall()}
