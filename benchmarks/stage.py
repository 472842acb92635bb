"""The ground that a benchmark stands on: servers of its own and a straight line on them, with the
limits open that a venue would set.

They are those of the tests (tests/servers.py, tests/line.py), so that what is measured is what is
tested. Everything ends with the benchmark, a kill -9 of it included.
"""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from benchmarks.report import Result, keep, show
from tests import servers
from tests.line import Line, Shape, run_line
from tests.servers import Database, Template

# Room for a load test: the executor's own limits are for venues that have some.
OPEN_EXECUTOR = {
    "EXECUTOR_REQUESTS_PER_SECOND": "100000",
    "EXECUTOR_BURST": "10000",
    "EXECUTOR_WINDOW_MS": "5000",
    "EXECUTOR_VENUE_TIMEOUT_MS": "5000",
}
# Without byte code on disk every start of a service would compile all of its libraries anew.
INHERITED = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
OPEN_PAPER = ("--no-rate-limits",)


@dataclass(frozen=True)
class Stage:
    """Running servers and a folder for logs."""

    template: Template
    bootstrap: str
    folder: Path

    @contextlib.asynccontextmanager
    async def line(self, shape: Shape) -> AsyncIterator[Line]:
        """A line on a database and topics of its own."""
        name = uuid4().hex[:10]
        with self.template.copy() as database:
            async with (
                servers.topics(self.bootstrap, f"b{name}.") as prefix,
                run_line(database, self.bootstrap, prefix, self.folder / name, shape) as line,
            ):
                yield line

    def database(self) -> contextlib.AbstractContextManager[Database]:
        return self.template.copy()


@contextlib.contextmanager
def running_servers() -> Iterator[Stage]:
    with (
        servers.data_layout() as layout,
        servers.postgres_server(layout) as postgres_url,
        servers.kafka_server(layout) as bootstrap,
        servers.migrated_template(postgres_url) as template,
    ):
        folder = layout.root / "lines"
        folder.mkdir()
        yield Stage(template, bootstrap, folder)


def main(
    module: str, options: argparse.ArgumentParser, run: Callable[..., Awaitable[Result]]
) -> None:
    """One command: servers, the benchmark, its report, a line of history (unless --no-history)."""
    options.add_argument("--no-history", action="store_true", help="only print")
    given = vars(options.parse_args())
    unkept = given.pop("no_history")
    command = " ".join(["python -m", module, *sys.argv[1:]])
    print(f"{module}: starting servers", file=sys.stderr, flush=True)
    with running_servers() as stage:
        result = asyncio.run(_run(run, stage, given))
    print(show(result, command))
    if not unkept:
        keep(result, command)


async def _run(
    run: Callable[..., Awaitable[Result]], stage: Stage, given: dict[str, object]
) -> Result:
    return await run(stage, **given)


def say(text: str) -> None:
    """Progress, beside the report."""
    print(f"  {text}", file=sys.stderr, flush=True)
