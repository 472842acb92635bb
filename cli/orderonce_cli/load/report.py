"""PURE: a run as one JSON document, load-report.v1. Text and page are drawn from it alone, so that
a kept report can be drawn again.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from orderonce_cli.load import hops
from orderonce_cli.load.account import account
from orderonce_cli.load.hops import Latencies, percentile
from orderonce_cli.load.plan import Plan, Target
from orderonce_cli.load.ramp import BACKLOG_S
from orderonce_cli.load.run import Run
from orderonce_cli.load.tally import LATE_S, Outcome, Tally

SCHEMA = "load-report.v1"
SHOWN_OFFSET_S = 0.005  # of two clocks: from here on the report warns
TELLS = 0.2  # of one core: below it what a run costs at rest hides what an order costs
BUSY = 0.85  # of one core: from here on the generator's own figures are suspect
SLOW_MS = 10.0  # of its own delay's p99: from here on, and if it is most of `accept`, likewise
LATE_SHARE = 0.01  # of all sends: from here on the report warns
SECONDS_SHOWN = 3_600  # of the curves over time; longer runs keep the first hour

HTTP_MEANING = {
    hops.ACCEPT: "the 202 (or the denial) was read: this machine's clock",
    hops.HEARD: "the final status was seen by this program: this machine's clock",
}
MEANING = {
    hops.START: "the send began: this machine's clock; the generator's own delay",
    hops.ACCEPT: "Kafka acknowledged the record on all replicas in sync: this machine's clock",
    hops.CLAIMED: "the executor's row existed: the event's `at`, Postgres' clock",
    hops.SENT: "the executor had written down that it sends: `sent_at`, Postgres' clock",
    hops.VENUE: "the venue's answer was on record: the first event with it, Postgres' clock",
    hops.FINAL: "the final status was on record: its `at`, Postgres' clock",
    hops.HEARD: "the final event was read from Kafka: this machine's clock",
    hops.BOOKED: "the journal of the last fill stood: `booked_at`, Postgres' clock",
    hops.READ_BACK: "a consumer had read the record: this machine's clock",
}


def build(
    run: Run, target: Target, warnings: Iterable[str], around: dict[str, Any]
) -> dict[str, Any]:
    """The document. `around`: command, versions and machine, which are not the run's to know."""
    tally, plan = run.tally, run.plan
    told = account(tally, run.come)
    started = datetime.fromtimestamp(tally.started_at, UTC)
    return {
        "schema": SCHEMA,
        "run": tally.run,
        "started_at": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "whole_s": round(run.whole_s, 3),
        "interrupted": run.interrupted,
        "holds": told.holds and not run.troubles,
        "failures": [*told.failures, *run.troubles],
        "asked": _asked(plan, target),
        "achieved": _achieved(run, told.counts),
        "account": [
            {"name": x.name, "count": x.count, "step": x.step, "meaning": x.meaning}
            for x in told.lines
        ],
        "counts": told.counts,
        "refusals": dict(tally.refusals.most_common()),
        "refused": dict(tally.refused_by.most_common()),
        "reasons": dict(tally.reasons.most_common()),
        "retries": tally.retries,
        "booked": _booked(run, told.counts),
        "taken_back": run.canceled,
        "hops": _hops(tally, plan),
        "lag": _lag(run),
        "generator": _generator(run, told.counts),
        "clock": _clock(run),
        "seconds": _seconds(run),
        "warnings": [*warnings, *_warnings(run, told.counts)],
        **around,
    }


def _asked(plan: Plan, target: Target) -> dict[str, Any]:
    return {
        "via": plan.via,
        "measured": plan.measured,
        "rate": plan.rate,
        "seconds": plan.seconds,
        "arrivals": plan.arrivals,
        "seed": plan.seed,
        "type": plan.kind,
        "accounts": list(target.accounts),
        "symbols": [market.symbol for market in target.markets],
        "in_flight": plan.in_flight,
        "retry": plan.retry,
        "drain_s": plan.drain_s,
    }


