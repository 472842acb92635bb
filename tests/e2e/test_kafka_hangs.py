"""F4: Kafka hangs, for longer than a publish may take.

A line on a Kafka of its own: the others' must not stand still.
"""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from orderonce_cli.stack import kafka

from tests import servers
from tests.e2e.judging import assert_clean
from tests.line import Line, Shape, run_line, until
from tests.servers import Database
from tests.workload import Bot, market_order

ORDERS = 6
HEALED_S = 60.0  # the longest pause of the sweeper is 30 s, and readers come back within seconds
REPLACED = "orderonce_kafka_producers_replaced_total"


@dataclass
class Frozen:
    """A broker, and the hand that stops it."""

    bootstrap: str
    process: subprocess.Popen[bytes]

    def freeze(self) -> None:
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)


@contextmanager
def own_kafka() -> Iterator[Frozen]:
    ports = {"kafka": servers.pick_port(), "kafka-controller": servers.pick_port()}
    with servers.data_layout() as layout:
        class_path = kafka.prepare(layout, ports, print)
        with servers.child(kafka.spec(layout, class_path, {"PATH": os.defpath}), layout) as process:
            made = Frozen(f"127.0.0.1:{ports['kafka']}", process)
            servers.wait_until(
                lambda: servers.kafka_answers(ports["kafka"]), servers.KAFKA_READY_S, "Kafka"
            )
            try:
                yield made
            finally:
                made.thaw()


@pytest.fixture(scope="module")
def frozen() -> Iterator[Frozen]:
    with own_kafka() as made:
        yield made


@pytest.fixture
async def own_line(frozen: Frozen, database: Database, tmp_path: Path) -> AsyncIterator[Line]:
    async with (
        servers.topics(frozen.bootstrap, "f4.") as prefix,
        run_line(database, frozen.bootstrap, prefix, tmp_path / "line", Shape()) as line,
    ):
        yield line
        frozen.thaw()


async def test_F04_orders_are_taken_while_kafka_hangs_and_end_when_it_goes_on(
    own_line: Line, frozen: Frozen
) -> None:
    """The broker stands still with a producer's batch in flight. 202s go on, the producer is given
    up, and a new one publishes what was accepted.

    Guard: F4, a publish has a deadline, and a producer that failed once is closed and built anew.
    """
    _, key = await own_line.make_key("bot-hangs")
    bot = Bot(own_line.api_urls, key)
    try:
        first = await bot.place(market_order())
        await bot.wait_for(first.told()["order_id"], "filled")
        before = await _replaced(own_line)
        frozen.freeze()
        placed = [await bot.place(market_order()) for _ in range(ORDERS)]
        assert {attempt.status for attempt in placed} == {202}

        async def is_given_up() -> bool:
            return await _replaced(own_line) > before

        await until(is_given_up, 20, "the API has given its producer up")
        placed.append(await bot.place(market_order()))
        frozen.thaw()
        for attempt in placed:
            order = await bot.wait_for(attempt.told()["order_id"], "filled", limit_s=HEALED_S)
            assert len(await own_line.creates(order["client_order_id"])) == 1
        await assert_clean(own_line, bot)
    finally:
        await bot.close()


async def _replaced(line: Line) -> float:
    text = (await line.http.get(f"{line.api_admin_urls[0]}/metrics")).text
    (row,) = [row for row in text.splitlines() if row.startswith(REPLACED)]
    return float(row.split()[-1])
