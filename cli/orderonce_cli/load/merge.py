"""PURE: the reports of several generators as one. Counts are added, histograms are added, and what
cannot be added without losing something (a second's percentiles) is left out, not averaged.

The generators are to send at the same time, each its own orders: rates are then those of all
together. Where they did not, the rates are over the whole span, and a warning says so.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from orderonce_cli.load import hops
from orderonce_cli.load.account import account_of
from orderonce_cli.load.hops import HOPS, Latencies
from orderonce_cli.load.report import SCHEMA, SECONDS_SHOWN, hop_row
from orderonce_cli.problems import Exit, Problem

TOGETHER = 0.9  # of the span from the first start to the last end: below it the merge warns

Report = dict[str, Any]


def merge(reports: Sequence[Report], command: str) -> Report:
    """One load-report.v1 of at least two. Raises Problem for what does not belong together."""
    _check(reports)
    first = reports[0]
    whole_line = first["asked"]["measured"] == "line"
    counts = dict(_added(r["counts"] for r in reports))
    added = account_of(counts, whole_line)
    latencies = {hop: _histogram(reports, hop) for hop in HOPS}
    failures = [
        *added.failures,
        *(f"{r['run']}: {words}" for r in reports for words in r["failures"]),
    ]
    return {
        "schema": SCHEMA,
        "run": "+".join(r["run"] for r in reports),
        "started_at": min(r["started_at"] for r in reports),
        "whole_s": round(
            max(_start(r) + r["whole_s"] for r in reports) - min(map(_start, reports)), 3
        ),
        "interrupted": any(r["interrupted"] for r in reports),
        "holds": all(r["holds"] for r in reports) and not failures,
        "failures": failures,
        "asked": _asked(reports),
        "achieved": _achieved(reports, counts),
        "account": [
            {"name": x.name, "count": x.count, "step": x.step, "meaning": x.meaning}
            for x in added.lines
        ],
        "counts": counts,
        "refusals": dict(_added(r["refusals"] for r in reports).most_common()),
        "refused": dict(_added(r["refused"] for r in reports).most_common()),
        "reasons": dict(_added(r["reasons"] for r in reports).most_common()),
        "retries": sum(r["retries"] for r in reports),
        "booked": _booked(reports),
        "taken_back": sum(r["taken_back"] for r in reports),
        "hops": {
            hop: hop_row(latencies[hop], _meaning(reports, hop))
            for hop in HOPS
            if latencies[hop].count
        },
        "lag": _lag(reports),
        "generator": _generator(reports, latencies[hops.START]),
        "clock": _clock(reports),
        "seconds": _seconds(reports),
        "warnings": [*_warnings(reports), *_their_warnings(reports)],
        "merged": [
            {
                "run": r["run"],
                "started_at": r["started_at"],
                "rate": r["asked"]["rate"],
                "core_used": r["generator"]["core_used"],
                "command": r["command"],
                "machine": r["machine"],
                "versions": r["versions"],
            }
            for r in reports
        ],
        "command": command,
        "versions": _side_by_side(reports, "versions"),
        "machine": _side_by_side(reports, "machine"),
    }


def _check(reports: Sequence[Report]) -> None:
    def refuse(sentence: str) -> Problem:
        return Problem(sentence, Exit.USAGE)

    if len(reports) < 2:
        raise refuse("Two reports or more can be merged.")
    for told in reports:
        if told.get("schema") != SCHEMA or "refused" not in told:
            raise refuse(f"A report is no {SCHEMA} of this version: run the load again.")
        if "merged" in told or "ramp" in told:
            raise refuse(f"{told['run']} is a merge or a search: merge the reports of single runs.")
    runs = Counter(r["run"] for r in reports)
    if twice := [run for run, count in runs.items() if count > 1]:
        raise refuse(f"{', '.join(twice)} is there twice: its orders would count twice.")
    for name in ("via", "measured", "type"):
        if len(found := dict.fromkeys(r["asked"][name] for r in reports)) > 1:
            raise refuse(f"The runs measured different things: {name} {' and '.join(found)}.")


def _start(told: Report) -> float:
    return datetime.fromisoformat(told["started_at"]).timestamp()


def _added(counted: Iterable[dict[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counted:
        total.update(one)
    return total


def _their_warnings(reports: Sequence[Report]) -> list[str]:
    """Each one's with its name; what all of them say is said once."""
    common = set.intersection(*(set(r["warnings"]) for r in reports))
    said = [words for words in reports[0]["warnings"] if words in common]
    return said + [f"{r['run']}: {w}" for r in reports for w in r["warnings"] if w not in common]


def _union(reports: Sequence[Report], member: str) -> list[str]:
    return list(dict.fromkeys(name for r in reports for name in r["asked"][member]))


def _asked(reports: Sequence[Report]) -> dict[str, Any]:
    asked = [r["asked"] for r in reports]

    def same(member: str) -> str:
        return ", ".join(dict.fromkeys(str(one[member]) for one in asked))

    together: dict[str, Any] = asked[0] | {
        "rate": sum(one["rate"] for one in asked),
        "seconds": max(one["seconds"] for one in asked),
        "arrivals": same("arrivals"),
        "seed": same("seed"),
        "accounts": _union(reports, "accounts"),
        "symbols": _union(reports, "symbols"),
        "in_flight": sum(one["in_flight"] for one in asked),
        "drain_s": max(one["drain_s"] for one in asked),
        "retry": all(one["retry"] for one in asked),
    }
    return together


def _spans(reports: Sequence[Report]) -> list[tuple[float, float]]:
    """When each was sending, in seconds since 1970."""
    return [(_start(r), _start(r) + r["achieved"]["seconds"]) for r in reports]


