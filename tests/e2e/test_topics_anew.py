"""F4, F21: the topics are deleted and made again.

What a topic held goes with it: commands and events are told again, and a fill that Kafka lost on
its way to the ledger is a break with a name. What the new topics hold is read from the start,
wherever the readers were in the old ones.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from orderonce_shared.contracts.topics import COMMANDS, EVENTS, FILLS

from tests.e2e.accidents import Broker
from tests.e2e.judging import assert_clean
from tests.line import Line, until
from tests.workload import Attempt, Bot, market_order

ORDERS = 6
SOON_S = 12.0  # nobody is asked again for what a reader stepped over (QUIET_S) by then
HEALED_S = 60.0
MEANWHILE = 40  # orders while the topics are made anew: a page of the ledger shows 100
SPOILT = "paper-8"  # its ledger stays behind its venue: no other test judges it
ACCOUNT = "paper-3"
EXECUTORS, LEDGER, EVENT_READERS = "orderonce-executor", "ledger", "order-api-orders.events"


@pytest.fixture
def broker(line: Line) -> Broker:
    return Broker(line)


async def test_F21_F04_all_topics_are_made_anew_under_running_services(
    line: Line, bot: Bot, broker: Broker
) -> None:
    """Idempotent producers meet a log without their sequence numbers, readers places that are gone
    or mean other records. 202s go on all the time, every order ends, and a fill that Kafka lost on
    its way to the ledger is a break with a name, not a silence.

    Guard: F4, a producer that failed once is closed and built anew; a reader looks for topics every
    few seconds.
    """
    body = market_order(SPOILT)
    first = [await bot.place(body) for _ in range(ORDERS)]
    making = asyncio.create_task(broker.make_anew())
    meanwhile: list[Attempt] = []
    while not making.done() and len(meanwhile) < MEANWHILE:
        meanwhile.append(await bot.place(body))
        await asyncio.sleep(0.1)
    await making
    after = [await bot.place(body) for _ in range(ORDERS)]

    placed = [*first, *meanwhile, *after]
    await _filled_once(line, bot, placed, HEALED_S)
    await until(lambda: _told(line, bot, placed), HEALED_S, "each fill is booked or a break")


async def test_F21_commits_of_the_old_topics_lie_inside_the_new_ones(
    line: Line, bot: Bot, broker: Broker
) -> None:
    """Each group's last commit lands when the new topic has records before it. Executors, ledger
    and APIs read them all the same: every order ends at once, every fill is booked, none is a
    break.

    Guard: a commit carries its topic's id, and another topic is read from its start.
    """
    body = market_order(ACCOUNT)
    old = [await bot.place(body) for _ in range(ORDERS)]
    await _filled_once(line, bot, old, SOON_S)
    await assert_clean(line, bot, ACCOUNT)
    groups = {EXECUTORS: COMMANDS, LEDGER: FILLS, EVENT_READERS: EVENTS}
    late = {group: await broker.commits(group) for group in groups}
    services = [*line.executors, *line.ledgers, *line.apis]
    await asyncio.gather(*(service.stop() for service in services))
    await broker.make_anew()

    async def lands(group: str) -> None:
        before = await broker.commit_late(group, groups[group], late[group])
        assert before > 0, f"{group} steps over nothing"

    await asyncio.gather(*(line.restart(api) for api in line.apis))
    new = [await bot.place(body) for _ in range(ORDERS)]
    await until(lambda: _grew(broker, COMMANDS), 20, "the commands are in Kafka")
    await asyncio.gather(*(api.stop() for api in line.apis))
    await _when_empty(lambda: lands(EXECUTORS))
    await asyncio.gather(*(line.restart(executor) for executor in line.executors))
    await until(lambda: _grew(broker, FILLS), 20, "the fills are in Kafka")
    await _when_empty(lambda: lands(LEDGER))
    await _when_empty(lambda: lands(EVENT_READERS))
    await asyncio.gather(*(line.restart(child) for child in [*line.ledgers, *line.apis]))

    await _filled_once(line, bot, new, SOON_S)
    await assert_clean(line, bot, ACCOUNT)


async def _grew(broker: Broker, topic: str) -> bool:
    return sum((await broker.ends(topic)).values()) >= ORDERS


async def _when_empty(do: Callable[[], Awaitable[None]]) -> None:
    """A group's last member may be on its way out: Kafka refuses a commit until it is gone."""

    async def taken() -> bool:
        try:
            await do()
        except KafkaError:
            return False
        return True

    await until(taken, 20, "the group is empty")


async def _filled_once(line: Line, bot: Bot, placed: list[Attempt], limit_s: float) -> None:
    assert {attempt.status for attempt in placed} == {202}
    for attempt in placed:
        order = await bot.wait_for(attempt.told()["order_id"], "filled", limit_s=limit_s)
        assert len(await line.creates(order["client_order_id"])) == 1


async def _told(line: Line, bot: Bot, placed: list[Attempt]) -> bool:
    """Whether the ledger tells of each: by its fill, or by the break that its fill is. Of just
    these orders, since other tests trade on this account."""
    orders = [await bot.order(attempt.told()["order_id"]) for attempt in placed]
    headers = {"Authorization": f"Bearer {bot.bearer}"}
    found: dict[str, list[Any]] = {}
    for name, asked in (("fills", "limit=100"), ("breaks", "status=open&type=MISSING_IN_LEDGER")):
        url = f"{line.ledger_url}/v1/{name}?account={SPOILT}&{asked}"
        found[name] = (await line.http.get(url, headers=headers)).json()[name]
    told = {fill["venue_order_id"] for fill in found["fills"]}
    told |= {one["detail"]["venue"]["venue_order_id"] for one in found["breaks"]}
    return {order["venue_order_id"] for order in orders} <= told
