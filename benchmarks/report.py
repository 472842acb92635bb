"""What every benchmark says in the end: workload, figures, CPU per order of each part, the ratio
with its spread, the command; and one line of history.

A side's figures are kept per round, since the two sides take turns: a ratio is made of the two
halves of one round, and its spread over the rounds tells how much to believe it.
"""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from hdrh.histogram import HdrHistogram

HISTORY = Path(__file__).with_name("results") / "history.jsonl"
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
LONGEST_US = 120_000_000


@dataclass(frozen=True)
class Ratio:
    """Ours beside the limit, over the rounds; above `goal` is good."""

    what: str
    median: float
    low: float
    high: float
    goal: float | None = None

    def line(self) -> str:
        goal = "" if self.goal is None else f", goal {self.goal:g}"
        spread = f"{self.low:.2f} to {self.high:.2f}"
        return f"{self.what}: {self.median:.2f} (rounds {spread}{goal})"


def ratio(
    what: str, above: Sequence[float], below: Sequence[float], goal: float | None = None
) -> Ratio:
    """Round by round `above / below`; the median, and the lowest and highest round."""
    each = [a / b for a, b in zip(above, below, strict=True) if b > 0]
    assert each, f"{what}: no round was measured"
    return Ratio(what, statistics.median(each), min(each), max(each), goal)


@dataclass
class Result:
    """One run. `figures` are named with their unit; `cpu_us` is part -> microseconds per order (or
    per whatever is counted), per side."""

    benchmark: str
    workload: str
    unit: str  # what is counted: orders, fills, requests
    figures: dict[str, float] = field(default_factory=dict)
    cpu_us: dict[str, dict[str, float]] = field(default_factory=dict)
    percentiles_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def histogram() -> HdrHistogram:
    """Microseconds, 1 us to two minutes, three digits."""
    return HdrHistogram(1, LONGEST_US, 3)


def percentiles_ms(of: HdrHistogram) -> dict[str, float]:
    return {f"p{p:g}": of.get_value_at_percentile(p) / 1000 for p in PERCENTILES} | {
        "max": of.get_max_value() / 1000
    }


def median_cpu(rounds: Sequence[Mapping[str, float]], count: int) -> dict[str, float]:
    """Microseconds per counted thing by part, the median over the rounds."""
    parts = sorted({part for one in rounds for part in one})
    return {
        part: round(statistics.median(one.get(part, 0.0) for one in rounds) * 1e6 / count, 1)
        for part in parts
    }


def show(result: Result, command: str) -> str:
    """The report as text."""
    lines = [f"{result.benchmark}: {result.workload}", ""]
    lines += [f"  {name:<44} {value:>12,.1f}" for name, value in result.figures.items()]
    for side, told in result.percentiles_ms.items():
        lines.append(f"  {side}: " + "  ".join(f"{p} {ms:.2f} ms" for p, ms in told.items()))
    for side, parts in result.cpu_us.items():
        lines += ["", f"  CPU per {result.unit}, {side} (us)"]
        lines += [f"    {part:<20} {spent:>10,.1f}" for part, spent in parts.items()]
        lines.append(f"    {'together':<20} {sum(parts.values()):>10,.1f}")
    lines += ["", *(f"  {one.line()}" for one in result.ratios)]
    lines += [f"  note: {note}" for note in result.notes]
    return "\n".join([*lines, "", f"  {command}", ""])


def keep(result: Result, command: str, path: Path = HISTORY) -> None:
    """Appends one line of history: no host name and no path in it."""
    row: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "machine": _machine(),
        "command": command,
        **asdict(result),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as out:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _commit() -> str:
    """The short commit, with a mark when the tree has changes; empty outside a checkout."""
    here = Path(__file__).parent
    told = [
        subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=False)
        for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno"])
    ]
    if any(one.returncode for one in told):
        return ""
    return told[0].stdout.strip() + ("+changes" if told[1].stdout.strip() else "")


def _machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 1),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
