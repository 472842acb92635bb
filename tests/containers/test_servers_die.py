"""Kafka, then Postgres, killed in the middle of a flow, and made anew on their volumes."""

import asyncio

import pytest

from tests.containers.field import Field
from tests.line import Line, until
from tests.stacks.box import Box

pytestmark = pytest.mark.timeout(300)
ORDERS = 150
DOWN_S = 3.0
NOTICED_S = 40.0  # two questions of 4 s, 3 s apart, on a busy machine


async def _kill_and_make_anew(field: Field, server: Box) -> None:
    """kill -9, another container on the same volume, and whoever ended of it started again."""
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(DOWN_S)  # the outage itself
    await asyncio.to_thread(server.up)
    await asyncio.to_thread(field.site.wait_ready)
    await field.start_dead()


async def test_kafka_is_killed_and_comes_back(field: Field) -> None:
    """Orders are accepted meanwhile; records and offsets are on its volume.

    Guard: published until claimed; a producer that failed once is replaced.
    """
    async with field.flow(ORDERS, begun=40):
        await _kill_and_make_anew(field, field.site.kafka)


async def test_services_say_that_kafka_is_away(field: Field) -> None:
    """Idle ones too: nobody needs an order to find out.

    Guard: each consumer asks its brokers again and again, not only at its start.
    """
    line = field.line
    await asyncio.to_thread(field.site.kafka.kill)
    for url in (*line.api_admin_urls, *line.executor_admin_urls, line.ledger_admin_url):
        await until(lambda url=url: _names_kafka(line, url), NOTICED_S, f"{url} names Kafka")
    await asyncio.to_thread(field.site.kafka.up)
    await asyncio.to_thread(field.site.wait_ready)
    await asyncio.gather(*(child.wait_ready(line.http) for child in line.children))


async def _names_kafka(line: Line, url: str) -> bool:
    answer = await line.http.get(f"{url}/readyz")
    return answer.status_code == 503 and "kafka consumer" in answer.json()["troubles"]


async def test_postgres_is_killed_and_comes_back(field: Field) -> None:
    """Bots get 503 and retry with the same key; what had been committed is there.

    Guard: a 202 is sent after a durable commit; an executor without its lock sends nothing.
    """
    async with field.flow(ORDERS, begun=40):
        await _kill_and_make_anew(field, field.site.postgres)
