"""Reports of several generators as one: everything is added, nothing is averaged."""

import json
from array import array
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from orderonce_cli.load import page, report, text
from orderonce_cli.load.hops import Latencies
from orderonce_cli.load.merge import merge
from orderonce_cli.load.plan import Plan
from orderonce_cli.load.run import Run
from orderonce_cli.load.tally import Tally
from orderonce_cli.main import commands
from orderonce_cli.problems import Problem
from typer.testing import CliRunner

from tests.unit.cli.test_load_run import AROUND, STARTED, TARGET, a_report

Report = dict[str, Any]
COMMAND = "orderonce load merge a.json b.json"


def of(name: str, waits_s: list[float], *, later_s: float = 0.0) -> Report:
    """A whole run at 10/s in which the answers took so long."""
    count = len(waits_s)
    tally = Tally(f"load-{name}", array("d", (n / 10 for n in range(count))), STARTED + later_s)
    for number, wait_s in enumerate(waits_s):
        meant = tally.intended[number]
        tally.started(number, meant)
        tally.acked(number, meant + wait_s, f"{name}-{number}")
        tally.event(
            {
                "key": tally.key(number), "order_id": f"{name}-{number}", "status": "filled",
                "final": True, "reason": None, "venue_order_id": "1", "sent_at": None, "version": 3,
                "at": _moment(tally.started_at + meant + wait_s),
            },
            heard=meant + wait_s,
        )  # fmt: skip
    seconds = count / 10
    run = Run(Plan("http", 10.0, seconds), tally, come=count, sending_s=seconds, whole_s=seconds)
    return report.build(run, TARGET, [], AROUND)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def test_a_merged_histogram_is_that_of_all_samples() -> None:
    """Guard: percentiles come from added histograms; a mean of two p99 is nobody's p99."""
    chance = Random(7)
    one, other = ([10 ** chance.uniform(-4, 3.5) for _ in range(n)] for n in (30, 7))
    told = merge([of("a", one), of("b", other)], COMMAND)["hops"]["accept"]
    whole = Latencies()
    for waits in (one, other):
        for number, wait_s in enumerate(waits):
            whole.record((number / 10 + wait_s) - number / 10)
    assert told["hdr"] == whole.encoded()
    assert {name: told[name] for name in whole.summary()} == whole.summary()


def test_a_slow_generators_orders_are_in_the_merged_percentile() -> None:
    fast, slow = of("a", [0.010] * 97), of("b", [2.0] * 3)
    told = merge([fast, slow], COMMAND)
    assert told["hops"]["accept"]["p99"] == pytest.approx(2000, rel=0.002)
    assert told["hops"]["accept"]["p50"] == pytest.approx(10, rel=0.002)
    average = (fast["hops"]["accept"]["p99"] + slow["hops"]["accept"]["p99"]) / 2
    assert told["hops"]["accept"]["p99"] > 1.9 * average


def test_counts_rates_and_seconds_are_sums() -> None:
    told = merge([of("a", [0.01] * 40), of("b", [0.02] * 40)], COMMAND)
    assert (told["counts"]["sent"], told["counts"]["final_filled"]) == (80, 80)
    assert told["asked"]["rate"] == 20
    assert told["achieved"]["sent_per_s"] == pytest.approx(20, abs=0.1)
    assert told["achieved"]["accepted_per_s"] == pytest.approx(20, abs=0.1)
    assert [row["scheduled"] for row in told["seconds"]] == [20] * 4
    assert {row["accept"]["p99"] for row in told["seconds"]} == {None}  # nobody can know it
    assert told["seconds"][0]["accept"]["max"] == pytest.approx(20, rel=0.01)
    assert told["holds"] is True
    assert [one["run"] for one in told["merged"]] == ["load-a", "load-b"]
    assert not [words for words in told["warnings"] if "together" in words]


def test_generators_that_did_not_send_together_are_told() -> None:
    """The rate is that of the whole span, in which each was silent for a while."""
    told = merge([of("a", [0.01] * 40), of("b", [0.01] * 40, later_s=4.0)], COMMAND)
    assert any("sent together for 0.0 of 8.0 s" in words for words in told["warnings"])
    assert told["achieved"]["sent_per_s"] == pytest.approx(10, abs=0.1)
    assert [row["scheduled"] for row in told["seconds"]] == [10] * 8


