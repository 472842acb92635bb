"""Postgres is killed in the middle of a flow, and its synchronous standby takes over.

What was accepted is there. The executor cannot know what the standby has not seen of its own words,
so it refuses to send, and says so (R13; the way back is not built yet).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest

from tests.auditor import Doors, Kind, audit, report
from tests.containers.field import Field, open_field
from tests.line import Shape, until
from tests.pool import Pool, ground_of
from tests.servers import pick_port, wait_until
from tests.stacks.box import Box
from tests.stacks.containers import DATA, Site, running
from tests.stacks.infrastructure import Standby
from tests.workload import market_order

pytestmark = pytest.mark.timeout(300)
ACCOUNTS = ("paper-1", "paper-2", "paper-3", "paper-4")
READY_S = 60.0
# What is not known again until R13's recovery; anything else would be a lost or a doubled order.
EXPECTED = {Kind.NOT_FINAL, Kind.UNKNOWN}


class Pair(Site):
    """A site with two Postgres; programs are told both and take the one that can write."""

    def __init__(self, images: Mapping[str, str]) -> None:
        super().__init__(images)
        port = pick_port()
        self.standby_url = self.url_outside(port)
        make = partial(Standby, port, self.password, self.volume())
        self.standby = Box("postgres-standby", make, self.networks, (DATA,))

    def up(self) -> None:
        super().up()
        self.standby.up()
        wait_until(self._follows, READY_S, "the standby follows")
        with psycopg.connect(self.postgres_url, autocommit=True) as owner:
            owner.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            owner.execute("SELECT pg_reload_conf()")
            wait_until(lambda: _in_sync(owner), READY_S, "the standby is synchronous")

    def _follows(self) -> bool:
        try:
            with psycopg.connect(self.standby_url, connect_timeout=2) as owner:
                return owner.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        except psycopg.OperationalError:
            return False

    def promote(self) -> None:
        """What an operator, or an operator's program, does when the primary is gone."""
        with psycopg.connect(self.standby_url, autocommit=True) as owner:
            owner.execute("SELECT pg_promote()")

    def remove(self) -> None:
        self.standby.remove()
        super().remove()

    def database_url(self, url: str) -> str:
        parts = urlsplit(super().database_url(url))
        both = f"{parts.netloc},postgres-standby:5432"
        return urlunsplit(parts._replace(netloc=both, query="target_session_attrs=read-write"))


def _in_sync(owner: psycopg.Connection[tuple[object, ...]]) -> bool:
    rows = owner.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
    return rows == [("sync",)]


@pytest.fixture
def pair(images: dict[str, str]) -> Iterator[Pair]:
    made = Pair(images)
    with running(made):
        yield made


@pytest.fixture
async def field(pair: Pair, tmp_path: Path) -> AsyncIterator[Field]:
    with ground_of(pair) as ground:
        pool = Pool(ground, tmp_path, Shape(apis=2, executors=2, accounts=ACCOUNTS))
        async with open_field(pair, await pool.line(), ACCOUNTS) as made:
            yield made
        await pool.drop()


async def test_f13_a_standby_takes_over(pair: Pair, field: Field) -> None:
    """Every accepted order is in the new primary, none is at the venue twice, and no executor sends
    anything more until a person has looked.

    Guard: synchronous_standby_names; the timeline that is compared before any claim.
    """
    line, bot = field.line, field.bot
    async with field.unjudged_flow(120, begun=40) as flowing:
        await asyncio.to_thread(pair.postgres.kill)
        await asyncio.to_thread(pair.promote)
        await until(lambda: _refuses(field), READY_S, "every executor refuses and says why")
        attempts = await flowing
    assert {attempt.status for attempt in attempts} == {202}
    placed = await _creates(field)
    for number in range(4):  # the API goes on accepting: these wait
        late = await bot.place(market_order(ACCOUNTS[number]))
        assert late.status == 202
    doors = Doors(line.api_urls, line.control_url, "", bot.bearer, ACCOUNTS)
    found = await audit(doors, bot.record, exclusive=False)
    wrong = [finding for finding in found if finding.kind not in EXPECTED]
    assert not wrong, report(wrong)
    assert await _refuses(field)
    assert await _creates(field) == placed  # nothing left after the refusal


async def _refuses(field: Field) -> bool:
    """Whether each executor is unready for the one reason, in words that name the next step."""
    await field.start_dead()
    for url in field.line.executor_admin_urls:
        try:
            told = (await field.line.http.get(f"{url}/readyz")).json()
        except httpx.HTTPError:  # it starts anew
            return False
        words = told["troubles"].get("timeline", "")
        if not ("failed over or was restored" in words and "Compare the venues" in words):
            return False
    return True


async def _creates(field: Field) -> int:
    path = "/control/requests?path=/api/v3/order&limit=100000"
    rows = (await field.line.control("GET", path))["requests"]
    return sum(row["method"] == "POST" for row in rows)
