"""When reconciliations run: every so often by themselves, full ones now and then, and at once when
somebody asks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.ids import new_order_id
from orderonce_shared.runtime.logs import Logger

from orderonce_ledger.breaks import BreakType
from orderonce_ledger.metrics import Metrics
from orderonce_ledger.ports import Admitted, RunRow
from orderonce_ledger.reconcile import Reconciler
from orderonce_ledger.store import Store

SCHEDULED = "schedule"


@dataclass(slots=True)
class Schedule:
    """The first run after a start is full: what changed meanwhile is not known."""

    store: Store
    reconciler: Reconciler
    metrics: Metrics
    clock: Clock
    log: Logger
    full_every_s: float
    last_full: dict[str, float] = field(default_factory=dict)

    async def step(self) -> None:
        """One run over all accounts whose books are open."""
        accounts = [account for account in await self.store.admitted() if account.shard is not None]
        now = self.clock.monotonic()
        due = [
            a for a in accounts if now - self.last_full.get(a.account, -1e9) >= self.full_every_s
        ]
        run_id = new_order_id()
        rows = await self._run(due, run_id, SCHEDULED, full=True)
        for row in rows:
            if row.status == "ok":
                self.last_full[row.account] = now
        done = {account.account for account in due}
        rest = [account for account in accounts if account.account not in done]
        await self._run(rest, run_id, SCHEDULED, full=False)

    async def now(self, accounts: Sequence[Admitted], asked_by: str) -> UUID:
        """A full run, ended when this returns."""
        run_id = new_order_id()
        await self._run(accounts, run_id, asked_by, full=True)
        return run_id

    async def _run(
        self, accounts: Sequence[Admitted], run_id: UUID, asked_by: str, *, full: bool
    ) -> list[RunRow]:
        rows = await self.reconciler.run(accounts, run_id=run_id, asked_by=asked_by, full=full)
        for row in rows:
            self.metrics.runs.labels(row.status).inc()
            if row.status != "ok" or row.breaks:
                self.log.warning(
                    "reconciled",
                    account=row.account,
                    run_id=str(run_id),
                    status=row.status,
                    reason=row.reason,
                    breaks=row.breaks,
                )
        return rows

    async def signs(self) -> None:
        """What the gauges show, read from the database: right whoever wrote it."""
        signs = await self.store.vital_signs()
        self.metrics.parked.set(signs["parked"])
        self.metrics.proof_nonzero.set(signs["nonzero"])
        self.metrics.run_age_seconds.set(signs["oldest_run_s"] or 0)
        self.metrics.oldest_break_s.set(signs["oldest_break_s"])
        for type_ in BreakType:
            self.metrics.breaks_open.labels(type_.value).set(signs["breaks"].get(type_.value, 0))
