"""docs/asyncapi.json: its samples fit their schemas and their readers take them, and the schemas
refuse what the readers refuse.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from orderonce_ledger.consumer import read_record
from orderonce_shared.contracts.asyncapi import LETTER_HEADERS, document
from orderonce_shared.contracts.commands import COMMANDS_BY_NAME, command_headers, decode_command
from orderonce_shared.contracts.events import OrderEvent
from orderonce_shared.contracts.letters import read_letter
from orderonce_shared.contracts.topics import COMMAND_HEADERS, COMMANDS, PARTITIONS

from tests.e2e.judging import cancel_command, place_command

DOCUMENT = document()
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
JSON_MESSAGES = [name for name in MESSAGES if name != "dead-letter"]
READERS: dict[str, Callable[[bytes], Any]] = {
    **{name: partial(decode_command, name) for name in COMMANDS_BY_NAME},
    "order.v1": OrderEvent.decode,
    "fill.v1": read_record,
}


def validator(schema: Any) -> Any:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def test_every_topic_and_every_reference_is_there() -> None:
    assert set(DOCUMENT["channels"]) == set(PARTITIONS)
    for topic, channel in DOCUMENT["channels"].items():
        assert channel["address"] == topic
        assert channel["bindings"]["kafka"]["partitions"] == PARTITIONS[topic]
        for name, reference in channel["messages"].items():
            assert reference == {"$ref": f"#/components/messages/{name}"}
            assert name in MESSAGES
    used = {name for channel in DOCUMENT["channels"].values() for name in channel["messages"]}
    assert used == set(MESSAGES)
    told = {one["channel"]["$ref"] for one in DOCUMENT["operations"].values()}
    assert told == {f"#/channels/{topic}" for topic in PARTITIONS}
    assert "$ref" not in json.dumps(MESSAGES)  # each schema can be cut out and used by itself


def test_every_schema_that_the_executor_knows_is_told() -> None:
    assert set(DOCUMENT["channels"][COMMANDS]["messages"]) == set(COMMANDS_BY_NAME)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_sample_fits(name: str) -> None:
    for sample in MESSAGES[name]["examples"]:
        validator(MESSAGES[name]["payload"]).validate(sample["payload"])
        validator(MESSAGES[name]["headers"]).validate(sample["headers"])


@pytest.mark.parametrize("name", JSON_MESSAGES)
def test_its_reader_takes_every_sample(name: str) -> None:
    (sample,) = MESSAGES[name]["examples"]
    assert READERS[name](json.dumps(sample["payload"]).encode())


def test_the_sample_of_a_dead_letter_gives_its_record_back() -> None:
    origin = read_letter(None, LETTER_HEADERS)
    assert origin is not None
    assert (origin.topic, origin.key) == (COMMANDS, b"paper-1")


@pytest.mark.parametrize("name", JSON_MESSAGES)
def test_what_the_schema_refuses_its_reader_refuses(name: str) -> None:
    """A member that is missing, unknown, or of another kind."""
    (sample,) = MESSAGES[name]["examples"]
    schema, payload = MESSAGES[name]["payload"], sample["payload"]
    broken = [{k: v for k, v in payload.items() if k != gone} for gone in schema["required"]]
    broken += [{**payload, "surprise": 1}]
    broken += [{**payload, member: 1.5} for member in ("schema", "account", "symbol")]
    broken += [
        {**payload, member: 1} for member in payload if "amount" in member or "quan" in member
    ]
    for body in broken:
        assert list(validator(schema).iter_errors(body)), body
        without = body.get("schema") != payload["schema"]
        if without and name in COMMANDS_BY_NAME:  # the header says it: the value need not
            continue
        if without:
            continue  # a default of the contract
        with pytest.raises(ValueError, match=r"."):
            READERS[name](json.dumps(body).encode())


def test_the_commands_that_are_written_fit() -> None:
    now = datetime.now(UTC)
    by_quote = {"quantity": None, "quote_quantity": "60", "schema": "place.v2"}
    place = place_command("bot-1", "k" * 16, expires_at=now + timedelta(seconds=30))
    for command in (
        place,
        place_command("bot-1", "k" * 16, type="limit", price="1.50", time_in_force="ioc"),
        place_command("bot-1", "k" * 16, **by_quote),
        cancel_command(place, "c" * 16),
    ):
        message = MESSAGES[command.schema_]
        validator(message["payload"]).validate(json.loads(command.encode()))
        headers = {name: value.decode() for name, value in command_headers(command, "")}
        validator(message["headers"]).validate(headers)
        assert tuple(headers) == COMMAND_HEADERS
