"""P3: what a bot waits longer. From the moment at which an order was meant to leave the bot to its
receipt at the venue, over the whole line, beside plain ccxt from the bot; at a fixed rate, in
turns.

Both ends are on this machine's clock: the bot's intended moment, and the paper exchange's own
request log (whole milliseconds). The difference of the percentiles is what the line adds.
"""

import argparse
import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from hdrh.histogram import HdrHistogram
from orderonce_shared.domain.identity import client_order_id

from benchmarks import cpu, stage
from benchmarks.p11_replay import light_bot
from benchmarks.peer import bare_ccxt
from benchmarks.report import Ratio, Result, histogram, median_cpu, percentiles_ms
from benchmarks.stage import OPEN_EXECUTOR, OPEN_PAPER, Stage, say
from tests.line import Line, Shape

ACCOUNT, PEER_ACCOUNT = "paper-1", "paper-2"
PAGE = 100_000
RECEIPT_LIMIT_S = 30.0
ADDED_P50_MS, ADDED_P99_MS = 5.0, 20.0


async def run(on: Stage, *, orders: int, rounds: int, rate: float) -> Result:
    """`orders` per side and round, at `rate` a second. The first round is not counted."""
    shape = Shape(accounts=(ACCOUNT,), executor_env=OPEN_EXECUTOR, paper_flags=OPEN_PAPER)
    ours, bare, spent = histogram(), histogram(), []
    async with on.line(shape) as line, bare_ccxt(line, PEER_ACCOUNT) as peer:
        bot, receipts = await light_bot(line), Receipts(line)
        try:
            for number in range(rounds + 1):
                counted = number > 0
                meter = cpu.Meter()
                keys = [f"key-{uuid4().hex}" for _ in range(orders)]
                posts = await bot.open_loop(keys, rate)
                due = {client_order_id("bench", key): at for key, at in posts.intended.items()}
                await receipts.measure(due, ours if counted else histogram())
                if counted:
                    spent.append(meter.read())
                asked = {"count": orders, "rate": rate, "name": f"bare{uuid4().hex[:8]}-"}
                told = await peer.ask(asked)
                await receipts.measure(told["intended"], bare if counted else histogram())
                say(f"round {number} done")
        finally:
            await bot.close()
    return _result(ours, bare, spent, (orders, rate))


class Receipts:
    """When the venue received each create, read from its request log page by page."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._since = 0

    async def measure(self, due: Mapping[str, float], into: HdrHistogram) -> None:
        """Waits until every order of `due` (client order id -> seconds) has been received once."""
        missing = dict(due)
        deadline = asyncio.get_running_loop().time() + RECEIPT_LIMIT_S
        while missing:
            for row in await self._page():
                at = missing.pop(row["client_order_id"], None)
                if at is not None:
                    into.record_value(max(1, int(row["received_at"] * 1000 - at * 1e6)))
            late = asyncio.get_running_loop().time() > deadline
            assert not (missing and late), f"{len(missing)} orders never reached the venue"
            if missing:
                await asyncio.sleep(0.05)

    async def _page(self) -> list[dict[str, Any]]:
        path = f"/control/requests?path=/api/v3/order&limit={PAGE}&since={self._since}"
        told = await self._line.control("GET", path)
        self._since = told["next_since"]
        rows: list[dict[str, Any]] = told["requests"]
        return [row for row in rows if row["method"] == "POST"]


def _result(
    ours: HdrHistogram,
    bare: HdrHistogram,
    spent: list[dict[str, float]],
    asked: tuple[int, float],
) -> Result:
    orders, rate = asked
    result = Result(
        "P3", f"{len(spent)} rounds of {orders} orders per side, {rate:g} orders/s", "order"
    )
    result.percentiles_ms = {
        "post to venue receipt": percentiles_ms(ours),
        "bare ccxt to venue receipt": percentiles_ms(bare),
    }
    result.cpu_us = {"line": median_cpu(spent, orders)}
    for name, goal in (("p50", ADDED_P50_MS), ("p99", ADDED_P99_MS)):
        mine, theirs = (told[name] for told in result.percentiles_ms.values())
        result.figures[f"added at {name}, ms (goal {goal:g})"] = mine - theirs
    added = result.figures[f"added at p50, ms (goal {ADDED_P50_MS:g})"]
    share = max(added, 0.001) / ADDED_P50_MS
    result.ratios = [Ratio("added at p50 / what may be added (below 1 is good)", *[share] * 3)]
    return result


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--orders", type=int, default=2000, help="per side and round")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--rate", type=float, default=200.0, help="orders per second")
    stage.main("benchmarks.p3_latency", options, run)
