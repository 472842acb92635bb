"""docs/asyncapi.json, made of the contracts: each topic with its messages, their headers, a JSON
Schema that stands by itself, and a sample record that its reader takes.

AsyncAPI 3.0, told of orderonce as a whole: it receives commands, and sends the rest.
"""

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from orderonce_shared.contracts.commands import (
    PLACE_SCHEMA,
    QUOTE_SCHEMA,
    CancelCommand,
    Command,
    PlaceCommand,
    command_headers,
)
from orderonce_shared.contracts.events import OrderEvent
from orderonce_shared.contracts.fills import FillRecord
from orderonce_shared.contracts.letters import Origin, letter_headers
from orderonce_shared.contracts.topics import (
    COMMAND_HEADERS,
    COMMANDS,
    DLQ,
    EVENTS,
    FILLS,
    PARTITIONS,
    Headers,
)
from orderonce_shared.domain.identity import client_order_id

Json = dict[str, Any]

DESCRIPTION = (
    "The records between the services of orderonce. Values are JSON in UTF-8 without duplicate or"
    " unknown members; amounts are strings in plain decimal notation, times RFC 3339 with a zone."
    " The key of a record is its account, which decides its partition; partitions are fixed when a"
    " topic is made. Kafka may repeat and reorder records: readers take each one once."
)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CLIENT, PLACE_KEY, QUOTE_KEY = "bot-1", "grid-7-000000000001", "grid-7-000000000002"
ORDER_ID, QUOTE_ID = "019a2b3c-4d5e-7f60-8123-456789abcdef", "019a2b3c-4d5e-7f60-8123-456789abcdf0"
AT, EXPIRES_AT = "2026-11-22T10:00:00.000000Z", "2026-11-22T10:00:30.000000Z"
HEADER_MEANINGS = {
    "schema": "Name and version of the value; it decides how the value is read.",
    "order_id": "So that a record which cannot be read is traced to its order.",
    "account": "The record's key too.",
    "venue": "The account's venue.",
    "client": "Whose key space the key is in.",
    "key": "The idempotency key of this command.",
    "key_id": "The API key that asked; empty for none.",
    "accept_seq": "Order of acceptance; empty for a producer of its own.",
    "seq": "Place on its order: 1 for the place.",
    "deadline": "Last moment to send it; empty for a cancel.",
    "timeline": "Database history of the acceptance; empty for a producer of its own.",
    "payload_hash": "SHA-256 of what is asked for, in hex; informative.",
    "traceparent": "W3C trace context, continued up to the venue and the ledger.",
}
_SHARED = {
    "client": CLIENT, "account": "paper-1", "venue": "paper", "symbol": "BTC/USDT",
}  # fmt: skip
_PLACE = {
    **_SHARED, "order_id": ORDER_ID, "key": PLACE_KEY, "side": "buy", "type": "limit",
    "quantity": "0.00100", "price": "50000.00", "client_tag": "grid-7", "accepted_at": AT,
    "expires_at": EXPIRES_AT,
}  # fmt: skip


def _samples() -> dict[str, Command]:
    by_quote = {
        **_PLACE, "schema": QUOTE_SCHEMA, "order_id": QUOTE_ID, "key": QUOTE_KEY, "type": "market",
        "quantity": None, "price": None, "quote_quantity": "60.00",
    }  # fmt: skip
    cancel = {
        **_SHARED, "order_id": ORDER_ID, "key": "grid-7-cancel-000001", "place_key": PLACE_KEY,
        "seq": 2, "accepted_at": AT,
    }  # fmt: skip
    return {
        PLACE_SCHEMA: PlaceCommand.model_validate(_PLACE),
        QUOTE_SCHEMA: PlaceCommand.model_validate(by_quote),
        "cancel.v1": CancelCommand.model_validate(cancel),
    }


COMMAND_SAMPLES = _samples()
EVENT_SAMPLE = OrderEvent.model_validate(
    {
        **_SHARED,
        "order_id": ORDER_ID,
        "key": PLACE_KEY,
        "status": "open",
        "final": False,
        "client_order_id": client_order_id(CLIENT, PLACE_KEY),
        "venue_order_id": "123",
        "filled_quantity": "0.00040",
        "filled_cost": "19.99",
        "attempt": 1,
        "sent_at": AT,
        "at": AT,
        "fees": [{"asset": "BTC", "amount": "0.0000004"}],
        "timeline": "7431:00000001",
        "version": 4,
        "claimed_keys": [PLACE_KEY],
    }
)
FILL_SAMPLE = FillRecord.model_validate(
    {
        **_SHARED,
        "order_id": ORDER_ID,
        "client_order_id": client_order_id(CLIENT, PLACE_KEY),
        "trade_id": "77",
        "venue_order_id": "123",
        "side": "buy",
        "quantity": "0.00040",
        "price": "49975.00",
        "cost": "19.99",
        "liquidity": "taker",
        "traded_at": AT,
        "fees": [{"asset": "BTC", "amount": "0.0000004"}],
    }
)
LETTER_VALUE = '{"schema": "place.v1", "order_id": '
LETTER_HEADERS = letter_headers(
    Origin(COMMANDS, 3, 4711, b"paper-1", [("order_id", ORDER_ID.encode())],
           "Expecting value: line 1 column 36 (char 35)", AT)
)  # fmt: skip


