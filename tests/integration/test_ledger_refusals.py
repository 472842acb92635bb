"""What Postgres itself refuses, one attack each, as the service's role and as the owner of the
tables.

Every attack is one statement (or one transaction) against books that hold one opening and one fill.
The owner here is even a superuser: what stops him are triggers, keys and checks, not rights.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from orderonce_ledger.core import Draft, Entry
from psycopg import errors
from psycopg.errors import CheckViolation, InsufficientPrivilege, RestrictViolation

from tests.ledger_books import (
    TRADING,
    WALLET,
    Books,
    attacker,
    fill_books,
    journal_hash,
    opened_books,
)
from tests.servers import Database, Template
from tests.unit.ledger.making import NOON

EVIDENCE = (
    "asset",
    "account",
    "journal",
    "entry",
    "fill",
    "venue_record",
    "recon_run",
    "balance_snapshot",
    "proof",
    "recon_match",
    "break_event",
)
KEPT = ("shard", "balance", "break", "statement_cursor")


@pytest.fixture(scope="module")
async def attacked(database_template: Template) -> AsyncIterator[Database]:
    """One database for all attacks that leave nothing behind."""
    with database_template.copy() as made:
        await fill_books(made)
        yield made


@pytest.fixture(params=["ledger", "owner"])
def books(attacked: Database, request: pytest.FixtureRequest) -> Iterator[Books]:
    with attacker(attacked, request.param) as opened:
        yield opened


@pytest.fixture(params=["ledger", "owner"])
async def own(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Books]:
    """Books of one test's own, for what has to commit."""
    await fill_books(database)
    with attacker(database, request.param) as opened:
        yield opened


def _refused(books: Books, kind: type[Exception], *statement: Any) -> None:
    with pytest.raises(kind):
        books.run(*statement)
    books.connection.rollback()


def test_a_good_journal_is_taken(own: Books) -> None:
    """What the attacks below differ from by one thing each."""
    own.write_journal()
    own.write_entry()
    own.commit()
    row = own.run("SELECT seq, hash FROM ledger.shard").fetchone()
    assert row[0] == own.seq + 1
    assert row[1] == own.journal()["hash"]


# Append-only


@pytest.mark.parametrize("table", [*EVIDENCE, *KEPT])
def test_nothing_is_deleted_or_truncated(books: Books, table: str) -> None:
    kind = InsufficientPrivilege if books.role == "ledger" else RestrictViolation
    _refused(books, kind, f"DELETE FROM ledger.{table}")
    _refused(books, kind, f"TRUNCATE ledger.{table} CASCADE")


@pytest.mark.parametrize("table", EVIDENCE)
def test_nothing_is_changed(books: Books, table: str) -> None:
    columns = books.run(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'ledger'"
        " AND table_name = %s AND is_generated = 'NEVER' AND identity_generation IS NULL",
        table,
    ).fetchall()
    books.connection.rollback()
    assert columns
    kind = InsufficientPrivilege if books.role == "ledger" else RestrictViolation
    for (column,) in columns:
        _refused(books, kind, f"UPDATE ledger.{table} SET {column} = {column}")


@pytest.mark.parametrize("column", ["dr", "cr"])
def test_a_balance_is_not_written_by_hand(books: Books, column: str) -> None:
    kind = InsufficientPrivilege if books.role == "ledger" else RestrictViolation
    _refused(books, kind, f"UPDATE ledger.balance SET {column} = {column} + 1")
    _refused(books, kind, "INSERT INTO ledger.balance (account_id, asset_id) VALUES (1, 1)")


def test_the_head_of_a_chain_is_not_written_by_hand(books: Books) -> None:
    kind = InsufficientPrivilege if books.role == "ledger" else RestrictViolation
    _refused(books, kind, "UPDATE ledger.shard SET seq = 0")
    _refused(books, kind, "UPDATE ledger.shard SET hash = decode(repeat('00', 32), 'hex')")


def test_the_history_of_a_break_is_not_written_by_hand(books: Books) -> None:
    kind = InsufficientPrivilege if books.role == "ledger" else RestrictViolation
    _refused(
        books,
        kind,
        "INSERT INTO ledger.break_event (break_id, step, actor, effect, detail)"
        " VALUES (gen_random_uuid(), 'opened', 'me', '{}', '{}')",
    )


