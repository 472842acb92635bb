"""`orderonce load` against a whole line: honest when all is well, and when it is not.

No test asserts a speed. A stall is made by hand, and what is asserted is that the report shows it.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests import servers
from tests.line import Line, Shape, run_line, until
from tests.servers import Template

ACCOUNTS = ("paper-1", "paper-2", "paper-3", "paper-4")
ENDS_S = 100.0  # one run of the tool, on a busy machine
STALL_S = 1.2
FEW_S = "4"


@dataclass(frozen=True)
class Place:
    """The line of this module, and how the tool is pointed at it."""

    line: Line
    bootstrap: str
    prefix: str
    key_file: Path

    def over_http(self, kafka: bool = True) -> list[str]:
        options = [
            "--via", "http", "--api", self.line.api_urls[0], "--ledger", self.line.ledger_url,
            "--key-file", str(self.key_file),
        ]  # fmt: skip
        return [*options, *self.to_kafka()] if kafka else options

    def over_kafka(self) -> list[str]:
        return ["--via", "kafka", *self.to_kafka()]

    def to_kafka(self) -> list[str]:
        return ["--bootstrap", self.bootstrap, "--topic-prefix", self.prefix]


@dataclass
class Tool:
    """The tool as a process of its own; `seconds` is how many live lines it has printed."""

    process: asyncio.subprocess.Process
    report: Path
    said: list[str]
    reading: "asyncio.Task[None]"

    async def ended(self) -> tuple[int, dict[str, Any]]:
        """Exit code and report; the report is empty where there is none."""
        code = await asyncio.wait_for(self.process.wait(), ENDS_S)
        await self.reading
        return code, json.loads(self.report.read_text()) if self.report.exists() else {}

    async def runs_for(self, seconds: int) -> None:
        """Until its live line has told so many seconds."""
        await until(
            lambda: sum(" · " in line for line in self.said) >= seconds, ENDS_S, "the tool sends"
        )

    @property
    def words(self) -> str:
        return "\n".join(self.said)


async def start(folder: Path, *options: str) -> Tool:
    report = folder / f"{uuid4().hex[:8]}.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orderonce_cli", "load", *options, "--report", str(report),
        env={**os.environ, "ORDERONCE_DATA": str(folder / "none")},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said: list[str] = []

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            said.append(line.decode().rstrip())

    return Tool(process, report, said, asyncio.create_task(read()))


async def load(folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    tool = await start(folder, *options)
    code, told = await tool.ended()
    return code, told, tool.words


@pytest.fixture(scope="module")
async def whole(
    database_template: Template, kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("load")
    shape = Shape(accounts=ACCOUNTS, paper_flags=("--no-rate-limits",))
    with database_template.copy() as database:
        async with (
            servers.topics(kafka_bootstrap, f"l{uuid4().hex[:10]}.") as prefix,
            run_line(database, kafka_bootstrap, prefix, folder / "line", shape) as line,
        ):
            _, key = await line.make_key("loader")
            key_file = folder / "loader.key"
            key_file.touch(mode=0o600)
            key_file.write_text(key)
            yield Place(line, kafka_bootstrap, prefix, key_file)


@pytest.fixture
async def place(whole: Place) -> AsyncIterator[Place]:
    """The line, mended after the test."""
    yield whole
    for child in whole.line.children:
        child.thaw()
        if not child.running:
            child.start()
    for child in whole.line.children:
        await child.wait_ready(whole.line.http)


def require_whole_account(told: dict[str, Any], orders: int) -> None:
    counts = told["counts"]
    assert told["holds"], told["failures"]
    assert (counts["sent"], counts["accepted"], counts["claimed"], counts["final"]) == (orders,) * 4
    assert counts["final_filled"] == orders, (counts, told["reasons"])
    assert counts["doubled"] == 0


async def test_over_http_every_order_is_followed_to_its_booking(
    place: Place, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    code, told, words = await load(
        tmp_path, *place.over_http(), "--rate", "20", "--seconds", "3", "--accounts", "4",
        "--html", str(page),
    )  # fmt: skip
    assert code == 0, words
    require_whole_account(told, 60)
    hops = told["hops"]
    for hop in ("start", "accept", "sent", "venue", "final", "heard", "booked"):
        assert hops[hop]["count"] == 60, hop
    line = ("claimed", "sent", "venue", "heard")
    assert [hops[hop]["p50"] for hop in line] == sorted(hops[hop]["p50"] for hop in line)
    assert told["clock"]["hops_before_their_start"] == 0
    assert told["booked"] == {"filled": 60, "booked": 60, "not_booked": 0}
    assert told["lag"]["last"] == 0, "the executors have committed what they claimed"
    assert {row["account"] for row in await _orders_of(place, told["run"])} == set(ACCOUNTS)
    assert "<svg" in page.read_text()
    assert "partitions" in words, "four accounts do not fill twelve partitions"


async def _orders_of(place: Place, run: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {place.key_file.read_text()}"}
    url = f"{place.line.api_urls[0]}/v1/orders?limit=200"
    rows = (await place.line.http.get(url, headers=headers)).json()["orders"]
    return [row for row in rows if row["client_tag"] == run]


async def test_on_a_stack_of_ones_own_the_runs_key_is_revoked_at_the_end(
    place: Place, tmp_path: Path
) -> None:
    """`--data` names a folder with the addresses and the admin key, as `orderonce up` leaves it."""
    line, folder = place.line, tmp_path / "data"
    folder.mkdir()
    view = {
        "order_api": line.api_urls, "order_api_admin": line.api_admin_urls,
        "ledger": line.ledger_url, "kafka": place.bootstrap,
    }  # fmt: skip
    (folder / "view.json").write_text(json.dumps(view))
    (folder / "admin.key").write_text(line.admin_key)
    code, told, words = await load(
        tmp_path, "--data", str(folder), "--topic-prefix", place.prefix, "--rate", "10",
        "--seconds", "1", "--accounts", "2",
    )  # fmt: skip
    assert code == 0, words
    require_whole_account(told, 10)
    keys = (await line.admin("GET", "/v1/keys"))["keys"]
    made = [key for key in keys if key["client"].startswith("load-")]
    assert [key["status"] for key in made] == ["revoked"]


async def test_without_kafka_pages_of_orders_tell_the_same(place: Place, tmp_path: Path) -> None:
    code, told, words = await load(
        tmp_path, *place.over_http(kafka=False), "--rate", "20", "--seconds", "2",
        "--accounts", "paper-2", "--type", "ioc",
    )  # fmt: skip
    assert code == 0, words
    require_whole_account(told, 40)
    assert told["hops"]["heard"]["count"] == 40
    assert "claimed" not in told["hops"], "a page does not tell when it was claimed"
    assert told["lag"] is None


async def test_straight_to_kafka_the_executor_gives_the_same_guarantee(
    place: Place, tmp_path: Path
) -> None:
    code, told, words = await load(
        tmp_path, *place.over_kafka(), "--rate", "20", "--seconds", "2", "--accounts", "4",
        "--arrivals", "poisson", "--seed", "11",
    )  # fmt: skip
    assert code == 0, words
    require_whole_account(told, told["counts"]["scheduled"])
    for hop in ("accept", "claimed", "sent", "venue", "final", "heard"):
        assert told["hops"][hop]["count"] == told["counts"]["scheduled"], hop


async def test_a_frozen_api_shows_as_queueing_of_every_order_that_was_due(
    place: Place, tmp_path: Path
) -> None:
    """Coordinated omission: a generator that waits for answers would have one slow sample."""
    rate = 40
    tool = await start(
        tmp_path, *place.over_http(), "--rate", str(rate), "--seconds", FEW_S, "--accounts", "4"
    )
    await tool.runs_for(1)
    place.line.apis[0].freeze()
    await asyncio.sleep(STALL_S)  # the stall itself, not a wait
    place.line.apis[0].thaw()
    code, told = await tool.ended()
    assert code == 0, tool.words
    require_whole_account(told, rate * int(FEW_S))
    accept = told["hops"]["accept"]
    assert accept["count"] == rate * int(FEW_S)
    assert accept["max"] >= STALL_S * 1e3 * 0.8
    waited = sum(row["accept"]["max"] > 500 for row in told["seconds"])
    assert waited >= 1
    slow = [ms for level, ms in accept["curve"] if level <= 90]
    assert max(slow) > 250, "a stall of a quarter of the run is in more than its last tenth"


async def test_a_full_generator_drops_by_name_and_does_not_hide_it(
    place: Place, tmp_path: Path
) -> None:
    tool = await start(
        tmp_path, *place.over_http(), "--rate", "40", "--seconds", FEW_S, "--accounts", "4",
        "--in-flight", "5",
    )  # fmt: skip
    await tool.runs_for(1)
    place.line.apis[0].freeze()
    await asyncio.sleep(STALL_S)
    place.line.apis[0].thaw()
    code, told = await tool.ended()
    assert code == 0, "what was never sent cannot be lost"
    counts = told["counts"]
    assert counts["dropped"] > 0
    assert counts["dropped"] + counts["sent"] == counts["scheduled"] == 40 * int(FEW_S)
    assert counts["final"] == counts["sent"]
    assert "dropped by the generator" in tool.words


async def test_an_executor_killed_under_load_is_in_the_tail_and_loses_nothing(
    place: Place, tmp_path: Path
) -> None:
    tool = await start(
        tmp_path, *place.over_kafka(), "--rate", "20", "--seconds", "6", "--accounts", "4"
    )
    await tool.runs_for(2)
    (executor,) = place.line.executors
    executor.kill()
    await asyncio.sleep(STALL_S)
    executor.start()
    code, told = await tool.ended()
    assert code == 0, tool.words
    counts = told["counts"]
    assert counts["final"] + counts["unknown"] == counts["accepted"] == 120
    assert told["hops"]["heard"]["p999"] >= STALL_S * 1e3
    assert told["hops"]["accept"]["p50"] < told["hops"]["heard"]["max"] / 2, "Kafka took them"
    assert told["lag"]["max"] > 0
    assert max(row["unfinished"] or 0 for row in told["seconds"]) > 0


async def test_accepted_orders_without_an_end_are_a_failure(place: Place, tmp_path: Path) -> None:
    (executor,) = place.line.executors
    executor.kill()
    code, told, words = await load(
        tmp_path, *place.over_kafka(), "--rate", "10", "--seconds", "2", "--accounts", "2",
        "--drain-seconds", "1",
    )  # fmt: skip
    assert code == 1
    assert told["holds"] is False
    assert told["counts"]["unclaimed"] == 20
    assert "FAILED: 20 accepted orders were not claimed within the limit" in words


async def test_an_interrupt_stops_the_sending_and_still_accounts_for_all(
    place: Place, tmp_path: Path
) -> None:
    tool = await start(
        tmp_path, *place.over_http(), "--rate", "20", "--seconds", "300", "--accounts", "2"
    )
    await tool.runs_for(2)
    tool.process.send_signal(signal.SIGINT)
    code, told = await tool.ended()
    assert code == 130, tool.words
    assert told["interrupted"] is True
    counts = told["counts"]
    assert 0 < counts["sent"] == counts["final"] < 300
    assert counts["not_started"] == counts["scheduled"] - counts["sent"]
    assert told["achieved"]["scheduled_per_s"] == pytest.approx(20, rel=0.5)


async def test_a_search_tells_each_step_and_why_it_ended(place: Place, tmp_path: Path) -> None:
    code, told, words = await load(
        tmp_path, *place.over_http(), "--rate", "4", "--ramp", "--max-rate", "8",
        "--hold-seconds", "2", "--latency-bound-ms", "60000", "--accounts", "4",
    )  # fmt: skip
    assert code == 0, words
    assert [step["rate"] for step in told["ramp"]["steps"]] == [4.0, 8.0]
    assert told["ramp"]["kept"] == 8.0
    assert "8/s was kept for 2 s with heard p99 within 60000 ms" in words


async def test_a_search_that_keeps_nothing_fails_with_its_reason(
    place: Place, tmp_path: Path
) -> None:
    code, told, words = await load(
        tmp_path, *place.over_http(), "--rate", "1", "--ramp", "--hold-seconds", "1",
        "--latency-bound-ms", "0.1", "--accounts", "1",
    )  # fmt: skip
    assert code == 1
    assert told["ramp"]["kept"] is None
    assert "no rate was kept" in words
    assert "ms > 0 ms" in words


async def test_kafka_alone_is_measured_and_left_as_it_was(place: Place, tmp_path: Path) -> None:
    before = await _topics(place.bootstrap)
    code, told, words = await load(
        tmp_path, "--measure", "kafka", "--bootstrap", place.bootstrap, "--topic-prefix",
        f"own{uuid4().hex[:8]}.", "--make-topics", "--partitions", "3", "--rate", "50",
        "--seconds", "2", "--symbols", "ABC/DEF", "--quantity", "1",
    )  # fmt: skip
    assert code == 0, words
    assert told["counts"]["claimed"] == told["counts"]["accepted"] == 100
    assert told["hops"]["read_back"]["count"] == 100
    assert await _topics(place.bootstrap) == before, "the topics that it made are gone"


async def test_records_that_only_measure_are_not_sent_to_executors(
    place: Place, tmp_path: Path
) -> None:
    code, told, words = await load(tmp_path, "--measure", "kafka", *place.to_kafka())
    assert (code, told) == (1, {})
    assert "these records would be placed as orders" in words


async def _topics(bootstrap: str) -> tuple[set[str], set[str]]:
    """Topics and consumer groups of the cluster."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        groups = {group[0] for group in await admin.list_consumer_groups()}
        return set(await admin.list_topics()), groups
    finally:
        await admin.close()


