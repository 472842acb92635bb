"""What /metrics says about the lanes: budget left and taken, waits, queues, breakers. Read from
memory at the scrape, so that a send pays two additions for it."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orderonce_executor.lanes import Lane, Lanes
from orderonce_executor.metrics import PREFIX

LABELS = ("account",)


class LaneNumbers(Collector):
    """Registers itself."""

    def __init__(self, lanes: Lanes, registry: CollectorRegistry) -> None:
        self._lanes = lanes
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        return self._families([])

    def collect(self) -> Iterator[Metric]:
        yield from self._families(list(self._lanes.served.values()))

    def _families(self, lanes: list[Lane]) -> Iterator[Metric]:
        now = self._lanes.monotonic()
        tokens = _gauge("budget_tokens", "Requests that may leave now; below 0 questions wait")
        burst = _gauge("budget_burst_tokens", "The most that budget_tokens can be")
        reserve = _gauge(
            "budget_reserve_tokens", "Kept from creates: for cancels and look-ups only"
        )
        taken = CounterMetricFamily(
            f"{PREFIX}_budget_taken_tokens",
            "Taken from the budget, by what for: creates, questions (cancels, look-ups, polls)",
            labels=[*LABELS, "use"],
        )
        waited = CounterMetricFamily(
            f"{PREFIX}_budget_wait_seconds",
            "What questions had to wait for the budget, added up",
            labels=LABELS,
        )
        queued = _gauge("lane_queued_orders", "Claimed orders in hand that wait for their turn")
        wire = _gauge("lane_creates_in_flight", "Creates whose answer is awaited")
        paused = _gauge("breaker_open", "1 while an account's new sends rest (R12); 0: they leave")
        openings = CounterMetricFamily(
            f"{PREFIX}_breaker_openings",
            "Times an account's new sends began to rest (R12), by cause: failures, unknowns",
            labels=[*LABELS, "cause"],
        )
        for lane in lanes:
            name, budget = [lane.account], lane.budget
            tokens.add_metric(name, budget.left(now))
            burst.add_metric(name, budget.limits.burst)
            reserve.add_metric(name, budget.limits.reserve)
            taken.add_metric([*name, "creates"], budget.taken_creates)
            taken.add_metric([*name, "questions"], budget.taken_questions)
            waited.add_metric(name, budget.waited_s)
            queued.add_metric(name, len(lane.queue))
            wire.add_metric(name, budget.creates_in_flight)
            paused.add_metric(name, lane.breaker.is_open)
            for cause, times in lane.breaker.openings.items():
                openings.add_metric([*name, cause.value], times)
        yield from (tokens, burst, reserve, taken, waited, queued, wire, paused, openings)


def _gauge(name: str, meaning: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=LABELS)
