"""What many processes or accounts do at the same first moment: nobody starves, nobody misses it."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import pytest
from orderonce_executor.store import remember_timeline
from orderonce_ledger.book import book_opening
from orderonce_ledger.store import Store
from orderonce_shared.runtime.database import open_pool
from pydantic import SecretStr

from tests.line import until
from tests.servers import Database

LEAST_POOL = 4  # the smallest pool that the ledger's settings allow
ACCOUNTS = 8
WAITING = """SELECT count(*) FROM pg_stat_activity
              WHERE datname = current_database() AND wait_event_type = 'Lock'"""


async def test_executors_that_start_together_agree_on_the_timeline(database: Database) -> None:
    """The one whose insert waited must see the row of the one that was first."""
    pool = await open_pool(SecretStr(database.executor_url), application="test", size=8)
    owner = await asyncpg.connect(database.owner_url)
    watcher = await asyncpg.connect(database.owner_url)
    try:
        first = owner.transaction()
        await first.start()
        await owner.execute("INSERT INTO executor.timeline (timeline) VALUES (control.timeline())")
        others = [asyncio.create_task(remember_timeline(pool)) for _ in range(4)]

        async def all_wait() -> bool:
            return int(await watcher.fetchval(WAITING)) == len(others)

        await until(all_wait, 10, "all of them wait for the row of the first")
        await first.commit()
        for ours, present in await asyncio.gather(*others):
            assert ours == present
    finally:
        await owner.close()
        await watcher.close()
        await pool.close()


@pytest.mark.timeout(30)
async def test_books_that_open_together_do_not_starve_the_pool(database: Database) -> None:
    """Each writer asks for ids on a second connection: as many writers as connections hang."""
    pool = await open_pool(SecretStr(database.ledger_url), application="test", size=LEAST_POOL)
    try:
        store, balances = Store(pool), {"BTC": Decimal(1), "USDT": Decimal(100)}
        now = datetime.now(UTC)
        opened = await asyncio.gather(
            *(
                book_opening(store, "paper", f"paper-{n}", balances, now, {})
                for n in range(ACCOUNTS)
            )
        )
        assert opened == [True] * ACCOUNTS
    finally:
        await pool.close()
