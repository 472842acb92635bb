"""What every service process says about itself at /metrics: build, readiness, event loop, pool,
Kafka lag. The names of all metrics are public (docs/metrics.md): dashboards and alerts stand on
them.

Everything here is read from memory at the scrape; a scrape never asks the database or the broker.
"""

import asyncio
from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
)

from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.database import Pool
from orderonce_shared.runtime.process import Health, Process

TICK_S = 0.25
LAGS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

Records = Callable[[], float]


class Vitals:
    """Made once per process in main.py, on the registry that its own metrics stand on."""

    def __init__(self, registry: CollectorRegistry, part: str, health: Health) -> None:
        ProcessCollector(registry=registry)
        Info("orderonce_build", "The part that runs, and its version", registry=registry).info(
            {"part": part, "version": version("orderonce")}
        )
        ready = Gauge(
            "orderonce_ready",
            "1 while /readyz says 200, 0 while it names troubles",
            registry=registry,
        )
        ready.set_function(lambda: float(not health.troubles))
        self._loop_lag = Histogram(
            "orderonce_event_loop_lag_seconds",
            f"How late a timer of {TICK_S} s came: what everything here waits for, first of all",
            buckets=LAGS_S,
            registry=registry,
        )
        self._pool = Gauge(
            "orderonce_postgres_pool_connections",
            "Connections of the pool to Postgres: idle, used, or free to be opened",
            ["state"],
            registry=registry,
        )
        self._kafka_lag = Gauge(
            "orderonce_kafka_consumer_lag_records",
            "Records in this process's partitions that it has not committed, as far as its last"
            " fetch has told; sum() over the processes of a part",
            ["topic"],
            registry=registry,
        )
        self._replaced = Counter(
            "orderonce_kafka_producers_replaced",
            "Producers that failed and were closed; the next publish builds a new one",
            registry=registry,
        )

    async def watch_loop(self, process: Process, clock: Clock) -> None:
        """Sleeps TICK_S at a time and writes down how late it woke, until the process stops."""
        while not process.stopping.is_set():
            due = clock.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            self._loop_lag.observe(max(0.0, clock.monotonic() - due))

    def watch_pool(self, pool: Pool) -> None:
        """asyncpg counts in memory: no connection is taken for this."""
        state = self._pool.labels
        state("idle").set_function(lambda: float(pool.get_idle_size()))
        state("used").set_function(lambda: float(pool.get_size() - pool.get_idle_size()))
        state("free").set_function(lambda: float(pool.get_max_size() - pool.get_size()))

    def watch_lag(self, topic: str, records: Records) -> None:
        """`records` counts what is not committed yet; it is called at each scrape."""
        self._kafka_lag.labels(topic).set_function(records)

    def count_replaced(self) -> None:
        self._replaced.inc()
