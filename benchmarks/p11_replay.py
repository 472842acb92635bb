"""P11: a retry is cheaper than the first request. The same orders posted twice to one order API:
first accepts, then the same keys again, which are answered from what is stored.

No executor runs meanwhile, so that both sides are the API's own work. In turns, one core for the
API alone.
"""

import argparse
import statistics
from uuid import uuid4

from benchmarks import cpu, stage
from benchmarks.bots import LightBot, Posts
from benchmarks.report import Result, histogram, median_cpu, percentiles_ms, ratio
from benchmarks.stage import OPEN_PAPER, Stage, say
from tests.line import Line, Shape

ACCOUNT = "paper-1"
Round = tuple[Posts, dict[str, float]]


async def run(on: Stage, *, orders: int, rounds: int, in_flight: int) -> Result:
    """`orders` per side and round. The first round warms both up and is not counted."""
    shape = Shape(ledgers=0, accounts=(ACCOUNT,), paper_flags=OPEN_PAPER)
    async with on.line(shape) as line:
        await line.executors[0].stop()
        bot = await light_bot(line)
        accepts, replays = [], []
        try:
            with cpu.pinned("order-api"):
                for number in range(rounds + 1):
                    keys = [f"key-{uuid4().hex}" for _ in range(orders)]
                    accepts.append(await _round(bot, keys, in_flight))
                    replays.append(await _round(bot, keys, in_flight))
                    first, again = accepts[-1][0], replays[-1][0]
                    assert again.replayed == orders
                    say(f"round {number}: {first.wall_s:.2f} s, again {again.wall_s:.2f} s")
        finally:
            await bot.close()
    return _result(accepts[1:], replays[1:], orders, in_flight)


async def light_bot(line: Line) -> LightBot:
    _, bearer = await line.make_key("bench")
    return LightBot(line.api_urls[0], bearer, ACCOUNT)


async def _round(bot: LightBot, keys: list[str], in_flight: int) -> Round:
    meter = cpu.Meter()
    return await bot.closed_loop(keys, in_flight), meter.read()


def _result(accepts: list[Round], replays: list[Round], orders: int, in_flight: int) -> Result:
    result = Result(
        "P11",
        f"{len(accepts)} rounds of {orders} posts per side, {in_flight} in flight",
        "request",
    )
    for side, rounds in (("first accept", accepts), ("replay", replays)):
        whole = histogram()
        for posts, _ in rounds:
            whole.add(posts.latency)
        result.percentiles_ms[side] = percentiles_ms(whole)
        wall = statistics.median(posts.wall_s for posts, _ in rounds)
        result.figures[f"{side}, requests/s"] = orders / wall
        result.cpu_us[side] = median_cpu([spent for _, spent in rounds], orders)
    first, again = ([posts.wall_s for posts, _ in side] for side in (accepts, replays))
    cpu_first, cpu_again = (
        [spent.get("order-api", 0) + spent.get("postgres", 0) for _, spent in side]
        for side in (accepts, replays)
    )
    result.ratios = [
        ratio("rate of replays / rate of first accepts", first, again, 1.0),
        ratio("CPU of a first accept / CPU of a replay (API, Postgres)", cpu_first, cpu_again, 1.0),
    ]
    return result


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--orders", type=int, default=3000, help="per side and round")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--in-flight", type=int, default=32)
    stage.main("benchmarks.p11_replay", options, run)
