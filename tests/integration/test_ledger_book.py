"""Booking on a real Postgres: exactly once, in any order, exact to the last digit, with a chain
that anybody can check."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from orderonce_ledger.book import Steps, book_fills, book_opening
from orderonce_ledger.consumer import read_record
from orderonce_ledger.core import Draft, Entry, Ruling, genesis, preimage, wallet
from orderonce_ledger.opening import Openings
from orderonce_ledger.store import Refused, Store
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import VenueFill
from orderonce_shared.runtime.database import Pool, open_pool
from orderonce_shared.runtime.logs import configure_logs
from pydantic import SecretStr

from tests.servers import Database
from tests.unit.ledger.making import ACCOUNT, NOON, VENUE, FakeVenue, changed, fill, heard

OPENING = {"BTC": Decimal(10), "USDT": Decimal(1_000_000), "BNB": Decimal(1)}


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    found = await open_pool(SecretStr(database.ledger_url), application="book", size=8)
    yield found
    await found.close()


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Pool]:
    found = await open_pool(SecretStr(database.owner_url), application="owner", size=2)
    yield found
    await found.close()


@pytest.fixture
async def store(pool: Pool) -> Store:
    made = Store(pool)
    await book_opening(made, VENUE, ACCOUNT, OPENING, NOON, {"BTC/USDT": 0})
    return made


async def _held(store: Store, account: str = ACCOUNT) -> dict[str, Decimal]:
    async with store.books() as books:
        return await books.balances(wallet(VENUE, account))


async def test_a_fill_moves_the_balances_and_stands_in_the_books(store: Store) -> None:
    made = fill(1, quantity="0.5", price="60000", fees=(("BNB", "0.00007041"),))
    assert await book_fills(store, [heard(made)]) == {Ruling.BOOK: 1, Ruling.REPEAT: 0}
    assert await _held(store) == {
        "BNB": Decimal("0.99992959"),
        "BTC": Decimal("10.5"),
        "USDT": Decimal(970_000),
    }


async def test_eighteen_digits_from_record_to_journal(store: Store, pool: Pool) -> None:
    quantity, price = "1234567890.123456789012345678", "0.000000000001"
    made = fill(1, quantity=quantity, price=price, fees=(("WEI", "0.000000000000000001"),))
    await book_fills(store, [heard(made)])
    rows = await pool.fetch("SELECT role, amount::text FROM ledger.entry WHERE seq = 4")
    assert {row["role"]: row["amount"] for row in rows} == {
        "base": quantity,
        "quote": format(made.cost, "f"),
        "fee": "0.000000000000000001",
    }
    held = await _held(store)
    assert held["BTC"] == Decimal("1234567900.123456789012345678")


async def test_the_same_record_again_is_a_repeat(store: Store, pool: Pool) -> None:
    one = heard(fill(1))
    assert (await book_fills(store, [one, one]))[Ruling.BOOK] == 1
    assert await book_fills(store, [one]) == {Ruling.REPEAT: 1}
    assert await pool.fetchval("SELECT count(*) FROM ledger.journal WHERE kind = 'fill'") == 1
    assert await pool.fetchval("SELECT count(*) FROM ledger.venue_record") == 1


async def test_the_same_trade_in_other_bytes_is_a_repeat(store: Store) -> None:
    made = fill(1)
    await book_fills(store, [heard(made)])
    other = changed(made, quantity=Decimal("0.50000"), raw={"dialect": 2}, liquidity="maker")
    assert await book_fills(store, [heard(other)]) == {Ruling.REPEAT: 1}


async def test_the_same_trade_in_other_words_is_kept_and_named(store: Store, pool: Pool) -> None:
    made = fill(1)
    await book_fills(store, [heard(made)])
    before = await _held(store)
    other = changed(made, quantity=Decimal("0.6"), cost=Decimal(36000))
    assert (await book_fills(store, [heard(other)]))[Ruling.AMENDED] == 1
    assert await _held(store) == before
    assert await pool.fetchval("SELECT count(*) FROM ledger.venue_record") == 2
    rows = await pool.fetch("SELECT type, status, natural_key, detail FROM ledger.break")
    assert [(row["type"], row["status"], row["natural_key"]) for row in rows] == [
        ("AMENDED", "open", heard(made).key)
    ]
    assert rows[0]["detail"]["other_hash"] == heard(other).digest.hex()
    assert (await book_fills(store, [heard(other)])) == {Ruling.REPEAT: 1}


async def test_any_order_and_any_repetition_give_the_same_balances(
    store: Store, pool: Pool
) -> None:
    await book_opening(store, VENUE, "paper-2", OPENING, NOON, {"BTC/USDT": 0})
    made = [
        fill(n, side=Side.BUY if n % 3 else Side.SELL, quantity=f"0.00{n}", order=n // 2)
        for n in range(1, 60)
    ]
    source = random.Random(7)
    await book_fills(store, [heard(one) for one in made])
    shuffled = [*made, *source.sample(made, 30)]
    source.shuffle(shuffled)
    for start in range(0, len(shuffled), 13):
        batch = [heard(one, "paper-2") for one in shuffled[start : start + 13]]
        await book_fills(store, batch)
    assert await _held(store, "paper-2") == await _held(store)
    await _recomputes(store, pool)


async def test_writers_side_by_side_book_each_fill_once(store: Store, pool: Pool) -> None:
    """Four consumers that hold the same records (a rebalance with a zombie), in batches of
    different cuts."""
    made = [fill(n, quantity=f"0.0{n}") for n in range(1, 81)]

    async def consume(size: int) -> None:
        for start in range(0, len(made), size):
            await book_fills(store, [heard(one) for one in made[start : start + size]])

    await asyncio.gather(*(consume(size) for size in (7, 10, 13, 80)))
    assert await pool.fetchval("SELECT count(*) FROM ledger.journal WHERE kind = 'fill'") == 80
    await _recomputes(store, pool)
    await _verify_chain(pool)


async def test_writers_of_different_fills_queue_for_the_chain(store: Store, pool: Pool) -> None:
    """No key in common: only the lock on the chain's head keeps them from building on one end."""

    async def consume(first: int) -> None:
        for n in range(first, first + 15):
            await book_fills(store, [heard(fill(n))])

    await asyncio.gather(*(consume(first) for first in (1, 101, 201, 301)))
    assert await pool.fetchval("SELECT count(*) FROM ledger.journal WHERE kind = 'fill'") == 60
    await _recomputes(store, pool)
    await _verify_chain(pool)


