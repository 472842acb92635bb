"""What Postgres refuses of many rows at once: a bad journal hides among good ones, comes after a
check that passed, or comes in pieces.

The ledger's checks look at whole statements (migration 0002), so each attack here is one on that:
what must be refused differs from the good batch of the first test by one thing.
"""

import json
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest
from orderonce_ledger.core import Draft, Entry, chain
from psycopg import errors
from psycopg.errors import CheckViolation, ForeignKeyViolation, RestrictViolation

from tests.ledger_books import TRADING, WALLET, Books, attacker, fill_books
from tests.servers import Database, Template
from tests.unit.ledger.making import NOON

JOURNAL = ("shard", "seq", "kind", "source", "source_key", "payload_hash", "event_at",
           "n_entries", "prev_hash", "hash")  # fmt: skip
ENTRY = ("shard", "seq", "line", "asset_id", "dr", "cr", "amount", "role")
AMOUNT = Decimal("0.10")
SIZE, BAD = 5, 2  # journals of a batch, and which of them is touched
IMMEDIATE, DEFERRED = "SET CONSTRAINTS ALL IMMEDIATE", "SET CONSTRAINTS ALL DEFERRED"
FILL = (
    "INSERT INTO ledger.fill (shard, seq, account, venue, symbol, trade_id, venue_order_id,"
    " client_order_id, order_id, client, side, quantity, price, cost, fees, liquidity, traded_at)"
    " VALUES (%s, %s, %s, 'paper', 'BTC/USDT', '7', '7', 'x', gen_random_uuid(), 'bot', 'buy', 1,"
    " 1, 1, '[]', 'taker', now())"
)

Row = dict[str, Any]


@pytest.fixture(scope="module")
async def attacked(database_template: Template) -> AsyncIterator[Database]:
    with database_template.copy() as made:
        await fill_books(made)
        yield made


@pytest.fixture(params=["ledger", "owner"])
def books(attacked: Database, request: pytest.FixtureRequest) -> Iterator[Books]:
    with attacker(attacked, request.param) as opened:
        yield opened


def _batch(books: Books, source_key: str = "key") -> tuple[list[Row], list[Row]]:
    """Journals of two lines each, one chain, and their entries: all of it right."""
    moved = (Entry(WALLET, TRADING, "BTC", AMOUNT, "base"),
             Entry(TRADING, WALLET, "USDT", AMOUNT, "quote"))  # fmt: skip
    drafts = [
        Draft("fill", "fill", f"{source_key} {number}", b"\1" * 32, NOON, moved)
        for number in range(SIZE)
    ]
    journals, entries = [], []
    for link in chain(1, books.seq, books.head, drafts):
        values = (1, link.seq, "fill", "fill", link.draft.source_key, b"\1" * 32, NOON, 2,
                  link.prev_hash, link.hash)  # fmt: skip
        journals.append(dict(zip(JOURNAL, values, strict=True)))
        for line, entry in enumerate(moved, start=1):
            (dr, asset), (cr, _) = (
                books.ids[entry.dr, entry.asset],
                books.ids[entry.cr, entry.asset],
            )
            row = (1, link.seq, line, asset, dr, cr, entry.amount, entry.role)
            entries.append(dict(zip(ENTRY, row, strict=True)))
    return journals, entries


def _insert(books: Books, table: str, rows: list[Row]) -> None:
    """All rows in one statement."""
    names, marks = ", ".join(rows[0]), ", ".join(["%s"] * len(rows[0]))
    values = ", ".join([f"({marks})"] * len(rows))
    books.run(
        f"INSERT INTO ledger.{table} ({names}) VALUES {values}",
        *(value for row in rows for value in row.values()),
    )


def _insert_and_commit(books: Books, table: str, rows: list[Row]) -> None:
    """Refused here or there."""
    _insert(books, table, rows)
    books.commit()


def _write(books: Books, journals: list[Row], entries: list[Row]) -> None:
    """Up to what the commit would check."""
    _insert(books, "journal", journals)
    _insert(books, "entry", entries)
    books.close()


def test_a_good_batch_is_taken(books: Books) -> None:
    """What the attacks below differ from by one thing each."""
    journals, entries = _batch(books)
    _write(books, journals[::-1], entries[::-1])  # in whatever order its rows come
    head = books.run("SELECT seq, hash FROM ledger.shard WHERE shard = 1").fetchone()
    assert head == (journals[-1]["seq"], journals[-1]["hash"])


# One bad journal among good ones


@pytest.mark.parametrize("place", [0, BAD, SIZE - 1])
@pytest.mark.parametrize(
    "lie",
    [
        {"source_key": "another"},
        {"source": "elsewhere"},
        {"kind": "opening"},
        {"payload_hash": b"\2" * 32},
        {"n_entries": 1},
        {"n_entries": 3},
    ],
)
def test_one_journal_of_a_batch_says_something_else(books: Books, lie: Row, place: int) -> None:
    journals, entries = _batch(books)
    journals[place] |= lie
    with pytest.raises(CheckViolation):
        _write(books, journals, entries)


