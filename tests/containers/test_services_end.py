"""Services that are paused, killed and stopped in the middle of a flow, as operators see it."""

import asyncio

import pytest

from tests.containers.field import Field
from tests.stacks.containers import Contained

pytestmark = pytest.mark.timeout(300)
# Postgres ends a session that is silent for 10 s: then others take its rows up, and after window
# (2 s), step allowance (1 s) and late visibility (2 s) they take what is absent for never placed.
PAUSE_S = 16.0
STOP_S = 12  # what `docker stop` is given; services promise 10 s


async def test_an_executor_is_paused_past_window_and_bound(field: Field) -> None:
    """200 orders; one of three executors freezes with requests in its hands, and wakes up when
    others have long looked after its orders. What it still says is refused or changes nothing.

    Guard: the stamp is fixed at the CAS, and the venue's window refuses what wakes late.
    """
    async with field.flow(200, begun=60):
        field.executors[0].freeze()
        assert field.executors[0].status()[0] == "paused"
        await asyncio.sleep(PAUSE_S)  # the pause itself
        field.executors[0].thaw()


async def test_an_executor_and_an_api_are_killed(field: Field) -> None:
    """Of three executors and two APIs one each, for good: the others do all the work.

    Guard: rows of a dead process are taken up; any API publishes any order.
    """
    async with field.flow(150, begun=40):
        field.executors[0].kill()
        field.apis[0].kill()
        assert field.executors[0].exit_code == field.apis[0].exit_code == 137


@pytest.mark.parametrize("name", ["order-api-1", "executor-1", "ledger", "paper"])
async def test_F16_docker_stop_under_load(field: Field, name: str) -> None:
    """It ends by itself, in time, with code 0; another takes over, or it goes on where it was.

    Guard: SIGTERM reaches the process (as process 1, too), and in-flight work ends first.
    """
    async with field.flow(120, begun=30):
        child = next(c for c in field.line.children if c.name == name)
        assert isinstance(child, Contained)
        await asyncio.to_thread(child.container.stop, timeout=STOP_S)
        assert child.exit_code == 0, child.tail()
        await field.start_dead()
