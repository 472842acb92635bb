"""Three brokers, three copies, two needed to write: one is killed in the middle of a flow."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.containers.field import Field, open_field
from tests.line import Shape
from tests.pool import Pool, ground_of
from tests.stacks.containers import Site, running

pytestmark = pytest.mark.timeout(300)
ACCOUNTS = ("paper-1", "paper-2", "paper-3", "paper-4")
DOWN_S = 5.0


@pytest.fixture
def site(images: dict[str, str]) -> Iterator[Site]:
    with running(Site(images, brokers=3)) as made:
        yield made


@pytest.fixture
async def clustered(site: Site, tmp_path: Path) -> AsyncIterator[Field]:
    with ground_of(site) as ground:
        pool = Pool(ground, tmp_path, Shape(apis=1, executors=2, accounts=ACCOUNTS))
        async with open_field(site, await pool.line(), ACCOUNTS) as field:
            yield field
        await pool.drop()


async def test_one_of_three_brokers_is_killed(clustered: Field) -> None:
    """The two others go on with everything that was acknowledged; the third catches up.

    Guard: acks=all with two in sync; what the outbox sent is repeated until it is claimed.
    """
    victim = clustered.site.kafkas[0]
    async with clustered.flow(150, begun=40):
        await asyncio.to_thread(victim.kill)
        before = clustered.answered
        await asyncio.sleep(DOWN_S)  # the outage itself
        assert clustered.answered > before
        await asyncio.to_thread(victim.up)
