"""From a journal to a book: the first line says how the venue began, the rest what happened."""

from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from typing import Any

from orderonce_paper import settlement
from orderonce_paper.model import (
    Accepted,
    Book,
    Busted,
    Closed,
    Credited,
    Event,
    Leg,
    Quoted,
    Traded,
    new_book,
)
from orderonce_paper.store import JournalDamaged, Record
from orderonce_paper.symbols import ACCOUNTS, OPENING_BALANCES, SYMBOLS

FORMAT = 1

EVENT_TYPES: dict[str, type[Any]] = {
    "accepted": Accepted,
    "traded": Traded,
    "closed": Closed,
    "quoted": Quoted,
    "credited": Credited,
    "busted": Busted,
}
# Per event: the fields that are money, worked out once, since a start reads a million of them.
MONEY: dict[str, tuple[str, ...]] = {
    name: tuple(f.name for f in fields(kind) if f.type is Decimal)
    for name, kind in EVENT_TYPES.items()
}


def genesis(seed: int) -> Record:
    """The first record of a new journal: what a later start must not change."""
    return {
        "t": "genesis",
        "format": FORMAT,
        "seed": seed,
        "accounts": dict.fromkeys(ACCOUNTS, OPENING_BALANCES),
    }


def book_of(first: Record) -> Book:
    if first.get("t") != "genesis" or first.get("format") != FORMAT:
        raise JournalDamaged("the journal does not begin as this version writes it")
    accounts = {
        name: {asset: Decimal(amount) for asset, amount in balances.items()}
        for name, balances in first["accounts"].items()
    }
    return new_book(first["seed"], SYMBOLS, accounts)


def replay_into(book: Book, records: Iterator[Record]) -> None:
    for record in records:
        for event in record["events"]:
            settlement.apply(book, event_from(event))


def event_from(stored: dict[str, Any]) -> Event:
    name = stored["event"]
    for key in MONEY[name]:
        stored[key] = Decimal(stored[key])
    if name == "traded":
        for side in ("taker", "maker"):
            if stored[side] is not None:
                leg = stored[side]
                leg["commission"] = Decimal(leg["commission"])
                stored[side] = Leg(**leg)
    event: Event = EVENT_TYPES[name](**stored)
    return event