def _achieved(run: Run, counts: dict[str, int]) -> dict[str, float]:
    """Rates over the time of sending. `final` is what ended within it: a backlog is missing."""
    over = max(run.sending_s, 1e-9)
    within = {
        name: sum(1 for at in run.tally.times[hop] if at <= run.sending_s)
        for name, hop in (("accepted", hops.ACCEPT), ("final", _last_hop(run)))
    }
    return {
        "seconds": round(run.sending_s, 3),
        "scheduled_per_s": round(run.come / over, 2),
        "sent_per_s": round(counts["sent"] / over, 2),
        "accepted_per_s": round(within["accepted"] / over, 2),
        "final_per_s": round(within["final"] / over, 2),
    }


def _last_hop(run: Run) -> str:
    return hops.FINAL if run.plan.measured == "line" else hops.READ_BACK


def _hops(tally: Tally, plan: Plan) -> dict[str, Any]:
    meaning = MEANING | (HTTP_MEANING if plan.via == "http" else {})
    return {
        hop: hop_row(tally.latencies[hop], meaning[hop])
        for hop in hops.HOPS
        if tally.latencies[hop].count
    }


def hop_row(latencies: Latencies, meaning: str) -> dict[str, Any]:
    """One hop of the report; `hdr` holds every sample, and may be added to another one's."""
    return {
        "meaning": meaning,
        **latencies.summary(),
        "curve": [[round(p, 4), round(ms, 3)] for p, ms in latencies.curve()],
        "hdr": latencies.encoded(),
    }


def undecided(report: dict[str, Any]) -> list[tuple[str, str, int]]:
    """(kind, answer, count) of what was neither accepted nor denied. A definite refusal is a
    decision, though about no order; after anything else the same key may still be accepted.
    """
    refused = report["refused"]
    return [("refused", what, count) for what, count in refused.items()] + [
        ("no decision yet", what, count)
        for what, count in report["refusals"].items()
        if what not in refused
    ]


def _booked(run: Run, counts: dict[str, int]) -> dict[str, int] | None:
    if run.unbooked is None:
        return None
    filled = counts["final_filled"]
    return {"filled": filled, "booked": filled - run.unbooked, "not_booked": run.unbooked}


def _lag(run: Run) -> dict[str, int] | None:
    known = [sample.lag for sample in run.samples if sample.lag is not None]
    if not known:
        return None
    return {"min": min(known), "max": max(known), "last": known[-1], "samples": len(known)}


def _generator(run: Run, counts: dict[str, int]) -> dict[str, Any]:
    """Whether the generator itself was the limit, and roughly where its own limit lies."""
    busy = run.cpu_s / max(run.sending_s, 1e-9)
    delay = run.tally.latencies[hops.START]
    rate = counts["sent"] / max(run.sending_s, 1e-9)
    own, whole = delay.at(99.0), run.tally.latencies[hops.ACCEPT].at(99.0)
    mostly_own = own > SLOW_MS and own > whole / 2
    return {
        "late_sends": run.tally.late,
        "late_after_ms": round(LATE_S * 1e3),
        "delay_p99_ms": _ms(own),
        "delay_max_ms": _ms(delay.most()),
        "core_used": round(busy, 3),
        "own_limit_per_s": round(rate / busy) if busy > TELLS else None,
        "was_the_limit": busy > BUSY or mostly_own,
    }


