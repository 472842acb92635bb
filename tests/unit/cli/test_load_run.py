"""Pacing on a clock that misbehaves, and the report drawn from a run that never was."""

import asyncio
import json
import re
from array import array
from pathlib import Path
from typing import Any

import pytest
from orderonce_cli.commands.load import _check_folders
from orderonce_cli.load import page, report, text
from orderonce_cli.load.orders import Market
from orderonce_cli.load.pace import pace
from orderonce_cli.load.plan import Plan, Target
from orderonce_cli.load.run import Run, Sample
from orderonce_cli.load.tally import Outcome, Tally
from orderonce_cli.problems import Problem

STARTED = 1_763_805_600.0


async def test_no_start_is_left_out_when_the_loop_falls_behind() -> None:
    """A second's orders are all due at once, as after a stall: each is started, in order."""
    began: list[int] = []
    intended = [n / 1_000 for n in range(1_000)]
    come = await pace(intended, lambda: 5.0, began.append, asyncio.Event())
    assert come == 1_000
    assert began == list(range(1_000))


async def test_no_order_starts_before_its_moment() -> None:
    loop = asyncio.get_running_loop()
    zero = loop.time()
    starts: list[float] = []
    intended = [0.0, 0.01, 0.02, 0.05]
    await pace(
        intended, lambda: loop.time() - zero, lambda _: starts.append(loop.time() - zero),
        asyncio.Event(),
    )  # fmt: skip
    assert all(at >= meant for at, meant in zip(starts, intended, strict=True))


async def test_an_interrupt_ends_the_sending_at_once() -> None:
    stopping = asyncio.Event()
    began: list[int] = []

    def start(number: int) -> None:
        began.append(number)
        stopping.set()

    come = await asyncio.wait_for(pace([0.0, 3_600.0], lambda: 1.0, start, stopping), timeout=10)
    assert (come, began) == (1, [0])


def a_run(**changes: Any) -> Run:
    """Forty orders over four seconds; the third second was slow, one order has no end."""
    tally = Tally("load-0123abcd", array("d", (n / 10 for n in range(40))), STARTED)
    for number in range(40):
        meant = tally.intended[number]
        slow = 1.0 if 20 <= number < 30 else 0.0
        tally.started(number, meant + 0.001)
        tally.acked(number, meant + 0.010 + slow, f"id-{number}")
        if number == 39:
            continue
        for status, at in (("accepted", 0.02), ("filled", 0.05)):
            tally.event(
                {
                    "key": tally.key(number), "order_id": f"id-{number}", "status": status,
                    "final": status == "filled", "reason": None, "venue_order_id": "1",
                    "sent_at": None, "version": 1 if status == "accepted" else 3,
                    "at": f"2025-11-22T10:00:{meant + at + slow:09.6f}Z",
                },
                heard=meant + at + slow + 0.005,
            )  # fmt: skip
    run = Run(Plan("http", 10.0, 4.0), tally, come=40, sending_s=4.0, whole_s=5.0, cpu_s=0.4)
    run.samples = [Sample(n + 1.0, 10 * (n + 1), n, 3 * n, 7 * n) for n in range(4)]
    for name, value in changes.items():
        setattr(run, name, value)
    return run


TARGET = Target(("paper-1", "<b>x</b>"), (Market("BTC/USDT", "0.001"),), key="oo_test_secret")
AROUND = {
    "command": "orderonce load --rate 10 <script>alert(1)</script>",
    "versions": {"python": "3.11"},
    "machine": {"processor": "P", "cores": 2, "memory_gib": 4, "system": "Linux"},
}


def a_report(**changes: Any) -> dict[str, Any]:
    return report.build(a_run(**changes), TARGET, ["one account is one partition"], AROUND)


def test_the_report_shows_the_stall_where_it_was() -> None:
    told = a_report()
    assert [row["accept"]["max"] > 900 for row in told["seconds"]] == [False, False, True, False]
    assert told["seconds"][2]["lag"] == 14
    assert told["hops"]["accept"]["count"] == 40
    assert told["hops"]["accept"]["max"] == pytest.approx(1010, rel=0.01)
    assert told["lag"] == {"min": 0, "max": 21, "last": 21, "samples": 4}


def test_the_rates_are_what_was_kept_while_sending() -> None:
    assert a_report()["achieved"] == {
        "seconds": 4.0, "scheduled_per_s": 10.0, "sent_per_s": 10.0, "accepted_per_s": 10.0,
        "final_per_s": 9.75,
    }  # fmt: skip