def _achieved(reports: Sequence[Report], counts: dict[str, int]) -> dict[str, float]:
    """Over the span from the first one's start to the last one's end of sending."""
    spans = _spans(reports)
    over = max(max(end for _, end in spans) - min(begin for begin, _ in spans), 1e-9)

    def rate(member: str) -> float:
        orders = sum(r["achieved"][member] * r["achieved"]["seconds"] for r in reports)
        return round(float(orders) / over, 2)

    return {
        "seconds": round(over, 3),
        "scheduled_per_s": rate("scheduled_per_s"),
        "sent_per_s": round(counts["sent"] / over, 2),
        "accepted_per_s": rate("accepted_per_s"),
        "final_per_s": rate("final_per_s"),
    }


def _histogram(reports: Sequence[Report], hop: str) -> Latencies:
    total = Latencies()
    for told in reports:
        if hop not in told["hops"]:
            continue
        try:
            one = Latencies.decoded(told["hops"][hop]["hdr"])
        except ValueError as error:
            sentence = f"The histogram {hop} of {told['run']} cannot be read: {error}."
            raise Problem(sentence, Exit.USAGE) from error
        if one.count != told["hops"][hop]["count"]:
            raise Problem(
                f"The histogram {hop} of {told['run']} does not hold its count.", Exit.USAGE
            )
        total.add(one)
    return total


def _meaning(reports: Sequence[Report], hop: str) -> str:
    return next(str(r["hops"][hop]["meaning"]) for r in reports if hop in r["hops"])


def _booked(reports: Sequence[Report]) -> dict[str, int] | None:
    """Of the generators that asked a ledger; None where none did."""
    known = [r["booked"] for r in reports if r["booked"] is not None]
    return dict(_added(known)) if known else None


def _lag(reports: Sequence[Report]) -> dict[str, int] | None:
    """Of the same executors, seen by several."""
    known = [r["lag"] for r in reports if r["lag"] is not None]
    if not known:
        return None
    return {
        "min": min(one["min"] for one in known),
        "max": max(one["max"] for one in known),
        "last": max(one["last"] for one in known),
        "samples": sum(one["samples"] for one in known),
    }


def _generator(reports: Sequence[Report], delay: Latencies) -> dict[str, Any]:
    """The busiest one's share of a core; the delays of all together."""
    told = [r["generator"] for r in reports]
    limits = [one["own_limit_per_s"] for one in told]
    return {
        "late_sends": sum(one["late_sends"] for one in told),
        "late_after_ms": max(one["late_after_ms"] for one in told),
        "delay_p99_ms": round(delay.at(99.0), 3) if delay.count else None,
        "delay_max_ms": round(delay.most(), 3) if delay.count else None,
        "core_used": max(one["core_used"] for one in told),
        "own_limit_per_s": sum(limits) if all(limits) else None,
        "was_the_limit": any(one["was_the_limit"] for one in told),
    }


def _clock(reports: Sequence[Report]) -> dict[str, Any]:
    """The worst of them: each generator's machine has a clock of its own."""
    told: dict[str, Any] = {
        "hops_before_their_start": sum(r["clock"]["hops_before_their_start"] for r in reports)
    }
    known = [r["clock"] for r in reports if "services_ahead_ms" in r["clock"]]
    if known:
        told |= {
            "services_ahead_ms": max((one["services_ahead_ms"] for one in known), key=abs),
            "give_or_take_ms": max(one["give_or_take_ms"] for one in known),
            "one_clock": all(one["one_clock"] for one in known),
        }
    return told


def _seconds(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """By the second since the first one's start. A second's p50 and p99 are not to be had from two
    others; the largest value is."""
    begin = min(map(_start, reports))
    rows: dict[int, list[dict[str, Any]]] = {}
    for told in reports:
        later = round(_start(told) - begin)
        for row in told["seconds"]:
            rows.setdefault(row["second"] + later, []).append(row)
    return [_second(at, rows.get(at, [])) for at in range(min(max(rows) + 1, SECONDS_SHOWN))]


def _second(at: int, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def known(member: str, fold: Callable[[list[int]], int]) -> int | None:
        found = [row[member] for row in rows if row[member] is not None]
        return fold(found) if found else None

    def spread(hop: str) -> dict[str, float | None]:
        found = [row[hop]["max"] for row in rows if row[hop]["max"] is not None]
        return {"p50": None, "p99": None, "max": max(found, default=None)}

    return {
        "second": at,
        **{name: sum(row[name] for row in rows)
           for name in ("scheduled", "dropped", "accepted", "final")},
        "accept": spread("accept"),
        "end": spread("end"),
        "in_flight": known("in_flight", sum),
        "unfinished": known("unfinished", sum),
        "lag": known("lag", max),
    }  # fmt: skip


def _warnings(reports: Sequence[Report]) -> list[str]:
    spans = _spans(reports)
    span = max(end for _, end in spans) - min(begin for begin, _ in spans)
    together = max(0.0, min(end for _, end in spans) - max(begin for begin, _ in spans))
    found = []
    if together < TOGETHER * span:
        found.append(
            f"the generators sent together for {together:.1f} of {span:.1f} s: the rates are over"
            " all of it, and the latencies are partly those of fewer generators"
        )
    for hop in HOPS:
        lacking = [r["run"] for r in reports if hop not in r["hops"]]
        if lacking and len(lacking) < len(reports):
            found.append(f"the hop {hop} is without {', '.join(lacking)}")
    return found


def _side_by_side(reports: Sequence[Report], member: str) -> dict[str, str]:
    """What differs between the machines, with a slash."""
    names = dict.fromkeys(name for r in reports for name in r[member])
    return {
        name: " / ".join(dict.fromkeys(str(r[member].get(name, "?")) for r in reports))
        for name in names
    }