def render_asyncapi() -> str:
    """The document, as text."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def document() -> Json:
    messages = _messages()
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "orderonce on Kafka", "version": "1", "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {
            COMMANDS: _channel(COMMANDS, list(COMMAND_SAMPLES), "Commands on orders."),
            EVENTS: _channel(EVENTS, ["order.v1"], "The state of an order after each change."),
            FILLS: _channel(FILLS, ["fill.v1"], "The venue's trades of our orders."),
            DLQ: _channel(DLQ, ["dead-letter"], "Records that a reader could not take."),
        },
        "operations": {
            "receiveCommands": _operation("receive", COMMANDS, "Claims each command once."),
            "sendEvents": _operation("send", EVENTS, "Readers apply a higher version only."),
            "sendFills": _operation("send", FILLS, "The ledger books each once."),
            "sendDeadLetters": _operation("send", DLQ, "See `orderonce dlq`."),
        },
        "components": {"messages": messages},
    }


def _channel(topic: str, messages: list[str], description: str) -> Json:
    return {
        "address": topic,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"partitions": PARTITIONS[topic], "bindingVersion": "0.5.0"}},
    }


def _operation(action: str, topic: str, summary: str) -> Json:
    return {"action": action, "channel": {"$ref": f"#/channels/{topic}"}, "summary": summary}


def _messages() -> Json:
    found: Json = {}
    for name, command in COMMAND_SAMPLES.items():
        headers = [pair for pair in command_headers(command, TRACE) if pair[1]]
        payload = _command_schema(name, type(command))
        found[name] = _message(name, payload, _COMMAND_HEADERS, headers, command.encode())
    for record in (EVENT_SAMPLE, FILL_SAMPLE):
        name = record.schema_
        headers = [("schema", name.encode()), ("order_id", ORDER_ID.encode()),
                   ("traceparent", TRACE.encode())]  # fmt: skip
        payload = _schema(type(record), "serialization")
        found[name] = _message(name, payload, _RECORD_HEADERS, headers, record.encode())
    found["dead-letter"] = {
        "name": "dead-letter",
        "title": "A record as it came, whatever it was",
        "contentType": "application/octet-stream",
        "headers": _LETTER_SCHEMA,
        "payload": {"description": "The original bytes.", "type": "string"},
        "bindings": _key("the original record's key"),
        "examples": [{"headers": _shown(LETTER_HEADERS), "payload": LETTER_VALUE}],
    }
    return found


def _message(name: str, payload: Json, header_schema: Json, headers: Headers, raw: bytes) -> Json:
    return {
        "name": name,
        "title": payload.pop("description", name).split("\n\n")[0].replace("\n", " "),
        "headers": header_schema,
        "payload": payload,
        "bindings": _key("the account"),
        "examples": [{"headers": _shown(headers), "payload": json.loads(raw)}],
    }


def _key(meaning: str) -> Json:
    key = {"type": "string", "description": meaning}
    return {"kafka": {"key": key, "bindingVersion": "0.5.0"}}


def _shown(headers: Headers) -> Json:
    return {name: value.decode() for name, value in headers}


def _headers_schema(names: tuple[str, ...], required: list[str]) -> Json:
    properties = {name: {"type": "string", "description": HEADER_MEANINGS[name]} for name in names}
    return {"type": "object", "properties": properties, "required": required}


_COMMAND_HEADERS = _headers_schema(COMMAND_HEADERS, [])
_RECORD_HEADERS = _headers_schema(("schema", "order_id", "traceparent"), ["schema", "order_id"])
_LETTER_SCHEMA: Json = {
    "type": "object",
    "description": "The original headers, and behind them six of ours.",
    "properties": {
        "dlq_key": {"type": "string", "description": "The original key in base64; `-`: none."},
        "dlq_topic": {"type": "string"},
        "dlq_partition": {"type": "string", "pattern": "^[0-9]+$"},
        "dlq_offset": {"type": "string", "pattern": "^[0-9]+$"},
        "dlq_error": {"type": "string", "description": "Why it could not be taken."},
        "dlq_first_seen": {"type": "string", "format": "date-time"},
    },
    "required": ["dlq_key", "dlq_topic", "dlq_partition", "dlq_offset", "dlq_error",
                 "dlq_first_seen"],
}  # fmt: skip


def _command_schema(name: str, model: type[BaseModel]) -> Json:
    """What the executor takes under this name. A place has one of two amounts, by its version."""
    schema = _schema(model, "validation")
    schema["properties"]["schema"] = {"const": name, "type": "string"}
    schema["required"] = ["schema", *(n for n in schema["required"] if n != "schema")]
    if model is PlaceCommand:
        has, lacks = "quantity", "quote_quantity"
        if name == QUOTE_SCHEMA:
            has, lacks = lacks, has
            schema["properties"]["type"] = {"const": "market", "type": "string"}
            schema["properties"]["side"] = {"const": "buy", "type": "string"}
        del schema["properties"][lacks]
        amount = schema["properties"][has]
        schema["properties"][has] = next(o for o in amount["anyOf"] if o["type"] == "string")
        schema["required"].append(has)
    return schema


def _schema(model: type[BaseModel], mode: JsonSchemaMode) -> Json:
    """The model's schema with every reference put in: it can be cut out and used by itself."""
    whole = model.model_json_schema(mode=mode)
    definitions = whole.pop("$defs", {})
    put_in: Json = _resolved(whole, definitions)
    untitled: Json = _untitled(put_in)
    return untitled


def _resolved(part: Any, definitions: Json) -> Any:
    match part:
        case {"$ref": str(reference), **rest}:
            found = _resolved(definitions[reference.removeprefix("#/$defs/")], definitions)
            return {**found, **rest}
        case dict():
            return {name: _resolved(value, definitions) for name, value in part.items()}
        case list():
            return [_resolved(value, definitions) for value in part]
        case _:
            return part


def _untitled(part: Any) -> Any:
    """Without pydantic's titles, which repeat the members' names."""
    match part:
        case dict():
            return {
                name: _untitled(value)
                for name, value in part.items()
                if not (name == "title" and isinstance(value, str))
            }
        case list():
            return [_untitled(value) for value in part]
        case _:
            return part
