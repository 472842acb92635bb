"""A real Prometheus on a real line: every query of alerts and dashboards answers, and alerts fire
when the only executor is killed."""

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from tests.house.test_watching import PROMETHEUS, alerts, queries
from tests.line import Line, Shape, run_line, until
from tests.servers import Database, pick_port
from tests.tools import tool
from tests.workload import Bot, limit_order, market_order

SCRAPE = "1s"
# What a line at work must show; the others may be empty, for nothing of their kind has happened.
SHOWN = (
    "overview: Assets whose proof is not 0",
    "overview: Executors that may send", "overview: From request to booking",
    "overview: Median", "overview: Waiting", "overview: Processor",
    "overview: Requests that may leave now", "overview: Kafka: not worked on yet",
    "load: Mean size",
)  # fmt: skip


@pytest.fixture
def binary() -> str:
    return tool("prometheus")


def configuration(line: Line) -> dict[str, Any]:
    """Ours, with the addresses of this line in the place of DNS."""
    found: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    found["global"] |= {
        "scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": SCRAPE,
    }  # fmt: skip
    found["rule_files"] = [str(PROMETHEUS / "alerts.yml")]
    urls = {
        "order-api": line.api_admin_urls,
        "executor": line.executor_admin_urls,
        "ledger": [line.ledger_admin_url],
    }
    assert {job["job_name"] for job in found["scrape_configs"]} == set(urls)
    for job in found["scrape_configs"]:
        del job["dns_sd_configs"]
        targets = [url.removeprefix("http://") for url in urls[job["job_name"]]]
        job["static_configs"] = [{"targets": targets}]
    return found


@contextlib.contextmanager
def running(binary: str, line: Line, folder: Path) -> Iterator[str]:
    """Prometheus on this line; its URL."""
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration(line)))
    port = pick_port()
    command = [
        binary, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def prometheus(binary: str, line: Line, folder: Path) -> AsyncIterator[str]:
    """Its URL, as soon as it has scraped every target."""
    with running(binary, line, folder) as url:

        async def all_are_up() -> bool:
            with contextlib.suppress(httpx.HTTPError):  # it does not answer yet
                rows = await ask(line.http, url, "count(up == 1)")
                return bool(rows) and rows[0]["value"][1] == "3"
            return False

        await until(all_are_up, 30.0, "prometheus has scraped the line")
        yield url


async def ask(http: httpx.AsyncClient, url: str, expr: str) -> list[dict[str, Any]]:
    answer = await http.get(f"{url}/api/v1/query", params={"query": expr})
    if answer.is_server_error:
        answer.raise_for_status()
    assert answer.status_code == 200, f"{expr}: {answer.text}"
    rows: list[dict[str, Any]] = answer.json()["data"]["result"]
    return rows


async def firing(http: httpx.AsyncClient, url: str) -> set[str]:
    told = (await http.get(f"{url}/api/v1/alerts")).json()["data"]["alerts"]
    return {row["labels"]["alertname"] for row in told if row["state"] == "firing"}


async def test_every_query_answers_and_a_dead_executor_is_told(
    binary: str, database: Database, kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with (
        run_line(database, kafka_bootstrap, topic_prefix, tmp_path / "line", Shape()) as line,
        prometheus(binary, line, tmp_path / "prometheus") as url,
    ):
        _, bearer = await line.make_key("bot")
        bot = Bot(line.api_urls, bearer)
        for _ in range(5):
            placed = await bot.place(market_order())
            await bot.wait_for(placed.told()["order_id"], "filled", limit_s=60.0)

        for rule in alerts():
            rows = await ask(line.http, url, rule["expr"])
            assert rows == [], f"{rule['alert']} on a healthy line: {rows}"

        async def all_is_shown() -> bool:
            """Rates need two scrapes."""
            shown = {where for where, expr in queries() if await ask(line.http, url, expr)}
            return set(SHOWN) <= shown

        await until(all_is_shown, 20.0, "the panels show the orders")

        line.executors[0].kill()
        for _ in range(3):
            await bot.place(limit_order())
        told = {"OrderonceNoExecutorMaySend", "OrderonceNoProcess", "OrderonceUnclaimedCommandsOld"}

        async def is_told() -> bool:
            return told <= await firing(line.http, url)

        await until(is_told, 60.0, f"{told} fire")
        line.executors[0].start()

        async def is_over() -> bool:
            return not told & await firing(line.http, url)

        await until(is_over, 60.0, "and end when an executor is back")
        await bot.close()