@pytest.mark.parametrize("books", ["ledger"], indirect=True)
def test_the_service_cannot_switch_the_triggers_off(books: Books) -> None:
    """A superuser can: anchors outside of the database are for that."""
    for statement in (
        "ALTER TABLE ledger.journal DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "DROP TRIGGER append_only ON ledger.journal",
        "ALTER TABLE ledger.journal DROP CONSTRAINT journal_pkey",
        "CREATE OR REPLACE FUNCTION ledger.take_entries() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'",
        "CREATE TABLE ledger.mine (x int)",
    ):
        _refused(books, InsufficientPrivilege, statement)


# Amounts


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity", "0", "-1", "1e40", "1e-41"])
def test_an_amount_is_above_zero_and_finite(books: Books, amount: str) -> None:
    books.write_journal()
    with pytest.raises(CheckViolation):
        books.write_entry(amount=Decimal(amount))


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-1"])
@pytest.mark.parametrize("column", ["quantity", "price", "cost"])
def test_a_fill_says_finite_amounts_only(books: Books, column: str, amount: str) -> None:
    values = {"quantity": "1", "price": "1", "cost": "1"} | {column: amount}
    with pytest.raises(CheckViolation):
        books.run(
            "INSERT INTO ledger.fill (shard, seq, account, venue, symbol, trade_id,"
            " venue_order_id, client_order_id, order_id, client, side, quantity, price, cost,"
            " fees, liquidity, traded_at) VALUES (1, 1, 'paper-1', 'paper', 'A/B', '1', '1', 'x',"
            " gen_random_uuid(), 'bot', 'buy', %s::numeric, %s::numeric, %s::numeric, '[]',"
            " 'taker', now())",
            *values.values(),
        )


# Entries


def test_an_entry_of_one_account_with_itself(books: Books) -> None:
    books.write_journal()
    with pytest.raises(CheckViolation):
        books.write_entry(cr=books.ids[WALLET, "BTC"][0])


@pytest.mark.parametrize("side", ["dr", "cr"])
def test_an_entry_between_two_assets_is_not_writable(books: Books, side: str) -> None:
    """One asset per row, both accounts of that asset: an unbalanced journal does not exist."""
    books.write_journal()
    with pytest.raises(errors.ForeignKeyViolation):
        books.write_entry(**{side: books.ids[WALLET, "USDT"][0]})


def test_a_wrong_asset(books: Books) -> None:
    books.write_journal()
    with pytest.raises(errors.ForeignKeyViolation):
        books.write_entry(asset_id=books.ids[WALLET, "USDT"][1])


def test_a_lost_leg(books: Books) -> None:
    books.write_journal(n_entries=2)
    with pytest.raises(CheckViolation, match="declared 2 entries and got 1"):
        books.write_entry()


def test_a_journal_without_entries(books: Books) -> None:
    books.write_journal()
    with pytest.raises(CheckViolation, match="0 entries"):
        books.close()


def test_a_leg_too_many(books: Books) -> None:
    books.write_journal()
    books.write_entry()
    with pytest.raises(CheckViolation, match=r"declared 1 entries and got 1 .* line 2"):
        books.write_entry(line=2)


def test_lines_without_gaps(books: Books) -> None:
    books.write_journal()
    with pytest.raises(CheckViolation, match="the last of them line 2"):
        books.write_entry(line=2)


def test_a_late_leg(books: Books) -> None:
    with pytest.raises(RestrictViolation, match="sealed"):
        books.write_entry(seq=books.seq, line=9)


def test_a_late_leg_after_the_commit_of_its_own_journal(own: Books) -> None:
    own.write_journal()
    own.write_entry()
    own.commit()
    with pytest.raises(RestrictViolation, match="sealed"):
        own.write_entry(line=2)


def test_a_leg_of_no_journal(books: Books) -> None:
    with pytest.raises(errors.ForeignKeyViolation):
        books.write_entry()


# Exactly once


def test_a_second_journal_of_one_key(books: Books) -> None:
    found = books.run("SELECT source_key FROM ledger.journal WHERE kind = 'fill'").fetchone()
    with pytest.raises(errors.UniqueViolation):
        books.write_journal(source_key=found[0])


