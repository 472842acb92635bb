"""Runs on a real Postgres against a venue that does as it is told: breaks live, die and come back;
the proof is zero."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from orderonce_ledger import reconcile, statement
from orderonce_ledger.book import book_fills, book_opening
from orderonce_ledger.ports import RunRow
from orderonce_ledger.reconcile import Reconciler, Rules
from orderonce_ledger.store import Store
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import Fee, VenueFill
from orderonce_shared.runtime.clock import SystemClock
from orderonce_shared.runtime.database import Pool, open_pool
from orderonce_shared.runtime.ids import new_order_id
from pydantic import SecretStr

from tests.servers import Database
from tests.unit.ledger.making import ACCOUNT, NOON, VENUE, FakeVenue, at_venue, changed, fill, heard

GRACE = timedelta(seconds=5)


@dataclass
class World:
    """One account whose books are open, its venue, and what the last run wrote."""

    pool: Pool
    store: Store
    venue: FakeVenue
    reconciler: Reconciler

    async def book(self, *fills: VenueFill) -> None:
        await book_fills(self.store, [heard(one) for one in fills])

    async def run(self, *, full: bool = False) -> RunRow:
        accounts = await self.store.admitted()
        rows = await self.reconciler.run(
            accounts, run_id=new_order_id(), asked_by="test", full=full
        )
        return rows[0]

    async def breaks(self, status: str = "open") -> set[str]:
        rows = await self.pool.fetch("SELECT type FROM ledger.break WHERE status = $1", status)
        return {row["type"] for row in rows}

    async def proof(self) -> dict[str, Decimal]:
        """asset -> proof of the newest run that had one."""
        rows = await self.pool.fetch(
            "SELECT asset, proof FROM ledger.proof WHERE run_id = (SELECT run_id"
            " FROM ledger.recon_run WHERE status = 'ok' ORDER BY finished_at DESC LIMIT 1)"
        )
        return {row["asset"]: row["proof"] for row in rows}

    async def steps(self, type_: str) -> list[str]:
        rows = await self.pool.fetch(
            "SELECT e.step FROM ledger.break_event e JOIN ledger.break b USING (break_id)"
            " WHERE b.type = $1 ORDER BY e.event_id",
            type_,
        )
        return [row["step"] for row in rows]

    async def assert_clean(self) -> None:
        row = await self.run()
        assert (row.status, row.breaks) == ("ok", 0)
        assert await self.breaks() == set()
        assert set((await self.proof()).values()) <= {Decimal(0)}


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    owner = await open_pool(SecretStr(database.owner_url), application="owner", size=1)
    await owner.execute(
        "INSERT INTO control.account (account, venue, venue_uid) VALUES ($1, $2, '1001')",
        ACCOUNT,
        VENUE,
    )
    await owner.close()
    pool = await open_pool(SecretStr(database.ledger_url), application="recon", size=4)
    store, venue = Store(pool), FakeVenue()
    cursors = {"BTC/USDT": 0, "ETH/USDT": 0}
    await book_opening(store, VENUE, ACCOUNT, venue.opening, NOON - timedelta(hours=1), cursors)
    rules = Rules(GRACE, 3)
    yield World(pool, store, venue, Reconciler(store, {ACCOUNT: venue}, rules, SystemClock()))
    await pool.close()


async def test_books_that_are_right(world: World) -> None:
    made = [fill(1), fill(2, side=Side.SELL), fill(3, symbol="ETH/USDT", quantity="2", price="9")]
    world.venue.fills += made
    await world.book(*made)
    await world.assert_clean()
    row = await world.run(full=True)
    assert (row.venue_trades, row.ledger_trades, row.matched) == (3, 3, 3)
    assert await world.pool.fetchval("SELECT count(*) FROM ledger.recon_match") == 3


Fields = dict[str, Any]


@pytest.mark.parametrize(
    ("fields", "type_"),
    [
        ({"quantity": Decimal("0.4"), "cost": Decimal(24000)}, "QTY"),
        ({"price": Decimal(59000), "cost": Decimal(29500)}, "PRICE"),
        ({"fees": (Fee("BNB", Decimal("0.1")),)}, "FEE_AMOUNT"),
        ({"fees": (Fee("USDT", Decimal("0.1")),)}, "FEE_ASSET"),
    ],
)
async def test_a_planted_difference_is_named_and_explains_the_balances(
    world: World, fields: Fields, type_: str
) -> None:
    world.venue.fills += [fill(1), fill(2)]
    await world.book(changed(fill(1), **fields), fill(2))
    row = await world.run()
    assert (row.status, row.breaks) == ("ok", 1)
    assert await world.breaks() == {type_}
    assert set((await world.proof()).values()) == {Decimal(0)}


async def test_missing_in_ledger_lives_dies_and_comes_back(world: World) -> None:
    world.venue.fills.append(fill(1))
    for _ in range(2):
        await world.run()
        assert await world.breaks() == {"MISSING_IN_LEDGER"}
    assert set((await world.proof()).values()) == {Decimal(0)}
    assert await world.steps("MISSING_IN_LEDGER") == ["opened"]
    await world.book(fill(1))
    await world.assert_clean()
    assert await world.steps("MISSING_IN_LEDGER") == ["opened", "auto_resolved"]
    why = await world.pool.fetchval("SELECT detail ->> 'resolved' FROM ledger.break")
    assert "journal 1-2" in why
    world.venue.fills.clear()  # the venue takes the trade back
    await world.run()
    assert await world.breaks() == {"MISSING_AT_VENUE"}
    assert set((await world.proof()).values()) == {Decimal(0)}
    world.venue.fills.append(fill(1))
    await world.assert_clean()
    world.venue.fills.clear()
    await world.run()
    steps = ["opened", "auto_resolved", "reopened"]
    assert await world.steps("MISSING_AT_VENUE") == steps


async def test_the_young_are_in_flight_and_not_a_break(world: World) -> None:
    world.venue.fills.append(fill(1, at=world.venue.now - timedelta(seconds=4)))
    ahead = fill(2, at=world.venue.now)
    await world.book(ahead)
    row = await world.run()
    assert (row.status, row.breaks) == ("ok", 0)
    flying = await world.pool.fetchval(
        "SELECT in_flight FROM ledger.proof WHERE asset = 'BTC' ORDER BY run_id DESC LIMIT 1"
    )
    assert flying == 0  # one coming, one ahead, of the same size
    assert set((await world.proof()).values()) == {Decimal(0)}
    world.venue.now += timedelta(seconds=6)
    await world.run()
    assert await world.breaks() == {"MISSING_IN_LEDGER", "MISSING_AT_VENUE"}


async def test_a_bare_difference_is_a_balance_break_and_no_term_of_its_proof(world: World) -> None:
    world.venue.opening["BTC"] = Decimal("0.00000001")
    await world.run()
    assert await world.breaks() == {"BALANCE"}
    assert (await world.proof())["BTC"] == Decimal("0.00000001")
    await world.run()
    assert (await world.proof())["BTC"] == Decimal("0.00000001")
    assert await world.steps("BALANCE") == ["opened"]
    del world.venue.opening["BTC"]
    await world.assert_clean()
    assert await world.steps("BALANCE") == ["opened", "auto_resolved"]


async def test_a_row_listed_twice(world: World) -> None:
    world.venue.fills += [fill(1), fill(1)]
    await world.book(fill(1))
    await world.run()
    assert await world.breaks() == {"DUPLICATE_AT_VENUE"}
    assert set((await world.proof()).values()) == {Decimal(0)}
    world.venue.fills.pop()
    await world.assert_clean()


async def test_the_venue_changes_its_mind(world: World) -> None:
    world.venue.fills.append(fill(1))
    await world.book(fill(1))
    await world.assert_clean()
    world.venue.fills[0] = changed(fill(1), quantity=Decimal("0.4"), cost=Decimal(24000))
    await world.run()
    assert await world.breaks() == {"QTY", "AMENDED"}
    assert set((await world.proof()).values()) == {Decimal(0)}
    world.venue.fills[0] = fill(1)
    await world.assert_clean()


async def test_an_amended_record_ends_when_the_statement_agrees_with_the_books(
    world: World,
) -> None:
    world.venue.fills.append(fill(1))
    await world.book(fill(1))
    await world.book(changed(fill(1), quantity=Decimal(9)))
    assert await world.breaks() == {"AMENDED"}
    await world.assert_clean()


@pytest.mark.parametrize("down", ["503", "an error page"])
async def test_an_unreachable_venue_is_a_failed_run_and_never_no_trades(
    world: World, down: str
) -> None:
    world.venue.fills.append(fill(1))
    await world.book(fill(1))
    await world.assert_clean()
    world.venue.down = down
    row = await world.run(full=True)
    assert (row.status, row.reason) == ("failed", down)
    assert await world.breaks() == set()
    assert set((await world.proof()).values()) == {Decimal(0)}  # the last good one still stands


async def test_an_account_that_never_rests_is_named_and_not_judged_by_its_balances(
    world: World,
) -> None:
    world.venue.opening["BTC"] = Decimal(5)  # would be a BALANCE break
    world.venue.on_balances = lambda: world.venue.fills.append(
        fill(len(world.venue.fills) + 1, at=world.venue.now)
    )
    row = await world.run()
    assert row.status == "not_quiet"
    assert await world.breaks() == set()
    assert await world.proof() == {}


async def test_trades_during_the_sandwich_belong_to_the_balance_that_counts(world: World) -> None:
    coming = [fill(1), fill(2)]
    await world.book(*coming)
    world.venue.on_balances = lambda: world.venue.fills.append(coming.pop(0)) if coming else None
    row = await world.run()
    assert (row.status, row.breaks) == ("ok", 0)
    assert set((await world.proof()).values()) == {Decimal(0)}


async def test_breaks_outside_of_the_window_stay_and_end_by_what_is_on_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old breaks of each kind, the window moved past them: still explained; a late booking ends one
    all the same."""
    monkeypatch.setattr(statement, "PAGE_ROWS", 5)
    monkeypatch.setattr(reconcile, "OVERLAP_TRADES", 5)
    good = [fill(n) for n in range(4, 30)]
    differs = changed(
        fill(2), quantity=Decimal("0.4"), cost=Decimal(24000), fees=(Fee("BNB", Decimal(1)),)
    )
    world.venue.fills += [fill(1), fill(2), fill(3), fill(3), *good]
    await world.book(differs, fill(3), *good)
    expected = {"MISSING_IN_LEDGER", "QTY", "FEE_AMOUNT", "DUPLICATE_AT_VENUE"}
    await world.run()
    assert await world.breaks() == expected
    cursor = (await world.store.cursors(ACCOUNT))["BTC/USDT"]
    assert cursor.next == 25
    asked = world.venue.asked
    row = await world.run()
    assert row.venue_trades == 5
    assert world.venue.asked - asked < 12
    assert await world.breaks() == expected
    assert row.breaks == 4
    assert set((await world.proof()).values()) == {Decimal(0)}
    await world.book(fill(1))
    await world.run()
    assert await world.breaks() == expected - {"MISSING_IN_LEDGER"}
    assert set((await world.proof()).values()) == {Decimal(0)}
    world.venue.fills.remove(fill(3))
    await world.run()
    assert "DUPLICATE_AT_VENUE" in await world.breaks()  # only the venue's own word ends this one
    await world.run(full=True)
    assert await world.breaks() == {"QTY", "FEE_AMOUNT"}


async def test_a_self_trade_reconciles(world: World) -> None:
    halves = [fill(1, order=1), fill(1, order=2, side=Side.SELL)]
    world.venue.fills += halves
    await world.book(*halves)
    await world.assert_clean()
    assert await world.pool.fetchval("SELECT count(*) FROM ledger.recon_match") == 2


async def test_the_same_break_has_one_row_and_the_venues_words_in_it(world: World) -> None:
    world.venue.fills.append(fill(1))
    await world.run()
    row = await world.pool.fetchrow("SELECT * FROM ledger.break")
    assert row is not None
    assert row["natural_key"] == at_venue(fill(1)).key
    assert row["effect"] == {"BTC": "0.5", "USDT": "-30000.000", "BNB": "-0.00007041"}
    assert row["detail"]["venue"]["trade_id"] == "1"


async def test_an_account_whose_books_are_closed_is_a_failed_run(world: World) -> None:
    accounts = await world.store.admitted()
    world.reconciler.venues = {}
    rows = await world.reconciler.run(accounts, run_id=new_order_id(), asked_by="test", full=True)
    assert rows[0].status == "failed"
    assert "no read-only key" in (rows[0].reason or "")