async def test_a_wrong_key_is_a_sentence(place: Place, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.key"
    wrong.write_text("oo_test_no")
    code, told, words = await load(
        tmp_path, "--api", place.line.api_urls[0], "--key-file", str(wrong)
    )
    assert (code, told) == (1, {})
    assert "credentials-invalid" in words
    assert "oo_test_no" not in words


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--via", "kafka", "--bootstrap", "127.0.0.1:1"), 3, "does not answer as PLAINTEXT"),
        (("--api", "http://127.0.0.1:1", "--key-file", "KEY"), 3, "No answer"),
        (("--api", "http://127.0.0.1:1", "--key-file", "/nowhere"), 1, "cannot be read"),
        (("--bootstrap", "127.0.0.1:1"), 2, "--via http needs --api"),
        (
            ("--via", "kafka", "--bootstrap", "127.0.0.1:1", "--security-protocol", "SASL_SSL"),
            2, "--sasl-password-file",
        ),
        (
            ("--via", "kafka", "--bootstrap", "b:1", "--security-protocol", "SSL", "--ca-file",
             "/no"),
            2, "TLS files cannot be used",
        ),
        (("--via", "kafka", "--bootstrap", "127.0.0.1:1", "--accounts", "0"), 2, "at least 1"),
        ((), 3, "The stack is not running"),
    ],
)  # fmt: skip
async def test_what_cannot_begin_says_why(
    tmp_path: Path, options: tuple[str, ...], code: int, sentence: str
) -> None:
    key = tmp_path / "key"
    key.write_text("oo_test_x")
    given = [str(key) if option == "KEY" else option for option in options]
    ended, told, words = await load(tmp_path, *given)
    assert (ended, told) == (code, {}), words
    assert sentence in words
    assert "Traceback" not in words


async def test_a_missing_topic_is_named(place: Place, tmp_path: Path) -> None:
    code, _, words = await load(
        tmp_path, "--via", "kafka", "--bootstrap", place.bootstrap, "--topic-prefix", "nope."
    )
    assert code == 1
    assert "no topic nope.orders.commands" in words


async def test_the_example_loads_a_kafka_of_ones_own(kafka_bootstrap: str, tmp_path: Path) -> None:
    before = await _topics(kafka_bootstrap)
    process = await asyncio.create_subprocess_exec(
        "sh", "examples/load_own_kafka.sh", cwd=Path(__file__).parents[2],
        env={
            **os.environ, "KAFKA": kafka_bootstrap, "RATE": "50", "SECONDS_TO_RUN": "2",
            "OUT": str(tmp_path / "out"), "ORDERONCE": f"{sys.executable} -m orderonce_cli",
        },
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), ENDS_S)
    assert process.returncode == 0, out.decode()
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["counts"]["claimed"] == told["counts"]["sent"] > 0
    assert not [words for words in told["warnings"] if "partitions" in words]
    assert "<svg" in (tmp_path / "out.html").read_text()
    assert await _topics(kafka_bootstrap) == before