def test_a_second_reversal(own: Books) -> None:
    reversal = {"kind": "reversal", "reverses_shard": 1, "reverses_seq": 1}
    entry = Entry(WALLET, TRADING, "BTC", Decimal("0.10"), "base")
    for number, key in enumerate(("first", "second")):
        row = own.journal(**reversal, source_key=key)
        draft = Draft("reversal", "fill", key, b"\1" * 32, NOON, (entry,))
        row |= {"seq": own.seq + 1 + number, "prev_hash": own.head}
        row["hash"] = journal_hash(1, row["seq"], own.head, draft, reverses="1-1")
        if number == 0:
            own.write_journal(**row)
            own.write_entry()
            own.commit()
            own.head = row["hash"]
        else:
            with pytest.raises(errors.UniqueViolation):
                own.write_journal(**row)


def test_a_reversal_of_nothing(books: Books) -> None:
    with pytest.raises(errors.ForeignKeyViolation):
        books.write_journal(kind="reversal", reverses_shard=1, reverses_seq=99)
    books.connection.rollback()
    with pytest.raises(CheckViolation):
        books.write_journal(kind="reversal")


# The chain


def test_a_gap(books: Books) -> None:
    with pytest.raises(CheckViolation, match="chain broken"):
        books.write_journal(seq=books.seq + 2)


def test_a_fork(books: Books) -> None:
    first = books.run("SELECT prev_hash FROM ledger.journal WHERE seq = 2").fetchone()[0]
    with pytest.raises((CheckViolation, errors.UniqueViolation)):
        books.write_journal(prev_hash=first)
    books.connection.rollback()
    with pytest.raises(errors.UniqueViolation):
        books.write_journal(seq=books.seq)


def test_a_made_up_previous_hash(books: Books) -> None:
    with pytest.raises(CheckViolation, match="chain broken"):
        books.write_journal(prev_hash=b"\7" * 32)


def test_two_writers_cannot_both_append(own: Books, database: Database) -> None:
    """Neither takes the lock: the second meets the first in the primary key, whatever it read
    before."""
    own.write_journal()
    own.write_entry()
    with psycopg.connect(database.ledger_url) as other:
        other.execute("SET lock_timeout = '300ms'")
        second = opened_books("ledger", other)
        other.execute("SET lock_timeout = '300ms'")
        with pytest.raises(errors.LockNotAvailable):
            second.write_journal(source_key="another")
        other.rollback()
        own.commit()
        with pytest.raises((errors.UniqueViolation, CheckViolation)):
            second.write_journal(source_key="another")


@pytest.mark.parametrize(
    "lie",
    [
        {"hash": b"\7" * 32},
        {"source_key": "another key"},
        {"source": "somewhere else"},
        {"payload_hash": b"\2" * 32},
        {"event_at": NOON + timedelta(microseconds=1)},
        {"kind": "opening"},
    ],
)
def test_a_hash_that_is_not_that_of_the_content(books: Books, lie: dict[str, Any]) -> None:
    books.write_journal(**lie)
    with pytest.raises(CheckViolation, match="not that of its content"):
        books.write_entry()


@pytest.mark.parametrize("other", ["amount", "scale", "accounts", "role"])
def test_a_hash_over_other_entries(books: Books, other: str) -> None:
    wallet, trading = books.ids[WALLET, "BTC"][0], books.ids[TRADING, "BTC"][0]
    lies: dict[str, dict[str, Any]] = {
        "amount": {"amount": Decimal("0.11")},
        "scale": {"amount": Decimal("0.100")},
        "accounts": {"dr": trading, "cr": wallet},
        "role": {"role": "quote"},
    }
    books.write_journal()
    with pytest.raises(CheckViolation, match="not that of its content"):
        books.write_entry(**lies[other])


def test_a_chain_begins_at_its_genesis(books: Books) -> None:
    if books.role == "ledger":
        _refused(
            books,
            InsufficientPrivilege,
            "INSERT INTO ledger.shard (account, venue, opened_at, hash)"
            " VALUES ('x', 'paper', now(), decode(repeat('00', 32), 'hex'))",
        )
        return
    books.run(
        "INSERT INTO ledger.shard (account, venue, opened_at, seq, hash)"
        " VALUES ('x', 'paper', now(), 7, decode(repeat('00', 32), 'hex'))"
    )
    row = books.run("SELECT shard, seq, hash FROM ledger.shard WHERE account = 'x'").fetchone()
    text = json.dumps(["orderonce.ledger.v1", str(row[0]), "x"])
    assert (row[1], row[2]) == (0, hashlib.sha256(text.encode()).digest())


