"""VERB: fills -> journals, exactly once, in one transaction. The only function that writes to the
books.

Consumer, opening and parked fills all come through `book`. The order inside the transaction:

1. Evidence: each record that says something new is kept (unique by natural key and hash). Whoever
   delivers it again gets nothing back, and nothing more happens for it.
2. The account's chain is locked (one writer per shard), and its end is read.
3. What is already booked, covered by the opening, or waiting for it, is told apart from what is to
   be booked.
4. Journals, entries and fills are added, in one statement. At its end triggers move balances and
   the head of the chain, count each journal's entries and compute its hash again.
5. Commit: Postgres checks that no journal stayed without entries.

Dies before the commit: nothing happened, Kafka delivers again. Dies after it: delivered again, and
step 1 finds everything known.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orderonce_shared.runtime.ids import new_order_id

from orderonce_ledger.breaks import BreakType
from orderonce_ledger.core import (
    Amounts,
    Draft,
    Journal,
    Ours,
    Ruling,
    Trade,
    chain,
    draft_fill,
    draft_opening,
    natural_key,
    payload_hash,
    rule,
    trade_number,
)
from orderonce_ledger.ports import BreakRow, Evidence, Head
from orderonce_ledger.store import Books, Store

Step = Callable[[], Awaitable[None]]


async def _no_step() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Steps:
    """Where a test may stop the process: just before and just after the commit."""

    before_commit: Step = _no_step
    after_commit: Step = _no_step


@dataclass(frozen=True, slots=True)
class Received:
    """A fill as it came, its hash computed once. `payload` is the whole record as JSON text."""

    trade: Trade
    ours: Ours
    payload: str
    key: str
    digest: bytes
    draft: Draft


def received(trade: Trade, ours: Ours, payload: str) -> Received:
    """Raises Unbookable: a record that no journal can say must not hold up its neighbours."""
    trade_number(trade.fill)
    key = natural_key(trade)
    digest = payload_hash(trade, key)
    return Received(trade, ours, payload, key, digest, draft_fill(trade, key, digest))


@dataclass(slots=True)
class Sorted:
    """What became of a batch."""

    to_book: list[Received] = field(default_factory=list)
    amended: list[Received] = field(default_factory=list)
    waiting: list[tuple[int, str]] = field(default_factory=list)
    counts: Counter[Ruling] = field(default_factory=Counter)


async def book_fills(
    store: Store, fills: Sequence[Received], steps: Steps | None = None
) -> Counter[Ruling]:
    """Books a batch of any accounts. Raises asyncpg's errors; `store.Refused` when Postgres refuses
    a row."""
    steps = steps or Steps()
    async with store.books() as books:
        evidence = [Evidence(f.trade.account, f.key, f.digest, f.payload) for f in fills]
        new = await books.add_records("fill", evidence)
        fresh = _first_of_each(fills, new)
        done = await _judge_and_write(books, fresh) if fresh else Sorted()
        await books.park(done.waiting)
        done.counts[Ruling.REPEAT] += len(fills) - len(fresh)
        await steps.before_commit()
    await steps.after_commit()
    return done.counts


async def book_parked(
    store: Store, account: str, limit: int, read: Callable[[str], Received]
) -> Counter[Ruling]:
    """Books fills that waited for the account's opening; those that must wait on are put back."""
    async with store.books() as books:
        await books.lock_heads([account])
        parked = await books.take_parked(account, limit)
        fresh = [(record_id, read(payload)) for record_id, payload in parked]
        done = await _judge_and_write(books, fresh) if fresh else Sorted()
        await books.park(done.waiting)
    return done.counts


async def book_opening(
    store: Store, venue: str, account: str, balances: Amounts, taken_at: datetime,
    cursors: dict[str, int],
) -> bool:  # fmt: skip
    """One journal per asset, with the cursors and the balances they rest on. False when another
    process was first."""
    drafts = draft_opening(venue, account, balances, taken_at)
    async with store.books() as books:
        head = await books.add_shard(account, venue, taken_at)
        if head is None:
            return False
        await books.add_cursors(account, cursors)
        await books.add_snapshots(account, None, taken_at, balances)
        await _append(books, head, drafts)
    return True


def _first_of_each(
    fills: Iterable[Received], new: dict[tuple[str, bytes], int]
) -> list[tuple[int, Received]]:
    """The records that were not heard before, in the order received, each once."""
    unseen = dict(new)
    return [
        (unseen.pop((fill.key, fill.digest)), fill)
        for fill in fills
        if (fill.key, fill.digest) in unseen
    ]


async def _judge_and_write(books: Books, fresh: Sequence[tuple[int, Received]]) -> Sorted:
    accounts = {fill.trade.account for _, fill in fresh}
    heads = await books.lock_heads(accounts)
    booked = await books.booked([fill.key for _, fill in fresh])
    done = Sorted()
    for record_id, fill in fresh:
        head = heads.get(fill.trade.account)
        opening = head.openings.get(fill.trade.fill.symbol) if head else None
        ruling = rule(fill.trade, fill.digest, booked.get(fill.key), opening)
        done.counts[ruling] += 1
        if ruling is Ruling.BOOK:
            booked[fill.key] = fill.digest
            done.to_book.append(fill)
        elif ruling is Ruling.WAIT:
            done.waiting.append((record_id, fill.trade.account))
        elif ruling is Ruling.AMENDED:
            done.amended.append(fill)
    await _write_fills(books, heads, done.to_book)
    await _raise_amended(books, done.amended)
    return done


async def _write_fills(books: Books, heads: dict[str, Head], fills: Sequence[Received]) -> None:
    by_account: dict[str, list[Received]] = {}
    for fill in fills:
        by_account.setdefault(fill.trade.account, []).append(fill)
    journals: list[Journal] = []
    written: list[tuple[Journal, Trade, Ours]] = []
    for account, own in by_account.items():
        head = heads[account]
        links = chain(head.shard, head.seq, head.hash, [fill.draft for fill in own])
        journals += links
        written += [(link, f.trade, f.ours) for link, f in zip(links, own, strict=True)]
    if journals:
        await books.add_journals(journals, written)


async def _append(books: Books, head: Head, drafts: Sequence[Draft]) -> None:
    journals = chain(head.shard, head.seq, head.hash, drafts)
    if journals:
        await books.add_journals(journals)


async def _raise_amended(books: Books, amended: Sequence[Received]) -> None:
    """The same trade in other words: both are kept as evidence, the books stay, and the break names
    both hashes."""
    for fill in amended:
        detail = {"other_hash": fill.digest.hex(), "said_by": "executor"}
        row = BreakRow(
            new_order_id(), BreakType.AMENDED, fill.key, fill.trade.fill.symbol, {}, detail
        )
        await books.raise_breaks(fill.trade.account, None, [row])
