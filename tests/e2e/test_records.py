"""F9 and F25: what reaches the executor twice under one name, and is not the same."""

import json
from decimal import Decimal
from uuid import uuid4

import jsonschema  # type: ignore[import-untyped]
from aiokafka import ConsumerRecord
from orderonce_shared.contracts.asyncapi import document
from orderonce_shared.contracts.topics import COMMANDS, DLQ, EVENTS, FILLS, header
from orderonce_shared.domain.identity import client_order_id
from orderonce_shared.domain.lifecycle import Status

from tests.e2e.judging import Records, assert_clean, place_command
from tests.line import Line, until
from tests.workload import Bot, market_order, mixed_orders, new_key


async def test_F09_same_key_with_another_payload_at_the_api(line: Line, bot: Bot) -> None:
    """422 that names what differs and the order that stands; the first one wins.

    Guard: the fingerprint beside the key.
    """
    key = new_key()
    placed = await bot.place(market_order(), key)
    other = await bot.send("/v1/orders", market_order(quantity="0.00200", side="sell"), key)
    assert other.status == 422
    told = other.told()
    assert told["type"] == "/errors/idempotency-key-reused"
    assert told["order_id"] == placed.told()["order_id"]
    assert sorted(told["differs"]) == ["quantity", "side"]
    same = await bot.send("/v1/orders", market_order(quantity="0.001"), key)
    assert (same.status, same.replayed, same.reply) == (202, True, placed.reply)
    await bot.wait_for(placed.told()["order_id"], "filled")
    await assert_clean(line, bot)


async def test_F09_same_key_with_another_payload_at_the_executor(line: Line) -> None:
    """An alarm and a dead letter with the original bytes; the first one is placed, once.

    Guard: the payload hash in the dedupe table.
    """
    client, records = f"direct-{uuid4().hex[:8]}", Records(line)
    first = place_command(client, new_key())
    forged = place_command(
        client, first.key, order_id=first.order_id, quantity="0.00900", expires_at=first.expires_at
    )
    await records.write(first, forged)
    event = await records.wait_final(client, first.order_id)
    assert event.status is Status.FILLED

    async def is_dead_letter() -> bool:
        return forged.encode() in [record.value for record in await records.all(DLQ)]

    await until(is_dead_letter, 10, "the second payload is a dead letter")
    creates = await line.creates(client_order_id(client, first.key))
    assert [Decimal(row["params"]["quantity"]) for row in creates] == [first.quantity]


async def test_F25_one_key_with_two_order_ids(line: Line) -> None:
    """One placement; the second record is answered with the first one's order.

    Guard: unique by (client, key) as well as by order id.
    """
    client, records = f"direct-{uuid4().hex[:8]}", Records(line)
    first = place_command(client, new_key())
    second = place_command(
        client, first.key, accepted_at=first.accepted_at, expires_at=first.expires_at
    )
    assert first.payload_hash() == second.payload_hash()
    await records.write(first, second)
    await records.wait_final(client, first.order_id)

    async def is_answered() -> bool:
        events = await records.events(client)
        assert {event.order_id for event in events} == {first.order_id}
        return any(event.asked_order_id == second.order_id for event in events)

    await until(is_answered, 10, "the second order id is answered with the first")
    assert len(await line.creates(client_order_id(client, first.key))) == 1


async def test_undecodable_record_is_a_dead_letter(line: Line) -> None:
    """The partition goes on behind it, and the letter has the original bytes and its origin.

    Guard: the executor decodes each record itself.
    """
    client, records = f"direct-{uuid4().hex[:8]}", Records(line)
    poison = b'{"schema": "place.v1", "order_id": "' + uuid4().hex.encode() + b'"'
    await records.write_bytes("paper-1", poison)
    after = place_command(client, new_key())
    await records.write(after)
    assert (await records.wait_final(client, after.order_id)).status is Status.FILLED
    letters: list[ConsumerRecord] = []

    async def is_dead_letter() -> bool:
        letters[:] = [record for record in await records.all(DLQ) if record.value == poison]
        return bool(letters)

    await until(is_dead_letter, 10, "the poison is a dead letter")
    assert len(letters) == 1
    for name in ("topic", "partition", "offset", "error", "first_seen"):
        assert header(letters[0].headers, f"dlq_{name}"), f"no {name} in {letters[0].headers}"


async def test_every_record_fits_its_published_schema(line: Line, bot: Bot) -> None:
    """What asyncapi.json tells readers of the topics is what the services write.

    Guard: the document is made of the contracts.
    """
    for body in mixed_orders(11, 12, ("paper-1", "paper-2")):
        await bot.place(body)
    by_quote = {**market_order(quote_quantity="60.00"), "quantity": None}
    placed = await bot.place({name: value for name, value in by_quote.items() if value is not None})
    order_id = placed.told()["order_id"]
    await bot.wait_for(order_id, "filled")
    resting = (await bot.get("/v1/orders?status=accepted,sending,open&limit=200"))["orders"]
    for order in resting:
        await bot.cancel(order["order_id"])
        await bot.wait_for(order["order_id"], "filled", "canceled", "rejected")
    client = (await bot.get("/v1/whoami"))["client"]
    messages, seen = document()["components"]["messages"], set()
    for topic in (COMMANDS, EVENTS, FILLS):
        for record in await Records(line).all(topic):
            name = header(record.headers, "schema")
            if name not in messages or f'"client":"{client}"'.encode() not in record.value:
                continue  # of another test, or of its strangers, who write what they like
            ours = json.loads(record.value)
            jsonschema.Draft202012Validator(messages[name]["payload"]).validate(ours)
            told = {key: value.decode() for key, value in record.headers}
            jsonschema.Draft202012Validator(messages[name]["headers"]).validate(told)
            seen.add(name)
    assert seen == {"place.v1", "place.v2", "cancel.v1", "order.v1", "fill.v1"}