def test_a_forged_time_or_transaction(books: Books) -> None:
    if books.role == "ledger":
        for column, value in (("recorded_at", NOON), ("xid", "1")):
            with pytest.raises(InsufficientPrivilege):
                books.write_journal(**{column: value})
            books.connection.rollback()
    else:
        with pytest.raises(CheckViolation, match="chain broken"):
            books.write_journal(xid="1")


# What is kept besides the journals


@pytest.mark.parametrize("books", ["owner"], indirect=True)
def test_a_floor_holds_where_there_is_one(books: Books) -> None:
    """Tried as the owner: the service sets no floors, since it records and does not approve."""
    path = "transit:paper"
    asset = books.ids[WALLET, "BTC"][1]
    new = books.run(
        "INSERT INTO ledger.account (path, asset_id, class, floor) VALUES (%s, %s, 'A', 0)"
        " RETURNING account_id",
        path,
        asset,
    ).fetchone()[0]
    books.write_journal()
    with pytest.raises(CheckViolation):
        books.write_entry(cr=new)


def test_a_match_is_exclusive_on_both_sides(own: Books) -> None:
    own.run(
        "INSERT INTO ledger.recon_run (run_id, account, status, full_history, asked_by,"
        " started_at, statement_at)"
        " VALUES ('00000000-0000-0000-0000-000000000001', 'paper-1', 'ok', true, 'x', now(), now())"
    )
    add = (
        "INSERT INTO ledger.recon_match (record_id, shard, seq, run_id, account)"
        " VALUES (%s, 1, %s, '00000000-0000-0000-0000-000000000001', 'paper-1')"
    )
    record = own.run("SELECT record_id FROM ledger.venue_record").fetchone()[0]
    own.run(add, record, own.seq)
    own.commit()
    for taken in ((record, 1), (record, own.seq)):
        with pytest.raises(errors.UniqueViolation):
            own.run(add, *taken)
        own.connection.rollback()


def test_a_break_keeps_its_identity_and_a_bare_balance_has_no_effect(own: Books) -> None:
    add = (
        "INSERT INTO ledger.break (break_id, account, type, natural_key, status, effect, detail)"
        " VALUES (gen_random_uuid(), 'paper-1', %s, %s, 'open', %s, '{}')"
    )
    own.run(add, "QTY", "k", '{"BTC": "1"}')
    own.commit()
    with pytest.raises(errors.UniqueViolation):
        own.run(add, "QTY", "k", "{}")
    own.connection.rollback()
    with pytest.raises(CheckViolation):
        own.run(add, "BALANCE", "k", '{"BTC": "1"}')
    own.connection.rollback()
    kind = InsufficientPrivilege if own.role == "ledger" else RestrictViolation
    for change in ("type = 'PRICE'", "natural_key = 'x'", "first_seen = now()"):
        _refused(own, kind, f"UPDATE ledger.break SET {change}")
    steps = own.run("SELECT step FROM ledger.break_event").fetchall()
    assert steps == [("opened",)]


def test_a_proof_is_computed_by_the_database(books: Books) -> None:
    with pytest.raises((errors.GeneratedAlways, InsufficientPrivilege)):
        books.run(
            "INSERT INTO ledger.proof (run_id, account, asset, venue_balance, ledger_balance,"
            " explained, in_flight, proof) VALUES (gen_random_uuid(), 'x', 'BTC', 1, 2, 0, 0, 0)"
        )


def test_the_kept_balances_are_the_sums_of_the_postings(books: Books) -> None:
    wrong = books.run(
        "SELECT count(*) FROM ledger.balance b FULL JOIN (SELECT account_id, sum(amount) AS amount"
        " FROM ledger.posting GROUP BY 1) p USING (account_id)"
        " WHERE b.dr - b.cr IS DISTINCT FROM coalesce(p.amount, 0)"
    ).fetchone()
    assert wrong == (0,)
    zero = books.run("SELECT asset_id, sum(amount) FROM ledger.posting GROUP BY 1").fetchall()
    assert all(total == 0 for _, total in zero)
