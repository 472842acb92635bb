"""PURE: the search for the highest rate that is kept, and what "kept" means.

Doubling until a rate fails, then halving the gap until it is small. A step that fails says why in
words; where the generator itself was too slow, it says that instead of blaming the line.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MOST_STEPS = 24  # doubling from 1/s passes 100,000/s after 17
PRECISION = 0.10  # the answer lies at most so far below the lowest rate that failed
# Little's law: at a steady rate, as many orders are under way as arrive within one latency. More
# than a second's worth (or the bound's, if that is longer) at the end of a step is a growing queue.
BACKLOG_S = 1.0


@dataclass(frozen=True)
class Bound:
    """What a kept rate must satisfy."""

    hop: str
    p99_ms: float


@dataclass
class Search:
    """Ask `next_rate`, run it, tell the outcome; None: it is over."""

    first: float
    most: float
    precision: float = PRECISION
    kept: float | None = None
    failed: float | None = None
    steps: int = field(default=0, init=False)

    def next_rate(self) -> float | None:
        if self.steps >= MOST_STEPS:
            return None
        match self.kept, self.failed:
            case None, None:
                return min(self.first, self.most)
            case float() as kept, None:
                return None if kept >= self.most else min(kept * 2, self.most)
            case None, float() as failed:
                lower = failed / 2
                return lower if lower >= max(self.first / 64, 0.5) else None
            case float() as kept, float() as failed:
                return None if failed <= kept * (1 + self.precision) else (kept + failed) / 2
        raise AssertionError("unreachable: every pair is listed")

    def tell(self, rate: float, kept: bool) -> None:
        self.steps += 1
        if kept:
            self.kept = rate if self.kept is None else max(self.kept, rate)
        else:
            self.failed = rate if self.failed is None else min(self.failed, rate)


def why_failed(report: dict[str, Any], bound: Bound) -> list[str]:
    """Every reason why this step's rate was not kept; empty when it was."""
    return list(_reasons(report, bound))


def _reasons(report: dict[str, Any], bound: Bound) -> Iterator[str]:
    counts, achieved = report["counts"], report["achieved"]
    p99 = report["hops"].get(bound.hop, {}).get("p99")
    if p99 is None:
        yield f"the hop {bound.hop} was not measured"
    elif p99 > bound.p99_ms:
        yield f"{bound.hop} p99 {p99:,.0f} ms > {bound.p99_ms:,.0f} ms{_whose_fault(report)}"
    lost = {
        "dropped": counts["dropped"],
        "refused or unanswered": counts["refused"] + counts["unanswered"],
        "denied": counts["denied_at_once"] + counts["final_denied"],
        "lapsed": counts["final_lapsed"],
        "unknown": counts["unknown"],
    }
    for name, count in lost.items():
        if count:
            yield f"{count} {name}"
    waiting = (achieved["sent_per_s"] - achieved["final_per_s"]) * achieved["seconds"]
    if waiting > achieved["sent_per_s"] * max(bound.p99_ms / 1e3, BACKLOG_S):
        yield (
            f"{waiting:,.0f} orders were waiting when the sending ended: a backlog was growing"
            f"{_whose_fault(report)}"
        )
    yield from report["failures"]


def _whose_fault(report: dict[str, Any]) -> str:
    generator = report["generator"]
    if not generator["was_the_limit"]:
        return ""
    return (
        f" (the generator itself was the limit: {generator['core_used']:.0%} of a core, its own "
        f"delay p99 {generator['delay_p99_ms']} ms; this says little about the line)"
    )


def verdict(search: Search, bound: Bound, hold_s: float, last_reasons: list[str]) -> str:
    """The search in one sentence."""
    limits = f"{hold_s:g} s with {bound.hop} p99 within {bound.p99_ms:g} ms"
    if search.kept is None:
        return f"no rate was kept for {limits}: {'; '.join(last_reasons)}"
    if search.failed is None:
        return f"{search.kept:,.4g}/s was kept for {limits}; it was the highest rate to be tried"
    return f"{search.kept:,.4g}/s was kept for {limits}; {search.failed:,.4g}/s was not"
