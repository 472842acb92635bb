"""Cables pulled in the middle of a flow of orders: real networks, off which containers are taken.

No packet tells either side; what was connected waits for answers that never come.
"""

import asyncio

import pytest

from tests.containers.field import Field
from tests.line import until
from tests.stacks.containers import BUS, DATA, VENUE
from tests.workload import market_order

pytestmark = pytest.mark.timeout(300)
ORDERS = 150
# Longer than an executor's window (2 s) and its venue time-out, shorter than an order's deadline.
CUT_S = 6.0


async def test_executors_without_their_venue(field: Field) -> None:
    """Calls in flight become unknown and are looked up, the rest waits; none is sent twice.

    Guard: silence after the first byte proves nothing; from SENDING only look-ups.
    """
    port = int(field.line.paper_url.rpartition(":")[2])
    cut = field.cut(field.executors, VENUE, ("paper", port))
    async with field.flow(ORDERS, begun=40), cut:
        await asyncio.sleep(CUT_S)  # the outage itself


async def test_an_executor_without_postgres(field: Field) -> None:
    """Its lock is lost, so it sends nothing more, and the others take its rows up.

    Guard: a process whose lock does not answer is not alive (R8); every write is a CAS.
    """
    async with field.flow(ORDERS, begun=40):
        async with field.cut(field.executors[:1], DATA, ("postgres", 5432)):
            await asyncio.sleep(CUT_S)  # the outage itself
        await field.start_dead()


async def test_apis_without_kafka(field: Field) -> None:
    """They accept as ever, since a 202 rests on Postgres alone; what could not be published is
    published when the cable is back.

    Guard: the outbox row stays until the executor has claimed.
    """
    async with field.flow(ORDERS, begun=40):
        async with field.cut(field.apis, BUS, ("kafka-1", 19092)):
            placed = await field.bot.place(market_order(field.accounts[0]))
            assert placed.status == 202
            await asyncio.sleep(CUT_S)  # the outage itself
            order = await field.bot.order(placed.told()["order_id"])
            assert order["status"] == "accepted"
            assert await field.line.creates(order["client_order_id"]) == []
        await until(lambda: _is_placed(field, order["client_order_id"]), 30, "it is published")


async def _is_placed(field: Field, client_order_id: str) -> bool:
    return len(await field.line.executed_creates(client_order_id)) == 1
