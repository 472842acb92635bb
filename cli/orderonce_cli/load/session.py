"""A run or a ramp of runs with everything around it: topics made and removed, Ctrl-C, warnings, the
report.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from orderonce_cli.load import machine, report
from orderonce_cli.load.kafka import Cluster, connected, partitions_used
from orderonce_cli.load.plan import Plan, Target
from orderonce_cli.load.ramp import Bound, Search, verdict, why_failed
from orderonce_cli.load.records import DLQ, TOPICS
from orderonce_cli.load.run import Watch, run
from orderonce_cli.problems import Problem

PARTITIONS = 12  # of each topic of ours, the dead letters' apart: the contract's number
PAPER_LIMIT_PER_S = 100  # the paper exchange's own, per account: 1,000 orders in 10 s

Say = Callable[[str], None]
Report = dict[str, Any]


@dataclass(frozen=True)
class Topics:
    """Whether to make the topics that are missing, and how."""

    make: bool = False
    partitions: int = PARTITIONS
    replication: int = 1


@dataclass(frozen=True)
class Ramp:
    """A search from `first` to `most` orders a second."""

    first: float
    most: float
    hold_s: float
    bound: Bound


async def once(plan: Plan, target: Target, topics: Topics, watch: Watch, say: Say) -> Report:
    """One run and its report."""
    stopping = _stops_on_interrupt()
    async with _prepared(plan, target, topics, say) as warnings:
        return await _report(plan, target, warnings, watch, stopping)


async def ramp(
    plan: Plan, wanted: Ramp, target: Target, topics: Topics, watch: Watch, say: Say
) -> Report:
    """Runs at rising rates. Gives the report of the highest kept rate (of the last step when none
    was) with the member `ramp`: the steps and the verdict."""
    stopping = _stops_on_interrupt()
    search, steps = Search(wanted.first, wanted.most), []
    best: Report | None = None
    last: Report | None = None
    reasons: list[str] = []
    async with _prepared(plan, target, topics, say) as warnings:
        while (rate := search.next_rate()) is not None:
            step = replace(plan, rate=rate, seconds=wanted.hold_s)
            last = await _report(step, target, warnings, watch, stopping)
            if last["interrupted"]:
                break
            reasons = why_failed(last, wanted.bound)
            search.tell(rate, not reasons)
            steps.append({"rate": rate, "kept": not reasons, "reasons": reasons})
            say(f"{rate:,.4g}/s {'kept' if not reasons else 'failed: ' + '; '.join(reasons)}")
            best = best if reasons else last
            if last["failures"]:
                say("the search ends here: what this step left behind would spoil the next one")
                break
    assert last is not None, "the first step is always run"
    words = verdict(search, wanted.bound, wanted.hold_s, reasons)
    found = {"kept": search.kept, "failed": search.failed, "steps": steps, "verdict": words}
    return (best or last) | {"ramp": found, "interrupted": last["interrupted"]}


async def _report(
    plan: Plan, target: Target, warnings: list[str], watch: Watch, stopping: asyncio.Event
) -> Report:
    result = await run(plan, target, watch, stopping)
    around = {
        "command": machine.command(),
        "versions": machine.versions(),
        "machine": machine.machine(),
    }
    return report.build(result, target, [*warnings, *_paper_limit(plan, target)], around)


def _stops_on_interrupt() -> asyncio.Event:
    """Set by the first Ctrl-C; the second one ends the process the usual way."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        stopping.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    return stopping


@asynccontextmanager
async def _prepared(
    plan: Plan, target: Target, topics: Topics, say: Say
) -> AsyncIterator[list[str]]:
    """Checks the cluster and makes topics; gives warnings. The topics that it made are removed at
    the end, those that were there stay. Killed before that, they stay: their prefix tells whose
    they are."""
    if target.kafka is None:
        yield []
        return
    async with connected(target.kafka) as cluster:
        made: list[str] = []
        try:
            if topics.make:
                counts = {
                    target.prefix + name: 1 if name == DLQ else topics.partitions for name in TOPICS
                }
                made = await cluster.make_topics(counts, topics.replication)
                say(f"topics made: {', '.join(made) or 'none were missing'}")
            if plan.measured == "kafka":
                await _refuse_where_somebody_trades(cluster, target)
            warnings = await _few_partitions(cluster, target)
            for words in warnings:
                say(f"warning: {words}")
            yield warnings
        finally:
            await cluster.remove_topics(made)


async def _refuse_where_somebody_trades(cluster: Cluster, target: Target) -> None:
    """Records that only measure Kafka must not become orders."""
    if await cluster.has_members(target.consumers):
        raise Problem(
            f"Executors read {target.commands}: these records would be placed as orders. Choose a "
            "--topic-prefix of your own with --make-topics, or measure the line."
        )


async def _few_partitions(cluster: Cluster, target: Target) -> list[str]:
    count = await cluster.partitions(target.commands)
    if not count:
        return []
    used = partitions_used(target.accounts, count)
    if used == count:
        return []
    return [
        f"{len(target.accounts)} accounts fall on {used} of {count} partitions of "
        f"{target.commands}: an account is always one partition, and one executor's work; "
        "more accounts spread it"
    ]


def _paper_limit(plan: Plan, target: Target) -> list[str]:
    each = plan.rate / len(target.accounts)
    if target.venue != "paper" or plan.measured != "line" or each <= PAPER_LIMIT_PER_S:
        return []
    return [
        f"{each:,.0f} orders/s an account: the paper exchange answers 429 above "
        f"{PAPER_LIMIT_PER_S}/s unless it was started with --no-rate-limits "
        "(orderonce up --no-paper-limits)"
    ]
