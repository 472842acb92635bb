"""PURE: rows -> what the HTTP door shows. Amounts are strings,
times RFC 3339 in UTC with microseconds.

Each answer carries `as_of`; `source_age_seconds` is how old the newest word behind it is (null:
there is none yet).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from orderonce_shared.contracts.wire import render_time
from orderonce_shared.domain.money import render_amount

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AccountShown:
    account: str
    venue: str
    books: str  # "open", or "waiting"
    waiting_for: str | None
    shard: int | None
    head: str | None  # "shard-seq" of the chain's last journal
    head_hash: str | None
    opened_at: str | None
    parked_fills: int
    open_breaks: int
    proven_at: str | None
    last_run: str | None
    last_run_status: str | None
    last_run_reason: str | None
    last_run_at: str | None


@dataclass(frozen=True, slots=True)
class Accounts:
    as_of: str
    accounts: list[AccountShown]


@dataclass(frozen=True, slots=True)
class HeldShown:
    """What the books say that the account holds at its venue."""

    asset: str
    balance: str


@dataclass(frozen=True, slots=True)
class BalanceShown:
    """One account of the books: its wallet at the venue, clearing, fees, rebates, opening."""

    path: str
    ledger_class: str  # A asset, E equity, I income, X expense
    asset: str
    balance: str  # debits - credits
    debits: str
    credits: str


@dataclass(frozen=True, slots=True)
class Balances:
    as_of: str
    source_age_seconds: float | None  # since the last booking
    account: str
    last_journal: str | None
    balances: list[HeldShown]
    ledger_accounts: list[BalanceShown]


@dataclass(frozen=True, slots=True)
class FeeShown:
    asset: str
    amount: str


@dataclass(frozen=True, slots=True)
class FillShown:
    journal: str
    journal_hash: str
    account: str
    venue: str
    symbol: str
    side: str
    order_id: str
    client: str
    client_order_id: str
    venue_order_id: str
    trade_id: str
    quantity: str
    price: str
    cost: str
    fees: list[FeeShown]
    liquidity: str
    traded_at: str
    booked_at: str


@dataclass(frozen=True, slots=True)
class Fills:
    as_of: str
    source_age_seconds: float | None  # since the newest fill on this page was booked
    fills: list[FillShown]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class EntryShown:
    line: int
    debit: str
    credit: str
    asset: str
    amount: str
    role: str


@dataclass(frozen=True, slots=True)
class JournalShown:
    as_of: str
    journal: str
    kind: str
    account: str
    venue: str
    source: str
    source_key: str
    payload_hash: str
    event_at: str
    booked_at: str
    prev_hash: str
    hash: str
    entries: list[EntryShown]
    fill: FillShown | None


@dataclass(frozen=True, slots=True)
class ProofShown:
    account: str
    asset: str
    venue_balance: str
    ledger_balance: str
    explained: str  # the effects of open breaks that a record backs
    in_flight: str  # trades known to one side only, younger than the grace
    proof: str  # venue - ledger - explained - in flight; zero is the only good one


@dataclass(frozen=True, slots=True)
class RunShown:
    account: str
    status: str  # ok, not_quiet, failed
    reason: str | None
    full_history: bool
    asked_by: str
    started_at: str
    finished_at: str
    statement_at: str | None
    venue_trades: int
    ledger_trades: int
    matched: int
    breaks: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    as_of: str
    source_age_seconds: float | None  # since the run ended
    id: str
    status: str  # the worst of its runs
    proven: bool  # every run ok and every proof zero
    runs: list[RunShown]
    proof: list[ProofShown]


@dataclass(frozen=True, slots=True)
class ProvenAccount:
    account: str
    run: str
    statement_at: str
    age_seconds: float
    proven: bool
    last_run_status: str  # of the newest run, which may have failed since
    last_run_reason: str | None


@dataclass(frozen=True, slots=True)
class Proof:
    as_of: str
    source_age_seconds: float | None  # of the oldest statement among them
    accounts: list[ProvenAccount]
    proof: list[ProofShown]


@dataclass(frozen=True, slots=True)
class BreakStep:
    step: str
    at: str
    actor: str
    run: str | None
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BreakShown:
    id: str
    account: str
    type: str
    status: str
    symbol: str | None
    natural_key: str
    first_seen: str
    last_seen: str
    age_seconds: float
    effect: dict[str, str]  # venue minus ledger, by asset
    detail: dict[str, Any]
    history: list[BreakStep]


@dataclass(frozen=True, slots=True)
class Breaks:
    as_of: str
    source_age_seconds: float | None  # since the oldest of the accounts' last runs
    breaks: list[BreakShown]
    next_cursor: str | None


def when(moment: datetime | None) -> str | None:
    return None if moment is None else render_time(moment)


def age(now: datetime, moment: datetime | None) -> float | None:
    return None if moment is None else max(0.0, round((now - moment).total_seconds(), 3))


def amount(value: Decimal) -> str:
    return render_amount(value)


def account_shown(row: Row, closed: Mapping[str, str]) -> AccountShown:
    is_open = row["shard"] is not None
    return AccountShown(
        account=row["account"],
        venue=row["venue"],
        books="open" if is_open else "waiting",
        waiting_for=None if is_open else closed.get(row["account"], "the first round"),
        shard=row["shard"],
        head=f"{row['shard']}-{row['seq']}" if is_open and row["seq"] else None,
        head_hash=row["hash"],
        opened_at=when(row["opened_at"]),
        parked_fills=row["parked"],
        open_breaks=row["open_breaks"],
        proven_at=when(row["proven_at"]),
        last_run=str(row["last_run_id"]) if row["last_run_id"] else None,
        last_run_status=row["last_run_status"],
        last_run_reason=row["last_run_reason"],
        last_run_at=when(row["last_run_at"]),
    )


def held(rows: Sequence[Row], path: str) -> list[HeldShown]:
    return [HeldShown(row["asset"], amount(row["balance"])) for row in rows if row["path"] == path]


def balance_shown(row: Row) -> BalanceShown:
    return BalanceShown(
        row["path"],
        row["class"],
        row["asset"],
        amount(row["balance"]),
        amount(row["debits"]),
        amount(row["credits"]),
    )


def fill_shown(row: Row, booked_at: datetime, journal_hash: str) -> FillShown:
    return FillShown(
        journal=f"{row['shard']}-{row['seq']}",
        journal_hash=journal_hash,
        account=row["account"],
        venue=row["venue"],
        symbol=row["symbol"],
        side=row["side"],
        order_id=str(row["order_id"]),
        client=row["client"],
        client_order_id=row["client_order_id"],
        venue_order_id=row["venue_order_id"],
        trade_id=row["trade_id"],
        quantity=amount(row["quantity"]),
        price=amount(row["price"]),
        cost=amount(row["cost"]),
        fees=[FeeShown(asset, text) for asset, text in row["fees"]],
        liquidity=row["liquidity"],
        traded_at=render_time(row["traded_at"]),
        booked_at=render_time(booked_at),
    )


def entry_shown(row: Row) -> EntryShown:
    return EntryShown(
        row["line"], row["debit"], row["credit"], row["asset"], amount(row["amount"]), row["role"]
    )


def proof_shown(row: Row) -> ProofShown:
    return ProofShown(
        row["account"],
        row["asset"],
        amount(row["venue_balance"]),
        amount(row["ledger_balance"]),
        amount(row["explained"]),
        amount(row["in_flight"]),
        amount(row["proof"]),
    )


def run_shown(row: Row) -> RunShown:
    return RunShown(
        account=row["account"],
        status=row["status"],
        reason=row["reason"],
        full_history=row["full_history"],
        asked_by=row["asked_by"],
        started_at=render_time(row["started_at"]),
        finished_at=render_time(row["finished_at"]),
        statement_at=when(row["statement_at"]),
        venue_trades=row["venue_trades"],
        ledger_trades=row["ledger_trades"],
        matched=row["matched"],
        breaks=row["breaks"],
    )


def reconciliation(
    run_id: str, now: datetime, runs: Sequence[Row], proof: Sequence[Row]
) -> Reconciliation:
    statuses = {row["status"] for row in runs}
    worst = next((s for s in ("failed", "not_quiet", "ok") if s in statuses), "ok")
    return Reconciliation(
        as_of=render_time(now),
        source_age_seconds=age(now, min((row["finished_at"] for row in runs), default=None)),
        id=run_id,
        status=worst,
        proven=worst == "ok" and all(row["proof"] == 0 for row in proof),
        runs=[run_shown(row) for row in runs],
        proof=[proof_shown(row) for row in proof],
    )


def proof_answer(now: datetime, proof: Sequence[Row], last_runs: Sequence[Row]) -> Proof:
    newest = {row["account"]: row for row in last_runs}
    proven: dict[str, ProvenAccount] = {}
    for row in proof:
        name = row["account"]
        before = proven.get(name)
        proven[name] = ProvenAccount(
            account=name,
            run=str(row["run_id"]),
            statement_at=render_time(row["statement_at"]),
            age_seconds=age(now, row["finished_at"]) or 0.0,
            proven=row["proof"] == 0 and (before is None or before.proven),
            last_run_status=newest[name]["status"],
            last_run_reason=newest[name]["reason"],
        )
    return Proof(
        as_of=render_time(now),
        source_age_seconds=max((one.age_seconds for one in proven.values()), default=None),
        accounts=list(proven.values()),
        proof=[proof_shown(row) for row in proof],
    )


def break_shown(row: Row, events: Sequence[Row], now: datetime) -> BreakShown:
    history = [
        BreakStep(
            event["step"],
            render_time(event["at"]),
            event["actor"],
            str(event["run_id"]) if event["run_id"] else None,
            event["detail"],
        )
        for event in events
    ]
    return BreakShown(
        id=str(row["break_id"]),
        account=row["account"],
        type=row["type"],
        status=row["status"],
        symbol=row["symbol"],
        natural_key=row["natural_key"],
        first_seen=render_time(row["first_seen"]),
        last_seen=render_time(row["last_seen"]),
        age_seconds=age(now, row["first_seen"]) or 0.0,
        effect=row["effect"],
        detail=row["detail"],
        history=history,
    )
