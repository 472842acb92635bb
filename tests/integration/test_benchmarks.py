"""Every benchmark runs, with numbers too small to mean anything: so that none of them rots.

No speed is asserted anywhere: what is looked at is that the workload went through and that report,
history and page come out of it.
"""

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from benchmarks import p2_executor, p3_latency, p4_line, p5_ledger, p10_start, p11_replay, page
from benchmarks.report import Result, keep, ratio, show
from benchmarks.stage import Stage
from tests.servers import Template

Run = Callable[[Stage], Awaitable[Result]]

RUNS: dict[str, Run] = {
    "P2": lambda on: p2_executor.run(on, orders=40, rounds=1, in_flight=10),
    "P3": lambda on: p3_latency.run(on, orders=20, rounds=1, rate=20.0),
    "P4": lambda on: p4_line.run(on, rates=[5.0], seconds=2.0, bound_ms=60_000.0),
    "P5": lambda on: p5_ledger.run(on, fills=40, rounds=1, batch=20),
    "P11": lambda on: p11_replay.run(on, orders=20, rounds=1, in_flight=4),
}


@pytest.fixture
def on(database_template: Template, kafka_bootstrap: str, tmp_path: Path) -> Stage:
    return Stage(database_template, kafka_bootstrap, tmp_path)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", RUNS)
async def test_it_runs_and_says_what_it_measured(
    name: str, on: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = psutil.Process().cpu_affinity()
    result = await RUNS[name](on)
    _holds(result, name, tmp_path, monkeypatch)
    assert psutil.Process().cpu_affinity() == before


@pytest.mark.timeout(240)
def test_p10_runs_and_says_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _holds(p10_start.run(rounds=1), "P10", tmp_path, monkeypatch)


def _holds(result: Result, name: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    assert result.benchmark == name
    assert result.figures
    assert result.ratios
    assert all(value > 0 for parts in result.cpu_us.values() for value in parts.values())
    command = f"python -m benchmarks.{name.lower()}"
    assert command in show(result, command)
    patch.setattr(page, "RESULTS", folder)
    keep(result, command, folder / "history.jsonl")
    row = json.loads((folder / "history.jsonl").read_text())
    assert row["figures"] == pytest.approx(result.figures)
    assert os.uname().nodename not in json.dumps(row["machine"])
    page.main()
    assert f"## {name}" in (folder / "README.md").read_text()
    assert (folder / f"{name.lower()}.svg").read_text().startswith("<svg")


def test_a_ratio_is_made_round_by_round() -> None:
    told = ratio("x", [1.0, 4.0, 9.0], [1.0, 2.0, 3.0], 2.0)
    assert (told.median, told.low, told.high) == (2.0, 1.0, 3.0)
    assert told.line() == "x: 2.00 (rounds 1.00 to 3.00, goal 2)"
