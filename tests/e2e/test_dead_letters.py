"""F14: what nobody can read goes to the dead letters with its original bytes, holds up nobody, and
waits there for a person; what only a newer build can read parks its partition.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from orderonce_shared.contracts.commands import command_headers
from orderonce_shared.contracts.topics import COMMANDS, DLQ, FILLS, Headers, prefixed
from orderonce_shared.domain.lifecycle import Status
from orderonce_shared.runtime.tracing import new_traceparent

from tests.e2e.judging import Records, assert_clean, place_command
from tests.line import Line, until
from tests.pool import Pool
from tests.workload import Bot, Json, market_order, new_key

PATH = "/v1/dead-letters"


async def letters(line: Line, state: str = "waiting") -> list[Json]:
    found: list[Json] = (await line.admin("GET", f"{PATH}?limit=200&state={state}"))["letters"]
    return found


async def letter_of(line: Line, name: str, wanted: str) -> Json:
    """The waiting letter of which `name` is `wanted`, once it is there."""
    found: list[Json] = []

    async def is_there() -> bool:
        found[:] = [one for one in await letters(line) if one[name] == wanted]
        return bool(found)

    await until(is_there, 20, f"a dead letter whose {name} is {wanted}")
    return found[0]


@asynccontextmanager
async def refusing(line: Line, client: str) -> AsyncIterator[None]:
    """The database refuses this client's rows, as a fault of a build would; mended at the end."""
    owner: asyncpg.Connection[Any] = await asyncpg.connect(line.database.owner_url)
    name = f"trial_{uuid4().hex[:8]}"
    await owner.execute(
        f"ALTER TABLE executor.placement ADD CONSTRAINT {name} CHECK (client <> '{client}')"
    )
    try:
        yield
    finally:
        await owner.execute(f"ALTER TABLE executor.placement DROP CONSTRAINT {name}")
        await owner.close()


async def test_F14_poison_is_a_dead_letter_and_holds_up_nobody(line: Line) -> None:
    """A foreign producer's worst: all of it is kept as it was, shown safely, and stepped over.

    Guard: the executor decodes each record itself; ours are the last six headers of a letter.
    """
    records, client = Records(line), f"direct-{uuid4().hex[:8]}"
    mark = uuid4().hex.encode()
    order_id = str(uuid4())
    poison: list[tuple[bytes | None, bytes, Headers]] = [
        (b"paper-1", b'{"schema": "place.v1", ' + mark, [("order_id", order_id.encode())]),
        (b"paper-1", b"\x00\xff\xfe" + mark, [("schema", b"\xff\x00"), ("client", b"\x00")]),
        (b"\xff\x00", b"[]" + mark, [("dlq_topic", b"payroll"), ("", b"")]),
        (None, b'{"schema":"place.v1","schema":"place.v1"}' + mark, []),
        (b"paper-1", mark + b"x" * 900_000, []),
    ]
    for key, value, headers in poison:
        await records.write_raw(key, value, headers)
    after = place_command(client, new_key())
    await records.write(after)
    assert (await records.wait_final(client, after.order_id)).status is Status.FILLED
    mine: list[Json] = []

    async def are_there() -> bool:
        rows = {record.value: record for record in await records.all(DLQ)}
        if not all(value in rows for _, value, _ in poison):
            return False
        mine[:] = [one for one in await letters(line) if one["value"]["bytes"] in
                   {len(value) for _, value, _ in poison}]  # fmt: skip
        return len(mine) >= len(poison)

    await until(are_there, 20, "all of it is a dead letter, and the API has it")
    assert (await letter_of(line, "order_id", order_id))["topic"] == prefixed(
        records.prefix, COMMANDS
    )
    for key, value, headers in poison:
        (record,) = [one for one in await records.all(DLQ) if one.value == value]
        assert list(record.headers)[: len(headers)] == headers
        assert (record.key or b"") == (key or b"") or key == b"\xff\x00"