@pytest.mark.parametrize("place", [0, BAD, SIZE - 1])
@pytest.mark.parametrize("field", ["prev_hash", "hash"])
def test_one_link_of_a_batch_is_made_up(books: Books, field: str, place: int) -> None:
    journals, entries = _batch(books)
    journals[place][field] = b"\7" * 32
    with pytest.raises(CheckViolation):
        _write(books, journals, entries)


def test_two_journals_of_a_batch_follow_the_same_one(books: Books) -> None:
    """The fork in one statement: with a number of its own there is no such link, with the same
    number no such key."""
    journals, _ = _batch(books)
    others, _ = _batch(books, "other")
    for twin in (others[0] | {"seq": books.seq + 2}, others[0]):
        with pytest.raises((CheckViolation, errors.UniqueViolation)):
            _insert(books, "journal", [journals[0], twin])
        books.connection.rollback()


def test_a_batch_leaves_a_number_out(books: Books) -> None:
    journals, _ = _batch(books)
    del journals[BAD]
    with pytest.raises(CheckViolation, match="chain broken"):
        _insert(books, "journal", journals)


def test_a_journal_of_a_shard_that_nobody_opened(books: Books) -> None:
    journals, _ = _batch(books)
    with pytest.raises(ForeignKeyViolation):
        _insert(books, "journal", [*journals, journals[0] | {"shard": 99, "source_key": "else"}])


@pytest.mark.parametrize("place", [0, BAD, SIZE - 1])
def test_one_entry_of_a_batch_is_missing(books: Books, place: int) -> None:
    journals, entries = _batch(books)
    del entries[2 * place]
    with pytest.raises(CheckViolation, match="declared 2 entries and got 1"):
        _write(books, journals, entries)


@pytest.mark.parametrize("place", [0, BAD, SIZE - 1])
def test_one_journal_of_a_batch_has_no_entries(books: Books, place: int) -> None:
    journals, entries = _batch(books)
    del entries[2 * place : 2 * place + 2]
    with pytest.raises(CheckViolation, match="0 entries"):
        _write(books, journals, entries)


@pytest.mark.parametrize("place", [0, BAD, SIZE - 1])
@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("amount", CheckViolation),
        ("role", CheckViolation),
        ("line", CheckViolation),
        ("dr", ForeignKeyViolation),
        ("cr", ForeignKeyViolation),
        ("asset_id", ForeignKeyViolation),
        ("seq", ForeignKeyViolation),
        ("shard", ForeignKeyViolation),
    ],
)
def test_one_entry_of_a_batch_is_another(
    books: Books, field: str, kind: type[Exception], place: int
) -> None:
    """An account of another asset, an asset of other accounts, a journal that is not there, or
    other words than the hash is over."""
    others = {
        "amount": AMOUNT * 2,
        "role": "fee",
        "line": 3,
        "dr": books.ids[WALLET, "USDT"][0],
        "cr": books.ids[TRADING, "USDT"][0],
        "asset_id": books.ids[WALLET, "USDT"][1],
        "seq": books.seq + 99,
        "shard": 99,
    }
    journals, entries = _batch(books)
    entries[2 * place][field] = others[field]
    with pytest.raises((kind, CheckViolation) if field in ("seq", "shard") else kind):
        _write(books, journals, entries)


@pytest.mark.parametrize("side", ["dr", "cr"])
def test_an_account_that_does_not_exist(books: Books, side: str) -> None:
    journals, entries = _batch(books)
    entries[2 * BAD][side] = 999_999
    with pytest.raises(ForeignKeyViolation):
        _write(books, journals, entries)


def test_entries_that_are_swapped_between_two_journals(books: Books) -> None:
    journals, entries = _batch(books)
    for line, entry in enumerate(entries[2 * BAD : 2 * BAD + 2], start=1):
        entry["line"] = 3 - line
    with pytest.raises(CheckViolation, match="not that of its content"):
        _write(books, journals, entries)


def test_a_bad_entry_by_copy(books: Books) -> None:
    journals, entries = _batch(books)
    entries[2 * BAD]["amount"] = AMOUNT * 2
    _insert(books, "journal", journals)
    with pytest.raises(CheckViolation, match="not that of its content"):
        _copy(books, entries)


def _copy(books: Books, entries: list[Row]) -> None:
    names = ", ".join(ENTRY)
    with books.connection.cursor().copy(f"COPY ledger.entry ({names}) FROM STDIN".encode()) as rows:
        for entry in entries:
            rows.write_row(tuple(entry.values()))


# In pieces, and after a check that passed


def test_a_journal_does_not_take_its_entries_in_two_statements(books: Books) -> None:
    journals, entries = _batch(books)
    _insert(books, "journal", journals)
    with pytest.raises(CheckViolation, match="in one statement"):
        _insert(books, "entry", entries[:-1])


