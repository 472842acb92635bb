"""What /metrics says. Made once in main.py and handed to the verbs; denied, rejected, not placed
and unknown never mix."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """All numbers of one executor process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        p = "orderonce_executor"
        r = registry
        self.batch = Histogram(f"{p}_batch_records", "records per claim", buckets=SIZES, registry=r)
        self.claims = Counter(f"{p}_claims", "orders claimed", registry=r)
        self.repeats = Counter(f"{p}_repeats", "commands that were known already", registry=r)
        self.alarms = Counter(f"{p}_alarms", "commands that contradict a stored one", registry=r)
        self.dead_letters = Counter(f"{p}_dead_letters", "records sent to the DLQ", registry=r)
        self.parked = Counter(f"{p}_parked", "times a partition was parked", registry=r)
        self.lag = Histogram(
            f"{p}_claim_lag_seconds", "acceptance to claim", buckets=FAST, registry=r
        )
        self.cas_size = Histogram(f"{p}_cas_rows", "rows per CAS", buckets=SIZES, registry=r)
        self.cas_stale = Counter(f"{p}_cas_stale", "rows that another had changed", registry=r)
        self.barred = Counter(f"{p}_barred", "rows ended by the CAS", ["why"], registry=r)
        self.sends = Counter(f"{p}_sends", "create requests begun", registry=r)
        self.verdicts = Counter(f"{p}_verdicts", "answers to creates", ["verdict"], registry=r)
        self.send_s = Histogram(f"{p}_send_seconds", "create to answer", buckets=FAST, registry=r)
        self.record_misses = Counter(
            f"{p}_record_misses", "words kept because their row had moved on", registry=r
        )
        self.endings = Counter(f"{p}_endings", "orders ended", ["state"], registry=r)
        self.look_ups = Counter(f"{p}_look_ups", "look-ups", ["verdict"], registry=r)
        self.cancels = Counter(f"{p}_cancels", "cancel requests", ["verdict"], registry=r)
        self.incidents = Counter(f"{p}_incidents", "things that must not happen", registry=r)
        self.pauses = Counter(f"{p}_lane_pauses", "times a lane rested", ["account"], registry=r)
        self.offset_ms = Gauge(
            f"{p}_venue_offset_ms", "venue's clock minus the database's", ["account"], registry=r
        )
        self.rows = Gauge(f"{p}_rows", "rows looked after", ["state"], registry=r)
        self.oldest_unknown_s = Gauge(
            f"{p}_oldest_unknown_seconds", "age of the oldest unknown order", registry=r
        )
        self.outbox = Gauge(f"{p}_outbox", "letters not acknowledged yet", registry=r)
        self.adopted = Counter(f"{p}_adopted", "rows taken over from dead processes", registry=r)