async def test_the_chain_computed_again_from_its_parts(store: Store, pool: Pool) -> None:
    await book_opening(store, VENUE, "paper-2", OPENING, NOON, {"BTC/USDT": 0})
    batch = [heard(fill(n, at=NOON + timedelta(microseconds=n))) for n in range(1, 20)]
    await book_fills(store, [*batch, *(heard(fill(n), "paper-2") for n in range(1, 5))])
    assert await _verify_chain(pool) == {1: 22, 2: 7}


async def test_a_row_changed_behind_everybodys_back_is_found(
    store: Store, pool: Pool, owner: Pool
) -> None:
    """The superuser, triggers off: the one thing that Postgres cannot refuse shows when the chain
    is computed again."""
    await book_fills(store, [heard(fill(n)) for n in range(1, 4)])
    async with owner.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "UPDATE ledger.entry SET amount = 2 * amount WHERE seq = 5 AND role = 'base'"
        )
    with pytest.raises(AssertionError, match="1-5"):
        await _verify_chain(pool)


async def test_died_before_the_commit_leaves_nothing_and_after_it_books_once(
    store: Store, pool: Pool
) -> None:
    class Killed(Exception):
        pass

    async def die() -> None:
        raise Killed

    one = heard(fill(1))
    with pytest.raises(Killed):
        await book_fills(store, [one], Steps(before_commit=die))
    assert await pool.fetchval("SELECT count(*) FROM ledger.venue_record") == 0
    with pytest.raises(Killed):
        await book_fills(store, [one], Steps(after_commit=die))
    assert await book_fills(store, [one]) == {Ruling.REPEAT: 1}
    assert await pool.fetchval("SELECT count(*) FROM ledger.journal WHERE kind = 'fill'") == 1


