"""What /metrics says. Made once in main.py and handed to the verbs; denied, rejected, not placed
and unknown never mix.

The names are public (docs/metrics.md). `account` is the only label with a name of the user's: there
are as many as were admitted. Gauges of rows are counted by each process over the rows that it
looks after, so that their sum() is the whole. Counters whose labels are known begin at 0: the
first of a kind would not show as an increase otherwise.
"""

from orderonce_shared.domain.lifecycle import FINAL
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from orderonce_executor.core import Bar
from orderonce_executor.words import VERDICT_NAMES

FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SLOW = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800)
QUEUE = (*FAST, 30, 60, 120)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
PREFIX = "orderonce_executor"


class Metrics:
    """All numbers of one executor process, but for the lanes' (lane_numbers.py)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._claims()
        self._sends()
        self._words()
        self._rows()
        self._streams()

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", meaning, labels, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"{PREFIX}_{name}", meaning, labels, buckets=buckets, registry=self.registry
        )

    def _claims(self) -> None:
        self.batch = self._histogram(
            "claim_batch_records", "Records of orders.commands per claim", SIZES
        )
        self.claims = self._counter("claims", "Orders claimed")
        self.repeats = self._counter(
            "repeats", "Commands that were claimed already: answered again"
        )
        self.alarms = self._counter(
            "contradictions", "Commands refused because they contradict a stored one (F9)"
        )
        self.dead_letters = self._counter("dead_letters", "Records sent to orders.dlq (F14)")
        self.parked = self._gauge(
            "partitions_parked",
            "Partitions that rest here before a record of a schema that is not known yet (F14)",
        )
        self.lag = self._histogram(
            "claim_lag_seconds", "From acceptance to the claim, each command once or more", FAST
        )

    def _sends(self) -> None:
        self.cas_size = self._histogram("cas_batch_rows", "Rows per CAS to `sending`", SIZES)
        self.cas_misses = self._counter(
            "cas_misses",
            "Rows that the CAS did not send, by why: stale (another changed it), waiting (account"
            " halted or clock unknown), canceled, revoked, exhausted, lapsed",
            "why",
        )
        for why in ("stale", "waiting", *Bar):
            self.cas_misses.labels(str(why))
        self.queue_s = self._histogram(
            "queue_seconds",
            "From the claim to the CAS that sends: budget, connections, turns",
            SLOW,
        )
        self.sends = self._counter("sends", "Create requests begun")
        self.verdicts = self._counter(
            "verdicts", "Answers to creates by what they prove (silence proves nothing)", "verdict"
        )
        for verdict in VERDICT_NAMES.values():
            self.verdicts.labels(verdict)
        self.send_s = self._histogram("send_seconds", "From the create to the venue's answer", FAST)
        self.pauses = self._counter(
            "lane_pauses", "Times a lane rested because its venue asked for it (F18)", "account"
        )
        self.offset_s = self._gauge(
            "venue_clock_offset_seconds",
            "The venue's clock minus the database's (F11); each process measures: take max(abs())",
            "account",
        )

    def _words(self) -> None:
        self.record_s = self._histogram(
            "record_seconds", "One transaction that records what was heard, commit included", FAST
        )
        self.record_misses = self._counter(
            "record_misses", "Words kept because their row had moved on meanwhile (R6)"
        )
        self.endings = self._counter("endings", "Orders ended, by final state", "state")
        for state in FINAL:
            self.endings.labels(state.value)
        self.look_ups = self._counter("look_ups", "Look-ups at a venue by verdict", "verdict")
        self.resolve_s = self._histogram(
            "resolve_seconds",
            "From the send to the evidence that ended `unknown`, by the state that it proved",
            SLOW,
            "state",
        )
        self.cancels = self._counter("cancels", "Cancel requests to a venue by verdict", "verdict")
        self.incidents = self._counter(
            "incidents", "Things that must not happen: a late fill, a word that cannot be stored"
        )

    def _rows(self) -> None:
        self.rows = self._gauge(
            "orders", "Orders this process looks after, by state; sum() over executors", "state"
        )
        self.oldest_unknown_s = self._gauge(
            "unknown_oldest_age_seconds",
            "Age of the oldest unknown order of this process, from its send; 0 without one; max()",
        )
        self.outbox = self._gauge(
            "outbox_records",
            "Events and fills that Kafka has not acknowledged; sum() over executors",
        )
        self.adopted = self._counter("adopted_orders", "Orders taken over from dead processes")
        self.lock_held = self._gauge(
            "lock_held", "1 while this process holds its lock (R8) and may send; 0: it may not"
        )
        self.fenced = self._gauge(
            "fenced",
            "1 while this process refuses to send: the database is on another history (R13)",
        )

    def _streams(self) -> None:
        self.stream_up = self._gauge(
            "stream_up",
            "1 while the venue tells this process of the account's orders (R9); 0: REST alone",
            "account",
        )
        self.stream_starts = self._counter(
            "stream_starts", "Subscriptions that came to stand; above 1: reconnects", "account"
        )
        self.stream_reports = self._counter(
            "stream_reports",
            "What streams told, by what came of it: waiting (to be judged with its order), foreign"
            " (not an order that this process looks after), unreadable",
            "outcome",
        )
        for outcome in ("waiting", "foreign", "unreadable"):
            self.stream_reports.labels(outcome)
        self.stream_words = self._counter(
            "stream_words",
            "Reports of one order judged together: recorded, known (REST was first), missed (left"
            " to REST), gap (fills fetched by REST)",
            "outcome",
        )
        for outcome in ("recorded", "known", "missed", "gap"):
            self.stream_words.labels(outcome)