def test_one_that_does_not_hold_spoils_the_merge_and_is_named() -> None:
    told = merge([of("a", [0.01] * 40), a_report()], COMMAND)
    assert told["holds"] is False
    assert "load-0123abcd: 1 accepted orders were not claimed within the limit" in told["failures"]
    assert "1 accepted orders were not claimed within the limit" in told["failures"]
    assert "load-0123abcd: one account is one partition" in told["warnings"]


def spoilt(changes: dict[str, Any]) -> Report:
    return of("b", [0.01]) | changes


BAD = [
    ({"run": "load-a"}, "load-a is there twice"),
    ({"schema": "load-report.v0"}, "no load-report.v1"),
    ({"ramp": {}}, "merge or a search"),
    ({"merged": []}, "merge or a search"),
    ({"asked": of("b", [0.01])["asked"] | {"via": "kafka"}}, "via http and kafka"),
    ({"hops": {"accept": {"hdr": "nonsense", "count": 1, "meaning": ""}}}, "cannot be read"),
    ({"hops": {"accept": {"hdr": Latencies().encoded(), "count": 1, "meaning": ""}}}, "its count"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), BAD, ids=lambda value: str(value)[:20])
def test_what_does_not_belong_together_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Problem, match=words):
        merge([of("a", [0.01]), spoilt(changes)], COMMAND)


def test_a_cut_histogram_is_refused() -> None:
    broken = of("b", [0.01] * 20)
    hop = broken["hops"]["accept"]
    for cut in range(1, len(hop["hdr"]), 7):
        hop["hdr"] = hop["hdr"][:-cut]
        with pytest.raises(Problem, match="histogram accept of load-b"):
            merge([of("a", [0.01]), broken], COMMAND)


def test_machines_stand_side_by_side() -> None:
    one, other = of("a", [0.01]), of("b", [0.01])
    other["machine"] = {**AROUND["machine"], "cores": 8}  # type: ignore[dict-item]
    told = merge([one, other], COMMAND)
    assert told["machine"]["cores"] == "2 / 8"
    assert told["machine"]["processor"] == "P"


def test_the_command_writes_a_report_and_a_page(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(of(name, [0.01] * 20)))
    kept, shown = tmp_path / "all.json", tmp_path / "all.html"
    arguments = ["load", "merge", *map(str, files), "--report", str(kept), "--html", str(shown)]
    result = CliRunner().invoke(commands, arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(kept.read_text())
    assert told["schema"] == "load-report.v1"
    assert "load-a+load-b: 20/s" in result.stdout
    assert "merged: load-b at 10/s" in result.stdout
    assert "\n".join(text.lines(told)) in result.stdout
    assert "load-a+load-b" in shown.read_text()
    again = CliRunner().invoke(commands, [*arguments[:2], str(kept), str(files[0])])
    assert isinstance(again.exception, Problem)


@pytest.mark.parametrize("content", [None, "no json", "[]", "{}"])
def test_a_file_that_is_no_report_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "x.json"
    if content is not None:
        file.write_text(content)
    result = CliRunner().invoke(commands, ["load", "merge", str(file), str(file)])
    assert isinstance(result.exception, Problem)


def test_a_definite_no_is_a_decision(tmp_path: Path) -> None:
    """A 400 stays a no under the same key; after a 503 the same key may still be accepted."""
    tally = Tally("load-x", array("d", [0.0, 0.1]), STARTED)
    tally.started(0, 0.0)
    tally.refused(0, "400 body-invalid")
    tally.refusals["503 unavailable"] += 3
    told = report.build(Run(Plan("http", 10.0, 1.0), tally, come=2), TARGET, [], AROUND)
    lines = list(text.lines(told))
    assert "  refused: 400 body-invalid  1" in lines
    assert "  no decision yet: 503 unavailable  3" in lines
    shown = page.render(told)
    for answer, kind in (("400 body-invalid", "refused"), ("503 unavailable", "no decision yet")):
        assert f"<th>{answer}</th>" in shown
        assert f'<td class="why">{kind}</td>' in shown
    assert "not a decision" not in shown + "\n".join(lines)
