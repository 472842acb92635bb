"""Real processes killed at random under a bot that retries blindly, judged from outside.

200 orders of every kind through two APIs and two executors; ten kill -9 of random services, the
paper exchange among them, spread over the run by a seed; a supervisor starts the dead again. Then
the auditor must find nothing. ORDERONCE_CHAOS_SEED repeats a run's orders and victims.
"""

import asyncio
import os
import random
from functools import partial
from pathlib import Path

import pytest

from tests.auditor import Doors, audit_settled, report
from tests.line import Child, Line, Shape, run_line, until
from tests.servers import Database
from tests.workload import Bot, mixed_orders

ORDERS = 200
KILLS = 10
AT_ONCE = 16  # orders in flight
RUN_S = 150.0  # all orders, ten restarts among them
RESTART_S = 0.3  # the embedded stack's supervisor promises a second
SETTLE_S = 60.0  # the longest: restart, window, step allowance, late visibility, Kafka's session
ACCOUNTS = ("paper-1", "paper-2", "paper-3")


async def _supervise(line: Line, done: asyncio.Event) -> None:
    """Start again whatever has died, as the stack's supervisor does."""
    while not done.is_set():
        for child in line.children:
            if not child.running:
                await asyncio.sleep(RESTART_S)
                child.start()
        await asyncio.sleep(0.05)


async def _kill_at(line: Line, source: random.Random, progress: list[int]) -> list[str]:
    """Ten kills, each when a tenth more of the orders has been answered."""
    killed: list[str] = []
    for n in range(KILLS):
        due = n * ORDERS // KILLS + source.randrange(ORDERS // KILLS)
        await until(partial(_has_reached, progress, due), RUN_S, f"{due} orders are answered")
        victim = source.choice(line.children)
        await until(partial(_runs, victim), RUN_S, f"{victim.name} runs")
        victim.kill()
        killed.append(victim.name)
    return killed


def _has_reached(progress: list[int], due: int) -> bool:
    return progress[0] >= due


def _runs(child: Child) -> bool:
    return child.running


async def _place_all(line: Line, bot: Bot, seed: int, progress: list[int]) -> None:
    """All orders, some of them posted twice, and every resting one canceled."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, body: dict[str, object]) -> None:
        async with gate:
            placed = await bot.place(body)
            assert placed.status == 202, placed.reply
            if number % 5 == 0:
                again = await bot.place(body, placed.key)
                assert again.reply == placed.reply
            if body.get("post_only"):
                await bot.cancel(placed.told()["order_id"])
            progress[0] += 1

    bodies = mixed_orders(seed, ORDERS, ACCOUNTS)
    await asyncio.gather(*(one(number, body) for number, body in enumerate(bodies)))


@pytest.mark.timeout(280)
async def test_200_orders_and_10_kills(
    database: Database,
    kafka_bootstrap: str,
    topic_prefix: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    seed = int(os.environ.get("ORDERONCE_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"ORDERONCE_CHAOS_SEED={seed}")  # noqa: T201 (shown with a failure)
    shape = Shape(apis=2, executors=2, accounts=ACCOUNTS)
    async with run_line(database, kafka_bootstrap, topic_prefix, tmp_path / "line", shape) as line:
        _, key = await line.make_key("chaos", ACCOUNTS)
        bot, done, progress = Bot(line.api_urls, key), asyncio.Event(), [0]
        supervisor = asyncio.create_task(_supervise(line, done))
        killer = asyncio.create_task(_kill_at(line, random.Random(seed), progress))
        await _place_all(line, bot, seed, progress)
        killed = await killer
        print(f"killed: {', '.join(killed)}")  # noqa: T201 (shown with a failure)
        for child in line.children:
            await until(partial(_runs, child), RUN_S, f"{child.name} runs again")
            await child.wait_ready(line.http)
        doors = Doors(line.api_urls, line.control_url, line.ledger_url, key, ACCOUNTS)
        found = await audit_settled(doors, bot.record, limit_s=SETTLE_S)
        done.set()
        await supervisor
        await bot.close()
        assert len(bot.record.placed_keys()) == ORDERS
        assert not found, f"seed {seed}, killed {killed}\n{report(found)}"