def _warnings(run: Run, counts: dict[str, int]) -> list[str]:
    generator, clock = _generator(run, counts), _clock(run)
    found = []
    if counts["dropped"]:
        found.append(
            f"{counts['dropped']} orders were dropped by the generator: {run.plan.in_flight} had "
            "no answer yet (--in-flight). The latencies are those of the others: worse was not seen"
        )
    most = max((sample.in_flight for sample in run.samples), default=0)
    if run.plan.via == "http" and most > run.plan.connections:
        found.append(
            f"up to {most - run.plan.connections} requests waited in the generator for one of its "
            f"{run.plan.connections} connections (--connections): part of `accept`, not the API's"
        )
    if counts["unanswered"]:
        found.append(
            f"{counts['unanswered']} orders had no answer within --drain-seconds: `accept` is that "
            "of the others"
        )
    achieved = _achieved(run, counts)
    waiting = (achieved["sent_per_s"] - achieved["final_per_s"]) * achieved["seconds"]
    if waiting > achieved["sent_per_s"] * BACKLOG_S:
        found.append(
            f"the rate was not kept: {waiting:,.0f} orders were waiting when the sending ended, "
            f"{achieved['final_per_s']:,.0f}/s had ended of {achieved['sent_per_s']:,.0f}/s sent"
        )
    if run.tally.late > LATE_SHARE * max(1, counts["sent"]):
        found.append(
            f"{run.tally.late} sends began more than {generator['late_after_ms']} ms late: the "
            "generator could not keep its own schedule (the delay is part of every latency)"
        )
    if generator["core_used"] > BUSY:
        found.append("the generator used nearly a whole core: it may be the limit itself")
    if not clock.get("one_clock", True):
        found.append(
            f"the services' clock is {clock['services_ahead_ms']:+.1f} ms from this machine's: "
            "hops on Postgres' clock are off by as much"
        )
    if clock["hops_before_their_start"]:
        found.append(
            f"{clock['hops_before_their_start']} hops ended before their orders' moments: the "
            "clocks disagree; they count as 0"
        )
    return found


def _clock(run: Run) -> dict[str, Any]:
    told: dict[str, Any] = {"hops_before_their_start": run.tally.clock_trouble}
    if run.offset_s is not None:
        ahead, sure = run.offset_s
        told |= {
            "services_ahead_ms": round(ahead * 1e3, 3),
            "give_or_take_ms": round(sure * 1e3, 3),
            "one_clock": abs(ahead) <= max(SHOWN_OFFSET_S, sure),
        }
    return told


def _seconds(run: Run) -> list[dict[str, Any]]:
    """One row a second of intended time: what was meant, what came of it, how long it took."""
    tally = run.tally
    span = min(SECONDS_SHOWN, max(1, math.ceil(run.plan.seconds)))
    members: list[list[int]] = [[] for _ in range(span)]
    for number in range(run.come):
        second = int(tally.intended[number])
        if second < span:
            members[second].append(number)
    samples = {int(sample.at): sample for sample in run.samples}
    ended = _per_second(tally.times[_last_hop(run)], span)
    accepted = _per_second(tally.times[hops.ACCEPT], span)
    rows = []
    for second, numbers in enumerate(members):
        sample = samples.get(second + 1)
        rows.append(
            {
                "second": second,
                "scheduled": len(numbers),
                "dropped": sum(tally.outcome[n] == Outcome.DROPPED for n in numbers),
                "accepted": accepted[second],
                "final": ended[second],
                "accept": _spread(tally, hops.ACCEPT, numbers),
                "end": _spread(tally, _last_hop(run), numbers),
                "in_flight": None if sample is None else sample.in_flight,
                "unfinished": None if sample is None else sample.unfinished,
                "lag": None if sample is None else sample.lag,
            }
        )
    return rows


def _per_second(times: Iterable[float], span: int) -> list[int]:
    counted = [0] * span
    for at in times:
        if 0 <= at < span:  # NaN is neither
            counted[int(at)] += 1
    return counted


def _spread(tally: Tally, hop: str, numbers: list[int]) -> dict[str, float | None]:
    """p50, p99 and max (ms) of the orders meant for one second."""
    times, intended = tally.times[hop], tally.intended
    took = [(times[n] - intended[n]) * 1e3 for n in numbers if not math.isnan(times[n])]
    return {
        "p50": _ms(percentile(took, 50)),
        "p99": _ms(percentile(took, 99)),
        "max": _ms(max(took, default=math.nan)),
    }


def _ms(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)
