"""What is counted, on the admin port's /metrics. No label holds a client's,
key's or order's name. The names are public (docs/metrics.md).
"""

from dataclasses import dataclass, field
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LAG_S = (*LATENCY_S, 10.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)
PREFIX = "orderonce_api"


@dataclass(slots=True)
class Metrics:
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    accepts: Counter = field(init=False)
    replays: Counter = field(init=False)
    conflicts: Counter = field(init=False)
    denials: Counter = field(init=False)
    batch_size: Histogram = field(init=False)
    accept_s: Histogram = field(init=False)
    published: Counter = field(init=False)
    unclaimed: Gauge = field(init=False)
    oldest_unclaimed_s: Gauge = field(init=False)
    events: Counter = field(init=False)
    fills: Counter = field(init=False)
    follow_lag_s: Histogram = field(init=False)
    replies: Counter = field(init=False)
    waits: Counter = field(init=False)
    dead_letters: Gauge = field(init=False)

    def __post_init__(self) -> None:
        self.accepts = self._counter("accepts", "First accepts, committed", "kind")
        self.replays = self._counter("replays", "Answers given again to the same key", "kind")
        self.conflicts = self._counter("key_conflicts", "Keys used for another request (F9)")
        self.denials = self._counter("denials", "Business denials", "code")
        self.batch_size = self._histogram(
            "accept_batch_commands", "Commands per commit", SIZES, "kind"
        )
        self.accept_s = self._histogram(
            "accept_seconds", "From the parsed request to the committed answer", LATENCY_S, "kind"
        )
        self.published = self._counter(
            "published_records",
            "Records offered to Kafka: by the commit's own process or the sweeper, and what came"
            " of it",
            "by",
            "outcome",
        )
        for by, outcome in product(("commit", "sweeper"), ("acknowledged", "failed")):
            self.published.labels(by, outcome)
        self.unclaimed = self._gauge(
            "unclaimed_commands",
            "Commands that no executor has claimed yet; the database's: max() over APIs",
        )
        self.oldest_unclaimed_s = self._gauge(
            "unclaimed_oldest_age_seconds",
            "Age of the oldest of them without a letter that waits (F4), 0 without one; max()",
        )
        self.events = self._counter(
            "events", "Snapshots from the executor by what came of them", "outcome"
        )
        self.fills = self._counter(
            "fills", "Fills from the executor by what came of them", "outcome"
        )
        self.follow_lag_s = self._histogram(
            "follow_lag_seconds",
            "From a batch's first record in Kafka to its commit: how late clients see it",
            LAG_S,
            "topic",
        )
        self.replies = self._counter(
            "http_replies", "HTTP replies by port (bots, admin) and status", "port", "status"
        )
        self.waits = self._counter(
            "waits", "Answers held back for `Prefer: wait`, by how the wait ended", "end"
        )
        self.dead_letters = self._gauge(
            "dead_letters", "Dead letters that wait for a person; the database's: max() over APIs"
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", meaning, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"{PREFIX}_{name}", meaning, labels, buckets=buckets, registry=self.registry
        )