def test_a_second_bad_journal_after_a_good_check(books: Books) -> None:
    """The check has run in this transaction, and passed; it runs again for what comes then."""
    journals, entries = _batch(books)
    _write(books, journals[:BAD], entries[: 2 * BAD])
    books.run(DEFERRED)
    _insert(books, "journal", journals[BAD : BAD + 1])
    entries[2 * BAD]["amount"] = AMOUNT * 2
    with pytest.raises(CheckViolation, match="not that of its content"):
        _insert(books, "entry", entries[2 * BAD : 2 * BAD + 2])


@pytest.mark.parametrize("earlier", [IMMEDIATE, DEFERRED])
def test_a_second_journal_without_entries_after_a_good_check(books: Books, earlier: str) -> None:
    journals, entries = _batch(books)
    _write(books, journals[:BAD], entries[: 2 * BAD])
    books.run(earlier)
    with pytest.raises(CheckViolation, match="0 entries"):
        _insert_and_commit(books, "journal", journals[BAD : BAD + 1])


def test_a_first_journal_without_entries_before_a_good_one(books: Books) -> None:
    journals, entries = _batch(books)
    _insert(books, "journal", journals[:BAD])
    _insert(books, "journal", journals[BAD:])
    _insert(books, "entry", entries[2 * BAD :])
    with pytest.raises(CheckViolation, match="0 entries"):
        books.commit()


@pytest.mark.parametrize("then", [IMMEDIATE, DEFERRED])
def test_a_late_leg_after_the_check_of_its_own_transaction(books: Books, then: str) -> None:
    """Its journal is of this transaction, was complete, and was checked already."""
    journals, entries = _batch(books)
    _write(books, journals, entries)
    books.run(then)
    with pytest.raises(CheckViolation):
        _insert_and_commit(books, "entry", [entries[-1] | {"line": 3}])


def test_entries_that_are_taken_back_to_a_savepoint(books: Books) -> None:
    journals, entries = _batch(books)
    _insert(books, "journal", journals)
    books.run("SAVEPOINT before")
    _insert(books, "entry", entries)
    books.run("ROLLBACK TO SAVEPOINT before")
    with pytest.raises(CheckViolation, match="0 entries"):
        books.commit()


def test_constraints_made_immediate_before_the_entries(books: Books) -> None:
    books.run(IMMEDIATE)
    with pytest.raises(CheckViolation, match="0 entries"):
        _insert(books, "journal", _batch(books)[0])


# Fills


def test_a_fill_of_no_journal(books: Books) -> None:
    with pytest.raises(ForeignKeyViolation):
        books.run(FILL, 1, books.seq + 1, "paper-1")


def test_a_fill_of_a_journal_that_is_none(books: Books) -> None:
    journals, _ = _batch(books)
    journals[0]["kind"] = "opening"
    _insert(books, "journal", journals)
    with pytest.raises(ForeignKeyViolation):
        books.run(FILL, 1, journals[0]["seq"], "paper-1")


def test_a_fill_in_the_books_of_another_account(books: Books) -> None:
    _insert(books, "journal", _batch(books)[0])
    with pytest.raises(ForeignKeyViolation):
        books.run(FILL, 1, books.seq + 1, "paper-2")


async def test_a_fill_that_is_said_of_a_journal_later(database: Database) -> None:
    await fill_books(database)
    with attacker(database, "ledger") as books:
        _write(books, *_batch(books))
        books.commit()
        with pytest.raises(ForeignKeyViolation):
            books.run(FILL, 1, books.seq + 1, "paper-1")


def test_a_fill_of_its_own_journal_is_taken(books: Books) -> None:
    journals, entries = _batch(books)
    _insert(books, "journal", journals)
    books.run(FILL, 1, journals[0]["seq"], "paper-1")
    _insert(books, "entry", entries)
    books.close()


# Words and old books


@pytest.mark.parametrize(
    "words", ['"', "\\", "a\tb\nc\rd\be\f", "\x01\x1f\x7f", "é 😀 \u2028", "/", '", "', "%", "''"]
)
def test_words_of_any_kind_have_one_hash_here_and_there(books: Books, words: str) -> None:
    """Postgres writes the text that is hashed by itself: it must escape as we do."""
    assert json.loads(f'["{json.dumps(words)[1:-1]}"]') == [words]
    _write(books, *_batch(books, words))


async def test_books_of_the_first_schema_go_on(database: Database) -> None:
    """Journals that were checked row by row stay as they are, and the chain continues."""
    folder = Path(str(files("orderonce_ledger"))) / "migrations"
    first, second = sorted(folder.glob("000[12]_*.sql"))
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("DROP SCHEMA ledger CASCADE")
        connection.execute(first.read_bytes())
    await fill_books(database)
    with psycopg.connect(database.owner_url) as connection:
        connection.execute(second.read_bytes())
    with attacker(database, "ledger") as books:
        _write(books, *_batch(books))
        books.commit()
        with pytest.raises(RestrictViolation, match="sealed"):
            books.write_entry(seq=1, line=2)