async def test_a_refused_row_takes_its_whole_batch_back(store: Store, pool: Pool) -> None:
    """The consumer then books one by one; here: nothing of the refused batch is left."""
    huge = changed(fill(2), quantity=Decimal("1e41"))
    assert heard(fill(1)).digest
    good, bad = heard(fill(1)), replace(heard(fill(2)), draft=heard(fill(2)).draft)
    entries = (
        Entry(*("venue:paper:paper-1:spot", "trading:paper:paper-1", "BTC"), huge.quantity, "base"),
    )
    bad = replace(bad, draft=replace(bad.draft, entries=entries))
    with pytest.raises(Refused):
        await book_fills(store, [good, bad])
    assert await pool.fetchval("SELECT count(*) FROM ledger.journal WHERE kind = 'fill'") == 0
    assert (await book_fills(store, [good]))[Ruling.BOOK] == 1


# The opening


def _openings(store: Store, venues: dict[str, FakeVenue]) -> Openings:
    log = configure_logs("test", "CRITICAL")
    return Openings(store, venues, 5, log, read_record, lambda _: None)


async def _admit(owner: Pool, *accounts: str) -> None:
    for number, account in enumerate(accounts, start=1001):
        await owner.execute(
            "INSERT INTO control.account (account, venue, venue_uid) VALUES ($1, 'paper', $2)",
            account,
            str(number),
        )
    await owner.execute(
        "INSERT INTO control.instrument (venue, symbol, base, quote, tick_size, step_size,"
        " min_quantity, max_quantity, min_notional)"
        " VALUES ('paper', 'BTC/USDT', 'BTC', 'USDT', 1, 1, 1, 1, 1)"
    )


async def test_fills_wait_for_their_account_and_hold_up_nobody(pool: Pool, owner: Pool) -> None:
    """paper-2's venue is down: its fills wait, committed; paper-1's are booked. Then it is up, and
    nothing is lost."""
    store = Store(pool)
    await _admit(owner, "paper-1", "paper-2")
    venues = {"paper-1": FakeVenue(), "paper-2": FakeVenue(user="1002", down="no route")}
    openings = _openings(store, venues)
    await openings.step()
    batch = [heard(fill(n), f"paper-{n}") for n in (1, 2)]
    counts = await book_fills(store, batch)
    assert counts == {Ruling.BOOK: 1, Ruling.WAIT: 1, Ruling.REPEAT: 0}
    assert await book_fills(store, batch) == {Ruling.REPEAT: 2}
    assert openings.closed == {"paper-2": "no route"}
    venues["paper-2"].down = ""
    await openings.step()  # opens the books, and books what waited
    assert await _held(store, "paper-2") == {
        "BNB": Decimal("-0.00007041"),
        "BTC": Decimal("0.5"),
        "USDT": Decimal(9_970_000),
    }
    assert openings.closed == {}
    assert await pool.fetchval("SELECT count(*) FROM ledger.parked") == 0


async def test_a_moving_venue_never_counts_a_trade_twice_or_not_at_all(
    pool: Pool, owner: Pool
) -> None:
    """Trades before, inside and after the sandwich; every one is reported by the executor as
    well."""
    store = Store(pool)
    await _admit(owner, "paper-1")
    venue = FakeVenue(opening=dict(OPENING), fills=[fill(1), fill(2)])
    coming = [fill(3), fill(4)]
    venue.on_balances = lambda: venue.fills.append(coming.pop(0)) if coming else None
    everything = [fill(n) for n in (1, 2, 3, 4, 5)]
    early = await book_fills(store, [heard(one) for one in everything[:3]])
    assert early[Ruling.WAIT] == 3
    openings = _openings(store, {"paper-1": venue})
    await openings.step()
    venue.fills.append(everything[4])
    late = await book_fills(store, [heard(one) for one in everything])
    assert late == {Ruling.COVERED: 1, Ruling.BOOK: 1, Ruling.REPEAT: 3}
    assert await _held(store) == await venue.balances()
    evidence = await pool.fetchval("SELECT count(*) FROM ledger.venue_record")
    assert evidence == 5  # the covered ones are kept, and not booked


