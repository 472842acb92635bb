"""What every process says about itself is read from memory at the scrape."""

import asyncio
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from orderonce_shared.runtime.clock import SystemClock
from orderonce_shared.runtime.kafka_lag import Progress
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.process import Health, Process
from orderonce_shared.runtime.vitals import TICK_S, Vitals
from prometheus_client import CollectorRegistry


def test_readiness_is_what_readyz_says() -> None:
    registry, health = CollectorRegistry(), Health()
    Vitals(registry, "executor", health)

    assert registry.get_sample_value("orderonce_ready") == 1
    health.trouble("database", "away")
    assert registry.get_sample_value("orderonce_ready") == 0
    (build,) = [f for f in registry.collect() if f.name == "orderonce_build"]
    assert build.samples[0].labels["part"] == "executor"


def test_the_pool_is_counted_without_asking_it() -> None:
    class Pool:
        def get_size(self) -> int:
            return 5

        def get_idle_size(self) -> int:
            return 2

        def get_max_size(self) -> int:
            return 8

    registry = CollectorRegistry()
    Vitals(registry, "ledger", Health()).watch_pool(Pool())  # type: ignore[arg-type]

    states = {
        state: registry.get_sample_value("orderonce_postgres_pool_connections", {"state": state})
        for state in ("idle", "used", "free")
    }
    assert states == {"idle": 2, "used": 3, "free": 3}


async def test_a_blocked_loop_is_measured() -> None:
    registry, process = CollectorRegistry(), Process(configure_logs("test"))

    class Blocked(SystemClock):
        """Each look at it is two seconds later than a tick after the one before."""

        looks = 0

        def monotonic(self) -> float:
            self.looks += 1
            if self.looks == 2:
                process.stopping.set()
            return self.looks * (TICK_S + 2.0)

    vitals = Vitals(registry, "executor", process.health)
    async with asyncio.timeout(5):
        await vitals.watch_loop(process, Blocked())

    assert registry.get_sample_value("orderonce_event_loop_lag_seconds_count") == 1
    assert registry.get_sample_value("orderonce_event_loop_lag_seconds_sum") == 2.0


class Consumer:
    """As much of aiokafka's as the lag is read from."""

    def __init__(self, ends: dict[TopicPartition, int | None]) -> None:
        self.ends = ends

    def assignment(self) -> set[TopicPartition]:
        return set(self.ends)

    def highwater(self, place: TopicPartition) -> int | None:
        return self.ends[place]


def record(partition: int, offset: int) -> Any:
    return ConsumerRecord("t", partition, offset, 0, 0, b"", b"", None, 0, 0, ())


def test_lag_is_what_is_not_committed_of_our_own_partitions() -> None:
    first, second = TopicPartition("t", 0), TopicPartition("t", 1)
    consumer, progress = Consumer({first: 110, second: None}), Progress()
    assert progress.lag() == 0

    progress.begun(consumer, [record(0, 100), record(0, 101), record(1, 7)])
    assert progress.lag() == 10, "a batch in hand is not done"
    progress.commit({first: 102})
    consumer.ends[second] = 9
    assert progress.lag() == 8 + 2
    progress.begun(consumer, [record(1, 3)])
    assert progress.lag() == 8 + 6, "it is read again from there"
    progress.commit({second: 7})

    del consumer.ends[second]
    assert progress.lag() == 8, "what another process reads is not ours"
    progress.on_partitions_revoked({first})
    assert progress.lag() == 0, "others may have committed it since"
