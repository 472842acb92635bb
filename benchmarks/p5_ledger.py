"""P5: what the ledger's invariants cost. Fills booked per second in batches (evidence, chain,
balances, every check of the database) beside the very same rows by COPY into tables without
a key, a check or a trigger, with as many commits.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import asyncpg
from orderonce_ledger.book import book_fills, book_opening
from orderonce_ledger.consumer import read_record
from orderonce_ledger.store import Store
from orderonce_shared.contracts.events import FeeTotal
from orderonce_shared.contracts.fills import FillRecord
from orderonce_shared.domain.money import multiply
from orderonce_shared.domain.order import Side
from orderonce_shared.runtime.database import open_pool
from pydantic import SecretStr

from benchmarks import cpu, stage
from benchmarks.report import Result, median_cpu, ratio
from benchmarks.stage import Stage, say

ACCOUNT, VENUE, SYMBOL = "paper-1", "paper", "BTC/USDT"
OPENING = {"BTC": Decimal(1_000_000), "USDT": Decimal(10**12)}
TABLES = ("journal", "entry", "fill", "venue_record")  # what a fill adds rows to
ADDED = {
    "journal": "SELECT * FROM ledger.journal WHERE seq BETWEEN $1 AND $2",
    "entry": "SELECT * FROM ledger.entry WHERE seq BETWEEN $1 AND $2",
    "fill": "SELECT * FROM ledger.fill WHERE seq BETWEEN $1 AND $2",
    "venue_record": "SELECT * FROM ledger.venue_record WHERE record_id BETWEEN $1 AND $2",
}
LAST = """SELECT (SELECT max(seq) FROM ledger.journal), (SELECT max(record_id)
                 FROM ledger.venue_record)"""
Round = tuple[float, dict[str, float]]
Batch = dict[str, list[tuple[object, ...]]]  # table -> its rows


async def run(on: Stage, *, fills: int, rounds: int, batch: int) -> Result:
    """`fills` (whole batches) per side and round. The first round warms both up and is not
    counted."""
    assert fills % batch == 0, "whole batches"
    with on.database() as database:
        pool = await open_pool(SecretStr(database.ledger_url), application="bench", size=2)
        owner = await asyncpg.connect(database.owner_url)
        try:
            store = Store(pool)
            now = datetime.now(UTC)
            await book_opening(store, VENUE, ACCOUNT, OPENING, now, {SYMBOL: 0})
            for table in TABLES:
                await owner.execute(
                    f"CREATE TABLE public.bare_{table} AS TABLE ledger.{table} WITH NO DATA"
                )
            booked, copied = [], []
            for number in range(rounds + 1):
                raw = [_records(number * fills + n + 1, batch, now) for n in range(0, fills, batch)]
                booked.append(await _booked(store, raw))
                copied.append(await _copied(owner, await _added(owner, fills, batch)))
                say(f"round {number}: {booked[-1][0]:.2f} s against {copied[-1][0]:.2f} s")
        finally:
            await owner.close()
            await pool.close()
    return _result(booked[1:], copied[1:], fills, batch)


def _records(first: int, count: int, now: datetime) -> list[bytes]:
    return [_record(number, now) for number in range(first, first + count)]


def _record(number: int, now: datetime) -> bytes:
    quantity, price = Decimal("0.00100000"), Decimal(60_000 + number % 100)
    side = Side.SELL if number % 2 else Side.BUY
    return FillRecord(
        venue=VENUE,
        account=ACCOUNT,
        symbol=SYMBOL,
        trade_id=str(number),
        venue_order_id=str(number),
        client_order_id=f"oo{number:026d}",
        order_id=uuid4(),
        client="bench",
        side=side,
        quantity=quantity,
        price=price,
        cost=multiply(quantity, price),
        fees=(FeeTotal(asset="BTC", amount=Decimal("0.00000100")),),
        liquidity="taker",
        traded_at=now + timedelta(milliseconds=number),
        raw={"tradeId": number, "price": str(price), "qty": str(quantity)},
    ).encode()


async def _booked(store: Store, raw: Sequence[Sequence[bytes]]) -> Round:
    """From the bytes of Kafka to the commit."""
    meter, began = cpu.Meter(), time.monotonic()
    for batch in raw:
        counts = await book_fills(store, [read_record(value) for value in batch])
        assert sum(counts.values()) == len(batch), counts
    return time.monotonic() - began, meter.read()


async def _added(owner: "asyncpg.Connection", count: int, batch: int) -> list[Batch]:
    """What was written for the last `count` fills, batch by batch: a fill is one journal, one fill
    and one record of evidence, with consecutive numbers."""
    last = await owner.fetchrow(LAST)
    assert last is not None
    seq, record = last
    batches: list[Batch] = []
    for done in range(0, count, batch):
        rows: Batch = {}
        for table, query in ADDED.items():
            first = (record if table == "venue_record" else seq) - count + done + 1
            rows[table] = [tuple(row) for row in await owner.fetch(query, first, first + batch - 1)]
        batches.append(rows)
    return batches


async def _copied(owner: "asyncpg.Connection", batches: Sequence[Batch]) -> Round:
    meter, began = cpu.Meter(), time.monotonic()
    for batch in batches:
        async with owner.transaction():
            for table, rows in batch.items():
                await owner.copy_records_to_table(
                    f"bare_{table}", schema_name="public", records=rows
                )
    return time.monotonic() - began, meter.read()


def _result(booked: list[Round], copied: list[Round], fills: int, batch: int) -> Result:
    result = Result(
        "P5", f"{len(booked)} rounds of {fills} fills per side, {batch} per commit", "fill"
    )
    ours, bare = [wall for wall, _ in booked], [wall for wall, _ in copied]
    result.figures = {
        "booked, fills/s": fills / statistics.median(ours),
        "copied, fills/s": fills / statistics.median(bare),
    }
    result.cpu_us = {
        "booked": median_cpu([spent for _, spent in booked], fills),
        "copied": median_cpu([spent for _, spent in copied], fills),
    }
    result.ratios = [ratio("rate booked / rate copied", bare, ours, 0.5)]
    result.notes = ["`load` is this process: it decodes, judges and hashes as the ledger does"]
    return result


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--fills", type=int, default=5000, help="per side and round")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--batch", type=int, default=100, help="fills per commit")
    stage.main("benchmarks.p5_ledger", options, run)
