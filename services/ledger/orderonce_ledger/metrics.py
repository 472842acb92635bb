"""What the ledger counts and measures. Read at the admin port; the names are public
(docs/metrics.md).

Gauges of breaks, proofs and runs show the database: every ledger process shows the same, so take
max() over them, never sum().
"""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from orderonce_ledger.breaks import BreakType

BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500)
FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
PREFIX = "orderonce_ledger"


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
    oldest_break_s: Gauge = field(init=False)
    parked: Gauge = field(init=False)
    proof_nonzero: Gauge = field(init=False)
    run_age_seconds: Gauge = field(init=False)

    def __post_init__(self) -> None:
        self.fills = self._counter("fills", "Fills by what became of them", "ruling")
        self.refused = self._counter(
            "dead_letters", "Records sent to orders.dlq: no journal can say them"
        )
        self.batch_size = self._histogram("book_batch_fills", "Fills per transaction", BATCHES)
        self.book_seconds = self._histogram(
            "book_seconds", "One booking transaction, commit included", FAST
        )
        self.lag_seconds = self._histogram(
            "lag_seconds", "From a batch's first record in Kafka to its commit in the books", FAST
        )
        self.runs = self._counter(
            "reconciliations", "Reconciliations of one account by their end", "status"
        )
        self.breaks_open = self._gauge(
            "breaks_open", "Open breaks by type; the database's: max() over ledgers", "type"
        )
        for type_ in BreakType:
            self.breaks_open.labels(type_.value).set(0)
        self.oldest_break_s = self._gauge(
            "breaks_oldest_age_seconds", "Age of the oldest open break, 0 without one; max()"
        )
        self.parked = self._gauge(
            "fills_parked", "Fills that wait for their account's books to open; max()"
        )
        self.proof_nonzero = self._gauge(
            "proof_nonzero_assets", "Assets of any account whose last proof is not zero; max()"
        )
        self.run_age_seconds = self._gauge(
            "reconciliation_age_seconds",
            "Age of the oldest last good reconciliation of any account with open books; max()",
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", meaning, buckets=buckets, registry=self.registry)