async def test_F14_a_parked_order_is_shown_replayed_and_goes_on(line: Line, bot: Bot) -> None:
    """Accepted, and its record lies in the dead letters: both APIs say so. Replayed after the fault
    is mended it is placed, once.

    Guard: the original key, bytes and headers; the letter's order id.
    """
    records = Records(line)
    who = (await bot.get("/v1/whoami"))["client"]
    async with refusing(line, who):
        placed = await bot.place(market_order("paper-7"))
        order_id = placed.told()["order_id"]
        letter = await letter_of(line, "order_id", order_id)
        for url in line.api_urls:
            shown = await bot.order(order_id, url)
            assert (shown["status"], shown["parked"]) == ("accepted", True)
    answer = await line.admin("POST", f"{PATH}/{letter['letter_id']}/replay")
    assert answer["replays"] == 1
    order = await bot.wait_for(order_id, "filled")
    assert order["parked"] is False
    written = [
        record for record in await records.all(COMMANDS) if order_id.encode() in record.value
    ]
    assert len(written) >= 2
    first = written[0]
    for record in written:
        assert (record.key, record.value, record.headers, record.partition) == (
            first.key, first.value, first.headers, first.partition,
        )  # fmt: skip
    assert len(await line.creates(order["client_order_id"])) == 1
    await assert_clean(line, bot, "paper-7")


async def swept(owner: Any, order_id: str) -> None:
    """Returns once a sweeper has had this order's command in its hands, although it was not due."""
    due = "UPDATE api.outbox SET next_at = clock_timestamp() WHERE order_id = $1 RETURNING attempts"
    before = await owner.fetchval(due, UUID(order_id))
    after = "SELECT attempts > $2 FROM api.outbox WHERE order_id = $1"

    async def is_taken() -> bool:
        return bool(await owner.fetchval(after, UUID(order_id), before))

    await until(is_taken, 20, "the sweeper has looked at the parked command")


async def written_of(records: Records, order_id: str) -> list[Any]:
    return [one for one in await records.all(COMMANDS) if order_id.encode() in one.value]


@pytest.mark.parametrize("ending", ["a replay after the deadline", "a cancel"])
async def test_F14_a_parked_order_rests_and_is_ended_by_the_executor(
    line: Line, bot: Bot, ending: str
) -> None:
    """Nobody repeats what was refused, not after the fault is mended and not after the deadline.
    Replayed late it ends lapsed, cancelled it ends canceled, and it never reaches the venue.

    Guard: the sweeper leaves out what lies in the dead letters; only an executor ends an order.
    """
    records = Records(line)
    owner: asyncpg.Connection[Any] = await asyncpg.connect(line.database.owner_url)
    soon = (datetime.now(UTC) + timedelta(seconds=12)).isoformat()
    async with refusing(line, (await bot.get("/v1/whoami"))["client"]):
        placed = await bot.place({**market_order("paper-7"), "expires_at": soon})
        order_id = placed.told()["order_id"]
        letter = await letter_of(line, "order_id", order_id)
    try:
        await until(lambda: _is_past(owner, order_id), 20, "its deadline has passed")
        count = len(await written_of(records, order_id))
        for _ in range(3):
            await swept(owner, order_id)
        assert len(await written_of(records, order_id)) == count
        shown = await bot.order(order_id)
        assert (shown["status"], shown["final"], shown["parked"]) == ("accepted", False, True)
        if ending == "a cancel":
            await bot.cancel(order_id)
            order = await bot.wait_for(order_id, "canceled")
        else:
            await line.admin("POST", f"{PATH}/{letter['letter_id']}/replay")
            order = await bot.wait_for(order_id, "lapsed")
        assert (order["final"], order["parked"]) == (True, False)
        assert await line.creates(order["client_order_id"]) == []
        await assert_clean(line, bot, "paper-7")
    finally:
        await owner.close()


async def _is_past(owner: Any, order_id: str) -> bool:
    query = "SELECT clock_timestamp() > deadline FROM api.orders WHERE order_id = $1"
    return bool(await owner.fetchval(query, UUID(order_id)))


