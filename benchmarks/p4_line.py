"""P4: how many orders a second the whole line keeps on this machine, load generator and all servers
included, with nothing lost: accepted, claimed, sent, filled, heard of and booked, each once.

`orderonce load` makes the load, rate after rate, until one is not kept. Beside it stands the limit
that the parts' own CPU sets: cores divided by the CPU that an order takes in all processes together
at the highest kept rate. What is missing to that limit was waiting, not work.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cpu, stage
from benchmarks.report import Ratio, Result
from benchmarks.stage import INHERITED, OPEN_EXECUTOR, OPEN_PAPER, Stage, say
from tests.line import Line, Shape

ACCOUNTS = tuple(f"paper-{n}" for n in range(1, 9))
GOAL_PER_S, GOAL_CPU_US = 600.0, 2_500.0
NEARLY = 0.95  # of what was meant is sent, and of what was sent ends, while the load lasts
STEP_LIMIT_S = 180.0


@dataclass(frozen=True)
class Step:
    """One rate, tried for a while."""

    rate: float
    report: dict[str, Any]
    spent: dict[str, float]  # CPU seconds by part, the wait for the last orders included

    @property
    def sent(self) -> int:
        sent: int = self.report["counts"]["sent"]
        return sent

    def kept(self, bound_ms: float) -> bool:
        """Nothing lost or doubled, and the line was not falling behind."""
        heard, achieved = self.report["hops"]["heard"], self.report["achieved"]
        return bool(
            self.report["holds"]
            and achieved["sent_per_s"] >= NEARLY * self.rate
            and achieved["final_per_s"] >= NEARLY * achieved["sent_per_s"]
            and heard["p99"] <= bound_ms
        )


async def run(on: Stage, *, rates: list[float], seconds: float, bound_ms: float) -> Result:
    shape = Shape(accounts=ACCOUNTS, executor_env=OPEN_EXECUTOR, paper_flags=OPEN_PAPER)
    kept: list[Step] = []
    async with on.line(shape) as line:
        _, bearer = await line.make_key("load")
        key_file = on.folder / "load.key"
        key_file.touch(mode=0o600)
        key_file.write_text(bearer)
        await _load(line, key_file, min(rates), 3.0)  # warms everything up
        failed: Step | None = None
        for rate in rates:
            step = await _load(line, key_file, rate, seconds)
            say(_sentence(step, bound_ms))
            if not step.kept(bound_ms):
                failed = step
                break
            kept.append(step)
    return _result(kept, failed, seconds, bound_ms)


async def _load(line: Line, key_file: Path, rate: float, seconds: float) -> Step:
    out = key_file.with_name("load.json")
    words = [
        "--api", line.api_urls[0], "--ledger", line.ledger_url, "--key-file", str(key_file),
        "--bootstrap", line.common["KAFKA_BOOTSTRAP"],
        "--topic-prefix", line.common["TOPIC_PREFIX"],
        "--via", "http", "--rate", str(rate), "--seconds", str(seconds), "--arrivals", "poisson",
        "--accounts", ",".join(ACCOUNTS), "--report", str(out),
    ]  # fmt: skip
    meter = Watch()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orderonce_cli", "load", *words, env=INHERITED,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    spent, told = await asyncio.wait_for(meter.until_end(process), STEP_LIMIT_S)
    assert process.returncode in (0, 1), told
    report = json.loads(out.read_text())
    # A generator's start and its reading of the ends are not the cost of an order.
    spent["load"] = report["generator"]["core_used"] * seconds
    return Step(rate, report, spent)


class Watch:
    """CPU by part while a load process lives: it is read until just before its end, since a process
    takes its times with it."""

    def __init__(self) -> None:
        self._meter = cpu.Meter()
        self._last: dict[str, float] = {}

    async def until_end(self, process: asyncio.subprocess.Process) -> tuple[dict[str, float], str]:
        reading = asyncio.create_task(process.communicate())
        while not reading.done():
            now = self._meter.read()
            self._last = {**self._last, **now}
            await asyncio.wait([reading], timeout=0.2)
        _, told = await reading
        return self._last, told.decode(errors="replace")


def _sentence(step: Step, bound_ms: float) -> str:
    achieved, heard = step.report["achieved"], step.report["hops"]["heard"]
    words = "kept" if step.kept(bound_ms) else "NOT kept"
    return (
        f"{step.rate:g}/s {words}: {achieved['final_per_s']:.0f} final/s, p99"
        f" {heard['p99']:.0f} ms, {sum(step.spent.values()) * 1e6 / max(step.sent, 1):.0f} us CPU"
        f" per order{'' if step.report['holds'] else ', ' + '; '.join(step.report['failures'])}"
    )


def _result(kept: list[Step], failed: Step | None, seconds: float, bound_ms: float) -> Result:
    result = Result(
        "P4",
        f"Poisson arrivals for {seconds:g} s per rate over {len(ACCOUNTS)} accounts, p99 until the"
        f" bot hears the end at most {bound_ms:g} ms",
        "order",
    )
    best = kept[-1] if kept else failed
    assert best is not None
    each = {part: round(s * 1e6 / best.sent, 1) for part, s in best.spent.items()}
    limit = len(cpu.cores()) * 1e6 / sum(each.values())
    sustained = best.report["achieved"]["final_per_s"] if kept else 0.0
    result.figures = {
        "sustained, orders/s": sustained,
        "highest rate kept": kept[-1].rate if kept else 0.0,
        "first rate not kept": failed.rate if failed else 0.0,
        "limit by CPU, orders/s": limit,
        "CPU per order, all processes, us": sum(each.values()),
    }
    result.cpu_us = {f"at {best.rate:g}/s": each}
    result.percentiles_ms = {
        f"{hop} at {best.rate:g}/s": {
            name: float(told[name]) for name in ("p50", "p90", "p99", "p999", "max")
        }
        for hop, told in best.report["hops"].items()
        if told["count"]
    }
    result.ratios = [
        _one("sustained / limit by CPU", sustained / limit, None),
        _one("sustained / 600 orders/s", sustained / GOAL_PER_S, 1.0),
        _one("2500 us / CPU per order", GOAL_CPU_US / sum(each.values()), 1.0),
    ]
    if failed is not None:
        result.notes = [f"the first rate not kept: {_sentence(failed, bound_ms)}"]
    return result


def _one(what: str, value: float, goal: float | None) -> Ratio:
    return Ratio(what, value, value, value, goal)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--rates", type=float, nargs="+", default=[100, 200, 300, 400, 500, 600, 700]
    )
    options.add_argument("--seconds", type=float, default=20.0, help="per rate")
    options.add_argument("--bound-ms", type=float, default=1000.0, help="p99 until heard")
    stage.main("benchmarks.p4_line", options, run)