def test_a_rate_that_was_not_kept_is_a_warning_although_nothing_was_lost() -> None:
    run = a_run()
    assert not [w for w in report.build(run, TARGET, [], AROUND)["warnings"] if "not kept" in w]
    for number in range(20, 40):  # their ends came after the sending
        run.tally.times["final"][number] = 4.5
    told = report.build(run, TARGET, [], AROUND)
    (words,) = [w for w in told["warnings"] if "not kept" in w]
    assert words.startswith("the rate was not kept: 20 orders were waiting")


def test_a_folder_that_is_not_there_is_told_before_the_run(tmp_path: Path) -> None:
    _check_folders(tmp_path / "report.json", None)
    with pytest.raises(Problem, match="no such folder"):
        _check_folders(None, tmp_path / "missing" / "report.html")


def test_a_report_is_json_without_secrets() -> None:
    kept = json.dumps(a_report(), allow_nan=False)
    assert "oo_test_secret" not in kept
    assert json.loads(kept)["schema"] == "load-report.v1"


def test_the_text_names_what_failed() -> None:
    shown = "\n".join(text.lines(a_report()))
    assert "FAILED: 1 accepted orders were not claimed within the limit" in shown
    assert "warning: one account is one partition" in shown
    assert "every accepted order has" not in shown
    assert re.search(r"= accepted +40 ", shown)


def test_the_live_line_tells_the_last_second() -> None:
    run = a_run()
    assert "10 of 10/s" in text.live(run)
    assert "lag 21" in text.live(run)
    assert "accept p50 -" in text.live(run), "nothing was answered since the line before"
    assert "dropped" not in text.live(run)
    run.samples.append(Sample(5.0, 50, 3, 9, 21, dropped=6))
    assert "4 of 10/s" in text.live(run), "what was dropped was not sent"
    assert "dropped 6" in text.live(run)


def test_requests_that_waited_for_a_connection_and_those_without_an_answer_are_warnings() -> None:
    run = a_run(plan=Plan("http", 10.0, 4.0, connections=2))
    run.tally.outcome[39] = Outcome.UNANSWERED
    words = report.build(run, TARGET, [], AROUND)["warnings"]
    assert any(one.startswith("up to 1 requests waited in the generator") for one in words)
    assert any(one.startswith("1 orders had no answer within --drain-seconds") for one in words)
    assert not any("waited" in one or "no answer" in one for one in a_report()["warnings"])


def test_the_page_asks_nobody_and_runs_nothing() -> None:
    shown = page.render(a_report())
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+[^\s\"'<>]*", shown))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<script" not in shown
    assert "@import" not in shown
    assert "url(" not in shown
    assert "default-src 'none'" in shown
    assert shown.count("<svg") == 4


def test_the_page_shows_foreign_text_as_text() -> None:
    shown = page.render(a_report())
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "The account does not hold." in shown


def test_a_page_can_be_drawn_of_a_run_without_answers() -> None:
    tally = Tally("load-0123abcd", array("d", [0.0]), STARTED)
    tally.dropped(0)
    told = report.build(Run(Plan("http", 1.0, 1.0), tally, come=1), TARGET, [], AROUND)
    assert "nothing was measured" in page.render(told)
    assert "1 orders were dropped by the generator" in "\n".join(text.lines(told))


def test_the_page_of_a_search_shows_its_steps() -> None:
    steps = [
        {"rate": 100.0, "kept": True, "reasons": []},
        {"rate": 200.0, "kept": False, "reasons": ["heard p99 812 ms > 250 ms"]},
    ]
    found = {"kept": 100.0, "failed": 200.0, "steps": steps, "verdict": "100/s was kept"}
    shown = page.render(a_report() | {"ramp": found})
    assert "heard p99 812 ms &gt; 250 ms" in shown
    assert "100/s was kept" in shown


def test_clocks_that_disagree_are_told() -> None:
    told = a_report(offset_s=(0.250, 0.001))
    assert told["clock"]["one_clock"] is False
    assert any("+250.0 ms from this machine" in words for words in told["warnings"])
    assert a_report(offset_s=(0.001, 0.002))["clock"]["one_clock"] is True


def test_a_busy_generator_says_so() -> None:
    told = a_report(cpu_s=3.9)
    assert told["generator"]["was_the_limit"] is True
    assert any("nearly a whole core" in words for words in told["warnings"])