async def test_F14_a_foreign_producers_record_is_replayed_once(line: Line) -> None:
    """Nobody else would publish it again. Two calls write it once; what is discarded stays visible.

    Guard: a replay is won by one call.
    """
    records, client = Records(line), f"direct-{uuid4().hex[:8]}"
    command, other = place_command(client, new_key()), place_command(client, new_key())
    async with refusing(line, client):
        await records.write(command, other)
        letter = await letter_of(line, "order_id", str(command.order_id))
        unwanted = await letter_of(line, "order_id", str(other.order_id))
    for _ in range(2):
        answer = await line.admin("POST", f"{PATH}/{letter['letter_id']}/replay")
        assert (answer["state"], answer["replays"]) == ("replayed", 1)
    event = await records.wait_final(client, command.order_id)
    assert event.status is Status.FILLED
    written = [r for r in await records.all(COMMANDS) if r.value == command.encode()]
    assert len(written) == 2
    assert written[0].headers == written[1].headers
    assert written[0].partition == written[1].partition
    body = {"reason": "a trial"}
    await line.admin("POST", f"{PATH}/{unwanted['letter_id']}/discard", body)
    assert unwanted["letter_id"] not in {one["letter_id"] for one in await letters(line)}
    (kept,) = [one for one in await letters(line, "discarded")
               if one["letter_id"] == unwanted["letter_id"]]  # fmt: skip
    assert (kept["reason"], kept["order_id"]) == ("a trial", str(other.order_id))
    assert not [e for e in await records.events(client) if e.order_id == other.order_id]


async def test_F14_the_ledgers_letters_lie_there_too(line: Line) -> None:
    """A fill that no journal can say: listed with its origin; replayed it comes back."""
    records, mark = Records(line), f"not a fill {uuid4().hex}"
    await records.write_raw(b"paper-6", mark.encode(), [("schema", b"fill.v1")], topic=FILLS)
    found: list[Json] = []

    async def is_there() -> bool:
        found[:] = [one for one in await letters(line) if one["value"]["text"] == mark]
        return bool(found)

    await until(is_there, 20, "the fill is a dead letter")
    assert found[0]["topic"] == prefixed(records.prefix, FILLS)
    await line.admin("POST", f"{PATH}/{found[0]['letter_id']}/replay")

    async def is_back() -> bool:
        return await is_there() and found[0]["times"] == 2

    await until(is_back, 20, "it was refused again, and waits again")
    await line.admin("POST", f"{PATH}/{found[0]['letter_id']}/discard")


@pytest.fixture
async def spoilt(pool: Pool, line: Line) -> AsyncIterator[Line]:
    """The line, thrown away afterwards: nothing can take a parked record out of its partition."""
    yield line
    await pool.drop()


async def test_F14_a_newer_schema_parks_its_partition(spoilt: Line) -> None:
    """Loudly, and no other partition: a rolling upgrade must not discard good orders."""
    records, client = Records(spoilt), f"direct-{uuid4().hex[:8]}"
    newer = place_command(client, new_key(), account="paper-8")
    value = json.dumps({**json.loads(newer.encode()), "schema": "place.v9"}).encode()
    headers: Headers = [("schema", b"place.v9")] + [
        pair for pair in command_headers(newer, new_traceparent()) if pair[0] != "schema"
    ]
    await records.write_raw(b"paper-8", value, headers)
    behind = place_command(client, new_key(), account="paper-8")
    there = [place_command(client, new_key(), account=f"paper-{n}") for n in range(1, 8)]
    await records.write(behind, *there)
    parked = {(r.topic, r.partition) for r in await records.all(COMMANDS) if r.value == value}
    ((topic, partition),) = parked
    rows = await records.all(COMMANDS)
    beside = {r.key for r in rows if r.partition == partition}
    for command in there:
        if command.account.encode() not in beside:
            event = await records.wait_final(client, command.order_id)
            assert event.status is Status.FILLED
    said = ""

    async def is_said() -> bool:
        nonlocal said
        answers = [await spoilt.http.get(f"{url}/readyz") for url in spoilt.executor_admin_urls]
        said = " ".join(answer.text for answer in answers)
        return f"partition {topic}/{partition}" in said and "place.v9" in said

    await until(is_said, 10, "an executor says which partition it parks, and why")
    assert not [e for e in await records.events(client) if e.order_id == behind.order_id]
    assert value not in [record.value for record in await records.all(DLQ)]
