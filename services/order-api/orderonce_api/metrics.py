"""What is counted, on the admin port's /metrics. No label holds a client's,
key's or order's name.
"""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


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
    replies: Counter = field(init=False)

    def __post_init__(self) -> None:
        made = self.registry
        self.accepts = Counter(
            "order_api_accepts", "first accepts, committed", ["kind"], registry=made
        )
        self.replays = Counter("order_api_replays", "answers given again", ["kind"], registry=made)
        self.conflicts = Counter(
            "order_api_conflicts", "keys used for another request", registry=made
        )
        self.denials = Counter("order_api_denials", "business denials", ["code"], registry=made)
        self.batch_size = Histogram(
            "order_api_batch_size", "commands per commit", ["kind"], buckets=_SIZES, registry=made
        )
        self.accept_s = Histogram(
            "order_api_accept_seconds",
            "from the parsed request to the committed answer",
            ["kind"],
            buckets=_LATENCY_S,
            registry=made,
        )
        self.published = Counter(
            "order_api_published", "records offered to Kafka", ["by", "outcome"], registry=made
        )
        self.unclaimed = Gauge(
            "order_api_unclaimed", "commands the executor has not claimed", registry=made
        )
        self.oldest_unclaimed_s = Gauge(
            "order_api_oldest_unclaimed_seconds", "age of the oldest of them", registry=made
        )
        self.events = Counter(
            "order_api_events", "snapshots from the executor", ["outcome"], registry=made
        )
        self.fills = Counter(
            "order_api_fills", "fills from the executor", ["outcome"], registry=made
        )
        self.replies = Counter("order_api_replies", "HTTP replies", ["status"], registry=made)
