"""VERB: the venue's statement against the books, both ways; every difference gets a name, and the
rest must be zero.

Theory of operation. A run reads trades and balances of one account (statement.py), then, in one
transaction that holds the account's chain, keeps what it read as evidence, compares (breaks.py),
writes matches and breaks, and lets Postgres compute the proof per asset: venue - ledger - effects
of open breaks - in flight. A difference of balances that no trade explains is a BALANCE break, and
no term of its own proof.

An ordinary run reads each symbol from its cursor on (the newest trades, with a wide overlap); a
full one from the opening. A break older than what was read stays judged by the words that the venue
had for it; what needs the venue's own word (a trade that vanished) waits for the next full run.

Dies at any point: the run never was. The next one starts over; nothing of a run depends on the one
before.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from orderonce_shared.domain.money import render_amount
from orderonce_shared.domain.order import Side
from orderonce_shared.domain.venue import Fee, VenueFill
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.ids import new_order_id
from orderonce_shared.venues.errors import VenueUnreachable

from orderonce_ledger.breaks import (
    Break,
    BreakType,
    Comparison,
    LedgerTrade,
    ProofLine,
    VenueTrade,
    compare,
    prove,
)
from orderonce_ledger.core import (
    Amounts,
    Trade,
    Unbookable,
    natural_key,
    payload_hash,
    plus,
    trade_number,
    wallet,
)
from orderonce_ledger.ports import Admitted, BreakRow, Cursor, Evidence, OpenBreak, RunRow, Venue
from orderonce_ledger.statement import NOT_QUIET, PAGE_ROWS, Statement, read_statement
from orderonce_ledger.store import Books, Store

OVERLAP_TRADES = PAGE_ROWS  # read again in each ordinary run: one page per symbol

# Breaks whose both sides are on record: they can be judged again without asking the venue.
CARRIED = frozenset(
    {
        BreakType.MISSING_IN_LEDGER,
        BreakType.MISSING_AT_VENUE,
        BreakType.QTY,
        BreakType.PRICE,
        BreakType.FEE_AMOUNT,
        BreakType.FEE_ASSET,
    }
)


@dataclass(frozen=True, slots=True)
class Rules:
    """`grace`: how long a trade may be known to one side only. `tries`: readings of a balance
    before giving up."""

    grace: timedelta
    tries: int


@dataclass(slots=True)
class Reconciler:
    """Runs reconciliations, one at a time per account."""

    store: Store
    venues: Mapping[str, Venue]
    rules: Rules
    clock: Clock
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def run(
        self, accounts: Sequence[Admitted], *, run_id: UUID, asked_by: str, full: bool
    ) -> list[RunRow]:
        """One row per account, by name; an account that cannot be read fails alone and says why."""
        runs = [self._one(account, run_id, asked_by, full) for account in accounts]
        return list(await asyncio.gather(*runs))

    async def _one(self, account: Admitted, run_id: UUID, asked_by: str, full: bool) -> RunRow:
        async with self.locks.setdefault(account.account, asyncio.Lock()):
            row = RunRow(run_id, account.account, "failed", None, full, asked_by, self.clock.now())
            try:
                cursors = await self.store.cursors(account.account)
                statement = await self._read(account, cursors, full)
                return await settle(self.store, account, cursors, statement, row, self.rules)
            except (VenueUnreachable, Unbookable) as error:
                failed = replace(row, reason=str(error) or type(error).__name__)
                async with self.store.books() as books:
                    await books.add_run(failed)
                return failed

    async def _read(
        self, account: Admitted, cursors: Mapping[str, Cursor], full: bool
    ) -> Statement:
        venue = self.venues.get(account.account)
        if venue is None:
            raise Unbookable("no read-only key for this account in the credentials file")
        if account.shard is None:
            raise Unbookable("the books of this account are not open yet")
        return await read_statement(venue, _first(cursors, full), self.rules.tries)


def _first(cursors: Mapping[str, Cursor], full: bool) -> dict[str, int]:
    return {c.symbol: c.opening + 1 if full else c.next for c in cursors.values()}


@dataclass(slots=True)
class Verdict:
    """What a run found. `stays`: open breaks that it could not judge; `gone`: those that ended, and
    why."""

    result: Comparison
    booked: int
    found: list[BreakRow]
    gone: list[tuple[OpenBreak, str]]
    stays: list[OpenBreak]
    lines: tuple[ProofLine, ...] = ()


async def settle(
    store: Store,
    account: Admitted,
    cursors: Mapping[str, Cursor],
    statement: Statement,
    row: RunRow,
    rules: Rules,
) -> RunRow:
    """Everything a run writes, in one transaction; booking of this account waits meanwhile."""
    young_since = statement.at - rules.grace
    async with store.books() as books:
        await books.lock_heads([account.account])
        verdict = await _judge(books, account, _first(cursors, row.full), statement, young_since)
        if statement.balances is not None:
            await _prove(books, account, statement.balances, verdict)
        row = replace(
            row,
            status="not_quiet" if statement.balances is None else "ok",
            reason=NOT_QUIET if statement.balances is None else None,
            statement_at=statement.at,
            venue_trades=sum(map(len, statement.trades.values())),
            ledger_trades=verdict.booked,
            matched=len(verdict.result.matches),
            breaks=len(verdict.found) + len(verdict.stays),
        )
        await _write(books, account, statement, row, verdict)
        await books.move_cursors(account.account, _following(statement, young_since))
    return row


async def _judge(
    books: Books,
    account: Admitted,
    first: Mapping[str, int],
    statement: Statement,
    young_since: datetime,
) -> Verdict:
    """Keeps the statement as evidence and compares it with the books."""
    said, evidence = await asyncio.to_thread(_heard, account, statement)
    new = await books.add_records("statement", evidence)
    was_open = await books.open_breaks(account.account)
    carried = [one for one in was_open if one.type in CARRIED and _is_older(one, first)]
    said += [v for one in carried if (v := _carried_trade(account, one)) is not None]
    booked = await books.fills_in_window(account.account, first, [one.key for one in carried])
    said = _once(said, carried)
    # A long history takes a second: in a thread, so that the doors go on answering.
    result = await asyncio.to_thread(compare, said, booked, young_since=young_since)
    found = [_break_row(one) for one in result.breaks]
    found += await _amended(books, [key for key, _ in new])
    seen = {(one.type, one.key) for one in found}
    left = [one for one in was_open if (one.type, one.key) not in seen]
    gone, stays = _sort_left(left, result, first, quiet=statement.balances is not None)
    return Verdict(result, len(booked), found, gone, stays)


async def _prove(books: Books, account: Admitted, held: Amounts, verdict: Verdict) -> None:
    """What no record explains is a BALANCE break, unless it is zero."""
    effects = [one.effect for one in verdict.found] + [one.effect for one in verdict.stays]
    ours = await books.balances(wallet(account.venue, account.account))
    verdict.lines = prove(held, ours, plus(*effects), verdict.result.in_flight)
    rows = [_balance_row(account, line) for line in verdict.lines if line.proof != 0]
    verdict.found += rows
    still = {row.key for row in rows}
    verdict.gone = [(one, why) for one, why in verdict.gone if one.key not in still]


async def _write(
    books: Books, account: Admitted, statement: Statement, row: RunRow, verdict: Verdict
) -> None:
    name = account.account
    await books.add_run(row)
    await books.raise_breaks(name, row.run_id, verdict.found)
    await books.resolve_breaks(row.run_id, [(one.break_id, why) for one, why in verdict.gone])
    await _write_matches(books, row, verdict.result)
    if statement.balances is not None:
        await books.add_snapshots(name, row.run_id, statement.at, statement.balances)
        await books.add_proof(row.run_id, name, verdict.lines)


def _sort_left(
    left: Iterable[OpenBreak], result: Comparison, first: Mapping[str, int], *, quiet: bool
) -> tuple[list[tuple[OpenBreak, str]], list[OpenBreak]]:
    """Open breaks that this run did not see: those that it could have seen are gone, with the
    reason why."""
    matched = {match.ledger.key: match.ledger for match in result.matches}
    gone: list[tuple[OpenBreak, str]] = []
    stays: list[OpenBreak] = []
    for one in left:
        match one.type:
            case BreakType.BALANCE:
                judged, why = quiet, "the proof is zero"
            case BreakType.AMENDED:
                # Only the venue's present word ends it: what is booked is what the statement says.
                judged, why = one.key in matched, "the statement agrees with the booked trade"
            case BreakType.DUPLICATE_AT_VENUE:
                judged, why = not _is_older(one, first), "the statement lists it once"
            case _:
                judged, why = True, "the statement no longer shows this difference"
        if one.key in matched:
            journal = matched[one.key]
            why = f"{why}: equals journal {journal.shard}-{journal.seq}"
        if judged:
            gone.append((one, why))
        else:
            stays.append(one)
    return gone, stays


def _is_older(one: OpenBreak, first: Mapping[str, int]) -> bool:
    """Whether the trade of this break lies before what was read."""
    side = one.detail.get("venue") or one.detail.get("ledger")
    if one.symbol is None or side is None:
        return False
    return int(side["trade_id"]) < first.get(one.symbol, 0)


def _carried_trade(account: Admitted, one: OpenBreak) -> VenueTrade | None:
    said = one.detail.get("venue")
    return None if said is None else _venue_trade(account, _read_fill(one.symbol or "", said))


def _once(said: Iterable[VenueTrade], carried: Sequence[OpenBreak]) -> list[VenueTrade]:
    """Two breaks may carry one trade (QTY and FEE_AMOUNT): its words count once."""
    if not carried:
        return list(said)
    keys = {one.key for one in carried}
    kept: dict[str, VenueTrade] = {}
    others: list[VenueTrade] = []
    for trade in said:
        if trade.key in keys:
            kept[trade.key] = trade
        else:
            others.append(trade)
    return others + list(kept.values())


async def _amended(books: Books, keys: Sequence[str]) -> list[BreakRow]:
    """Trades for which the venue has new words beside old ones."""
    rows = []
    for key, versions in (await books.statement_words(keys)).items():
        detail = {"said_by": "venue", "versions": versions}
        symbol = json.loads(key)[2]
        rows.append(BreakRow(new_order_id(), BreakType.AMENDED, key, symbol, {}, detail))
    return rows


async def _write_matches(books: Books, row: RunRow, result: Comparison) -> None:
    records = await books.statement_records([match.venue.key for match in result.matches])
    await books.add_matches(
        row.run_id,
        row.account,
        [
            (records[match.venue.key, match.venue.digest], match.ledger.shard, match.ledger.seq)
            for match in result.matches
            if (match.venue.key, match.venue.digest) in records
        ],
    )


def _following(statement: Statement, young_since: datetime) -> dict[str, int]:
    """Where the next ordinary run begins: OVERLAP_TRADES before the end, and never past a trade
    that is young."""
    following: dict[str, int] = {}
    for symbol, rows in statement.trades.items():
        if len(rows) > OVERLAP_TRADES:
            young = [trade_number(fill) for fill in rows if fill.traded_at >= young_since]
            following[symbol] = min([trade_number(rows[-OVERLAP_TRADES]), *young])
    return following


def _heard(account: Admitted, statement: Statement) -> tuple[list[VenueTrade], list[Evidence]]:
    said = [_venue_trade(account, fill) for rows in statement.trades.values() for fill in rows]
    return said, [_evidence(account, one) for one in said]


def _venue_trade(account: Admitted, fill: VenueFill) -> VenueTrade:
    trade = Trade(account.venue, account.account, fill)
    key = natural_key(trade)
    return VenueTrade(key, payload_hash(trade, key), fill)


def _evidence(account: Admitted, one: VenueTrade) -> Evidence:
    return Evidence(account.account, one.key, one.digest, json.dumps(one.fill.raw, default=str))


def _break_row(one: Break) -> BreakRow:
    detail: dict[str, Any] = {"note": one.note} if one.note else {}
    if one.venue is not None:
        detail["venue"] = _shown(one.venue)
    if one.ledger is not None:
        journal = f"{one.ledger.shard}-{one.ledger.seq}"
        detail["ledger"] = _shown(one.ledger) | {"journal": journal}
    return BreakRow(new_order_id(), one.type, one.key, one.symbol, one.effect, detail)


def _balance_row(account: Admitted, line: ProofLine) -> BreakRow:
    key = json.dumps([account.venue, account.account, line.asset])
    amounts = {
        "venue": line.venue,
        "ledger": line.ledger,
        "explained": line.explained,
        "in_flight": line.in_flight,
        "proof": line.proof,
    }
    shown = {name: render_amount(amount) for name, amount in amounts.items()}
    detail = {"asset": line.asset, "balance": shown}
    return BreakRow(new_order_id(), BreakType.BALANCE, key, None, {}, detail)


def _shown(one: VenueTrade | LedgerTrade) -> dict[str, Any]:
    fill = one.fill
    return {
        "trade_id": fill.trade_id,
        "venue_order_id": fill.venue_order_id,
        "side": fill.side.value,
        "quantity": render_amount(fill.quantity),
        "price": render_amount(fill.price),
        "cost": render_amount(fill.cost),
        "fees": [[fee.asset, render_amount(fee.amount)] for fee in fill.fees],
        "liquidity": fill.liquidity,
        "traded_at": fill.traded_at.isoformat(),
    }


def _read_fill(symbol: str, shown: Mapping[str, Any]) -> VenueFill:
    return VenueFill(
        symbol=symbol,
        trade_id=shown["trade_id"],
        venue_order_id=shown["venue_order_id"],
        side=Side(shown["side"]),
        quantity=Decimal(shown["quantity"]),
        price=Decimal(shown["price"]),
        cost=Decimal(shown["cost"]),
        fees=tuple(Fee(asset, Decimal(amount)) for asset, amount in shown["fees"]),
        liquidity=shown["liquidity"],
        traded_at=datetime.fromisoformat(shown["traded_at"]),
    )
