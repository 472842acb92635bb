"""What the ledger counts and measures. Read at the admin port."""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(slots=True)
class Metrics:
    """One registry per process, so that tests can have several."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    fills: Counter = field(init=False)
    refused: Counter = field(init=False)
    batch_size: Histogram = field(init=False)
    book_seconds: Histogram = field(init=False)
    lag_seconds: Histogram = field(init=False)
    runs: Counter = field(init=False)
    breaks_open: Gauge = field(init=False)
    parked: Gauge = field(init=False)
    proof_nonzero: Gauge = field(init=False)
    run_age_seconds: Gauge = field(init=False)

    def __post_init__(self) -> None:
        to = self.registry
        self.fills = Counter(
            "ledger_fills", "Fills by what became of them", ["ruling"], registry=to
        )
        self.refused = Counter(
            "ledger_records_refused", "Records that no journal can say", registry=to
        )
        self.batch_size = Histogram(
            "ledger_batch_fills", "Fills per transaction", buckets=_BATCHES, registry=to
        )
        self.book_seconds = Histogram(
            "ledger_book_seconds", "One booking transaction, commit included", registry=to
        )
        self.lag_seconds = Histogram(
            "ledger_lag_seconds", "From the record's time in Kafka to its commit", registry=to
        )
        self.runs = Counter(
            "ledger_reconciliations", "Runs per account by their end", ["status"], registry=to
        )
        self.breaks_open = Gauge("ledger_breaks_open", "Open breaks", ["type"], registry=to)
        self.parked = Gauge("ledger_fills_parked", "Fills that wait for an opening", registry=to)
        self.proof_nonzero = Gauge(
            "ledger_proof_nonzero", "Assets whose last proof is not zero", registry=to
        )
        self.run_age_seconds = Gauge(
            "ledger_reconciliation_age_seconds",
            "Age of the oldest last good run of any account",
            registry=to,
        )
