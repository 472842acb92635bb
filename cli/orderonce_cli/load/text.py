"""The report for a terminal, and the line that is shown while a run lasts."""

import math
from collections.abc import Iterator
from typing import Any

from orderonce_cli.load.hops import percentile
from orderonce_cli.load.report import undecided
from orderonce_cli.load.run import Run

COLUMNS = ("p50", "p90", "p99", "p999", "max")


def live(run: Run) -> str:
    """The second that has just passed: rate asked and kept, what waits, latencies, lag, errors."""
    tally, plan = run.tally, run.plan
    now = run.samples[-1]
    before = run.samples[-2] if len(run.samples) > 1 else None
    sent = now.started - now.dropped - (before.started - before.dropped if before else 0)
    since = before.at if before else 0.0
    rate = sent / max(now.at - since, 1e-9)
    took = [seconds * 1e3 for seconds in tally.recent]
    tally.recent.clear()
    errors = sum(tally.refusals.values())
    parts = [
        f"{min(now.at, plan.seconds):4.0f}/{plan.seconds:.0f} s",
        f"{rate:,.0f} of {plan.rate:,.0f}/s" if now.at <= plan.seconds + 1 else "draining",
        f"in flight {now.in_flight}",
        f"no end yet {now.unfinished}",
        f"accept p50 {_ms(percentile(took, 50))} p99 {_ms(percentile(took, 99))} ms",
    ]
    if now.lag is not None:
        parts.append(f"lag {now.lag}")
    if now.dropped:
        parts.append(f"dropped {now.dropped}")
    if errors:
        parts.append(f"errors {errors}")
    return " · ".join(parts)


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The report, line by line."""
    asked, achieved = report["asked"], report["achieved"]
    yield (
        f"{report['run']}: {asked['rate']:g}/s {asked['arrivals']} over {asked['seconds']:g} s via "
        f"{asked['via']}, {len(asked['accounts'])} accounts, seed {asked['seed']}"
    )
    yield (
        f"sent {achieved['sent_per_s']:g}/s, accepted {achieved['accepted_per_s']:g}/s, "
        f"ended {achieved['final_per_s']:g}/s while sending"
    )
    yield ""
    for row in report["account"]:
        if row["step"] or row["count"]:
            mark = "=" if row["step"] else " "
            yield f"{mark} {row['name']:<26}{row['count']:>9,}  {row['meaning']}"
    if report["booked"] is not None:
        yield f"  {'booked of the filled':<26}{report['booked']['booked']:>9,}"
    for kind, what, count in undecided(report):
        yield f"  {kind}: {what}  {count:,}"
    for what, count in report["reasons"].items():
        yield f"  reason: {what}  {count:,}"
    if report["retries"]:
        yield f"  requests repeated with the same key: {report['retries']:,}"
    yield ""
    yield "ms from the intended start  " + "".join(f"{name:>10}" for name in COLUMNS) + "     count"
    for hop, told in report["hops"].items():
        figures = "".join(f"{told[name]:>10.2f}" for name in COLUMNS)
        yield f"{hop:<28}{figures}{told['count']:>10,}"
    yield ""
    yield from _surroundings(report)


def _surroundings(report: dict[str, Any]) -> Iterator[str]:
    lag, generator, clock = report["lag"], report["generator"], report["clock"]
    if lag is not None:
        yield f"lag of the executors: {lag['min']} to {lag['max']}, {lag['last']} at the end"
    limit = generator["own_limit_per_s"]
    yield (
        f"generator: {generator['core_used']:.0%} of a core"
        + (f" (its own limit is about {limit:,}/s)" if limit else "")
        + f", {generator['late_sends']:,} late sends, delay p99 {generator['delay_p99_ms']} ms"
    )
    if "services_ahead_ms" in clock:
        yield (
            f"clock: the services are {clock['services_ahead_ms']:+.1f} ms from this machine "
            f"(give or take {clock['give_or_take_ms']:.1f})"
        )
    if "ramp" in report:
        for step in report["ramp"]["steps"]:
            why = "kept" if step["kept"] else "failed: " + "; ".join(step["reasons"])
            yield f"ramp {step['rate']:,.4g}/s {why}"
        yield report["ramp"]["verdict"]
    for one in report.get("merged", ()):
        yield f"merged: {one['run']} at {one['rate']:g}/s, {one['core_used']:.0%} of a core"
    for words in report["warnings"]:
        yield f"warning: {words}"
    for words in report["failures"]:
        yield f"FAILED: {words}"
    if report["holds"]:
        yield "every accepted order has a final status or is known to be unknown"


def _ms(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
