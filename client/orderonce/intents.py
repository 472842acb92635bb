"""What a bot means to do, kept on disk before it is sent: name -> key, body, answer.

SQLite is the store: whole or not at all, flushed before `keep` returns, safe between threads and
processes. If the bot dies
  before `keep` has returned   nothing was sent; the next call begins anew or finds the row;
  between `keep` and the reply the next call of the same name sends the same bytes and key;
  before `note` has returned   the same: the API answers with the first one's bytes.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any

from orderonce.errors import IntentDiffers
from orderonce.requests import new_key

# The API's default deadlines: after so long the order would have lapsed, had it been accepted.
FRESH_S, FAST_FRESH_S = 120.0, 30.0  # the second for market, ioc and fok orders
BUSY_S = 10.0  # another process of the same bot holds the file only for one flush

_SCHEMA = """
CREATE TABLE IF NOT EXISTS intent (
    name TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, body TEXT NOT NULL, order_id TEXT, kept_at REAL
)"""


@dataclass(frozen=True, slots=True)
class Intent:
    """One intent. `order_id` is None until the API has answered; `kept_at` is in seconds since
    1970, None for one of an earlier version.
    """

    name: str
    key: str
    body: dict[str, Any]
    order_id: str | None
    kept_at: float | None = None

    def is_old(self, now: float) -> bool:
        """Whether sending it for the first time now would act on an old idea. One with a deadline
        of its own, or with an answer, never is: the API knows what to do. A clock that went back,
        or an unknown time, counts as old: it says nothing about an age.
        """
        if self.order_id is not None or "expires_at" in self.body:
            return False
        is_fast = self.body.get("type") == "market" or "time_in_force" in self.body
        fresh_s = FAST_FRESH_S if is_fast and self.body.get("time_in_force") != "gtc" else FRESH_S
        return self.kept_at is None or abs(now - self.kept_at) > fresh_s


class IntentStore:
    """The file of one bot. Raises OSError or sqlite3.Error when it cannot be written: then nothing
    was sent.
    """

    def __init__(self, path: str | PathLike[str], clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self.clock = clock
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")  # two that open an old file together change it once
            database.execute(_SCHEMA)
            if "kept_at" not in {row[1] for row in database.execute("PRAGMA table_info(intent)")}:
                database.execute("ALTER TABLE intent ADD COLUMN kept_at REAL")

    def keep(self, name: str, body: dict[str, Any]) -> Intent:
        """The intent of this name, made now if it is new. IntentDiffers when it was kept with
        another body.
        """
        text = json.dumps(body, sort_keys=True)
        with self._open() as database:
            database.execute(
                "INSERT INTO intent VALUES (?, ?, ?, NULL, ?) ON CONFLICT (name) DO NOTHING",
                (name, new_key(), text, self.clock()),
            )
        kept = self.find(name)
        assert kept is not None, "a row that was just kept is there"
        if kept.body != body:
            raise IntentDiffers(f"the intent {name!r} was kept before, for another order")
        return kept

    def note(self, name: str, order_id: str) -> None:
        """The API has answered: the intent is no longer unanswered."""
        with self._open() as database:
            database.execute("UPDATE intent SET order_id = ? WHERE name = ?", (order_id, name))

    def find(self, name: str) -> Intent | None:
        with self._open() as database:
            row = database.execute("SELECT * FROM intent WHERE name = ?", (name,)).fetchone()
        return _intent(row) if row else None

    def unanswered(self) -> list[Intent]:
        """What was meant and has no answer yet: after a restart, place these first."""
        with self._open() as database:
            rows = database.execute("SELECT * FROM intent WHERE order_id IS NULL ORDER BY rowid")
            return [_intent(row) for row in rows]

    def forget(self, name: str) -> None:
        """Remove an intent that the bot is done with, so that its name may be used anew."""
        with self._open() as database:
            database.execute("DELETE FROM intent WHERE name = ?", (name,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction on a connection of its own, so that any thread may call."""
        with closing(sqlite3.connect(self._path, timeout=BUSY_S)) as database:
            # FULL would not flush the folder: after a power cut the journal could be there again
            # and take back an intent whose order was sent.
            database.execute("PRAGMA synchronous = EXTRA")
            with database:
                yield database


def _intent(row: tuple[str, str, str, str | None, float | None]) -> Intent:
    name, key, body, order_id, kept_at = row
    return Intent(name, key, json.loads(body), order_id, kept_at)