async def test_an_account_that_is_somebody_elses_is_not_opened(pool: Pool, owner: Pool) -> None:
    store = Store(pool)
    await _admit(owner, "paper-1", "paper-2")
    openings = _openings(store, {"paper-1": FakeVenue(user="9999")})
    await openings.step()
    assert "9999" in openings.closed["paper-1"]
    assert "no read-only key" in openings.closed["paper-2"]
    assert [one.shard for one in await store.admitted()] == [None, None]


async def test_a_symbol_that_came_after_the_opening(pool: Pool, owner: Pool) -> None:
    store = Store(pool)
    await _admit(owner, "paper-1")
    venue = FakeVenue()
    openings = _openings(store, {"paper-1": venue})
    await openings.step()
    new: list[VenueFill] = [
        fill(n, symbol="ETH/USDT", at=venue.now + timedelta(minutes=2 * n - 3)) for n in (1, 2)
    ]
    venue.fills += new
    counts = await book_fills(store, [heard(one) for one in new])
    assert counts[Ruling.WAIT] == 2
    await openings.step()
    held = await _held(store)
    assert held["ETH"] == Decimal("0.5")  # the one from before the opening is inside its balances


async def test_two_processes_open_one_account_once(pool: Pool, owner: Pool) -> None:
    store = Store(pool)
    await _admit(owner, "paper-1")
    both = [_openings(Store(pool), {"paper-1": FakeVenue()}) for _ in range(2)]
    await asyncio.gather(*(one.step() for one in both))
    assert await pool.fetchval("SELECT count(*) FROM ledger.journal") == 1
    assert (await _held(store)) == {"USDT": Decimal(10_000_000)}


async def _recomputes(store: Store, pool: Pool) -> None:
    rows = await pool.fetch(
        "SELECT c.path, a.code, b.dr - b.cr AS kept FROM ledger.balance b"
        " JOIN ledger.account c USING (account_id) JOIN ledger.asset a ON a.asset_id = c.asset_id"
    )
    for account in {row["path"].split(":")[2] for row in rows}:
        summed = await store.recomputed_balances(account)
        kept = {(r["path"], r["code"]): r["kept"] for r in rows if account in r["path"].split(":")}
        assert summed == kept


async def _verify_chain(pool: Pool) -> dict[int, int]:
    """Every hash computed again in Python, from names and amounts alone; shard -> journals. Raises
    AssertionError."""
    lengths: dict[int, int] = {}
    for shard in await pool.fetch("SELECT shard, account, seq, hash FROM ledger.shard"):
        head = genesis(shard["shard"], shard["account"])
        journals = await pool.fetch(
            "SELECT * FROM ledger.journal WHERE shard = $1 ORDER BY seq", shard["shard"]
        )
        for seq, row in enumerate(journals, start=1):
            lines = await pool.fetch(
                "SELECT d.path AS dr, c.path AS cr, a.code, e.amount::numeric AS amount, e.role"
                " FROM ledger.entry e JOIN ledger.account d ON d.account_id = e.dr"
                " JOIN ledger.account c ON c.account_id = e.cr JOIN ledger.asset a"
                " ON a.asset_id = e.asset_id WHERE e.shard = $1 AND e.seq = $2 ORDER BY e.line",
                row["shard"],
                row["seq"],
            )
            entries = tuple(Entry(*line.values()) for line in lines)
            draft = Draft(
                row["kind"],
                row["source"],
                row["source_key"],
                row["payload_hash"],
                row["event_at"],
                entries,
            )
            text = preimage(row["shard"], seq, draft)
            assert row["prev_hash"] == head, f"link {row['shard']}-{seq}"
            head = hashlib.sha256(head + text.encode()).digest()
            assert row["hash"] == head, f"content {row['shard']}-{seq}"
        assert (shard["seq"], shard["hash"]) == (len(journals), head)
        lengths[shard["shard"]] = len(journals)
    return lengths
