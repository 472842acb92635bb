"""Books with one opening and one fill, and a connection that writes journals by hand: what the
attacks on the ledger's tables start from.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from orderonce_ledger.book import book_fills, book_opening
from orderonce_ledger.core import Draft, Entry, chain, preimage
from orderonce_ledger.store import Store
from orderonce_shared.runtime.database import open_pool
from pydantic import SecretStr

from tests.servers import Database
from tests.unit.ledger.making import ACCOUNT, NOON, VENUE, fill, heard

WALLET, TRADING = "venue:paper:paper-1:spot", "trading:paper:paper-1"


@dataclass
class Books:
    """A connection of one role, and what it needs to write a journal of its own."""

    role: str
    connection: psycopg.Connection[Any]
    seq: int
    head: bytes
    ids: dict[tuple[str, str], tuple[int, int]]

    def run(self, statement: str, *values: Any) -> Any:
        return self.connection.execute(statement.encode(), values or None)

    def journal(self, **changes: Any) -> dict[str, Any]:
        """The row of a good next journal of one entry, with some fields changed."""
        entry = Entry(WALLET, TRADING, "BTC", Decimal("0.10"), "base")
        draft = Draft("fill", "fill", "a key", b"\1" * 32, NOON, (entry,))
        link = chain(1, self.seq, self.head, [draft])[0]
        row: dict[str, Any] = {
            "shard": 1,
            "seq": link.seq,
            "kind": "fill",
            "source": "fill",
            "source_key": "a key",
            "payload_hash": b"\1" * 32,
            "event_at": NOON,
            "n_entries": 1,
            "prev_hash": link.prev_hash,
            "hash": link.hash,
        }
        return row | changes

    def write_journal(self, **changes: Any) -> None:
        row = self.journal(**changes)
        names = ", ".join(row)
        marks = ", ".join(["%s"] * len(row))
        self.run(f"INSERT INTO ledger.journal ({names}) VALUES ({marks})", *row.values())

    def write_entry(self, **changes: Any) -> None:
        (wallet, asset), (trading, _) = self.ids[WALLET, "BTC"], self.ids[TRADING, "BTC"]
        row: dict[str, Any] = {
            "shard": 1,
            "seq": self.seq + 1,
            "line": 1,
            "asset_id": asset,
            "dr": wallet,
            "cr": trading,
            "amount": Decimal("0.10"),
            "role": "base",
        } | changes
        names = ", ".join(row)
        marks = ", ".join(["%s"] * len(row))
        self.run(f"INSERT INTO ledger.entry ({names}) VALUES ({marks})", *row.values())

    def close(self) -> None:
        """What the commit would check, without one: the books serve the next attack."""
        self.run("SET CONSTRAINTS ALL IMMEDIATE")

    def commit(self) -> None:
        self.connection.commit()


async def fill_books(database: Database) -> None:
    url = SecretStr(database.ledger_url)
    pool = await open_pool(url, application="refusals", size=4)
    try:
        store = Store(pool)
        held = {"BTC": Decimal(10), "USDT": Decimal(1_000_000), "BNB": Decimal(1)}
        await book_opening(store, VENUE, ACCOUNT, held, NOON, {"BTC/USDT": 0})
        await book_fills(store, [heard(fill(1))])
    finally:
        await pool.close()


@contextlib.contextmanager
def attacker(database: Database, role: str) -> Iterator[Books]:
    """`role`: `ledger` or `owner`. What was not committed is undone."""
    url = database.ledger_url if role == "ledger" else database.owner_url
    with psycopg.connect(url) as connection:
        yield opened_books(role, connection)
        connection.rollback()


def opened_books(role: str, connection: psycopg.Connection[Any]) -> Books:
    head = connection.execute("SELECT seq, hash FROM ledger.shard WHERE shard = 1").fetchone()
    assert head is not None
    rows = connection.execute(
        "SELECT c.path, a.code, c.account_id, c.asset_id"
        " FROM ledger.account c JOIN ledger.asset a USING (asset_id)"
    ).fetchall()
    connection.rollback()
    return Books(role, connection, head[0], head[1], {(r[0], r[1]): (r[2], r[3]) for r in rows})


def journal_hash(shard: int, seq: int, prev: bytes, draft: Draft, reverses: str) -> bytes:
    return hashlib.sha256(prev + preimage(shard, seq, draft, reverses).encode()).digest()
