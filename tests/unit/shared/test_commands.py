"""Commands: what is one, what makes two equal, and the headers that trace even an undecodable
one."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from orderonce_shared.contracts.commands import (
    CancelCommand,
    PlaceCommand,
    UnknownSchemaError,
    command_headers,
    decode_command,
)
from orderonce_shared.contracts.topics import COMMAND_HEADERS, PARTITIONS, header, prefixed
from orderonce_shared.domain.order import OrderTerms, OrderType, Side, TimeInForce

PLACE: dict[str, Any] = {
    "schema": "place.v1",
    "order_id": "0193a5b0-0000-7000-8000-000000000001",
    "client": "bot-1",
    "key": "key-000000000001",
    "key_id": "abcdefABCDEF",
    "account": "paper-1",
    "venue": "paper",
    "symbol": "BTC/USDT",
    "side": "buy",
    "type": "limit",
    "quantity": "0.00100",
    "price": "50000.00",
    "time_in_force": "gtc",
    "post_only": False,
    "client_tag": "grid-7",
    "accept_seq": 7,
    "seq": 1,
    "accepted_at": "2026-11-22T10:00:00.000000Z",
    "expires_at": "2026-11-22T10:00:30.000000Z",
    "timeline": "7300000000000000001:00000001",
}
CANCEL: dict[str, Any] = {
    "schema": "cancel.v1",
    "order_id": PLACE["order_id"],
    "client": "bot-1",
    "key": "key-000000000002",
    "key_id": "abcdefABCDEF",
    "account": "paper-1",
    "venue": "paper",
    "symbol": "BTC/USDT",
    "place_key": "key-000000000001",
    "accept_seq": 8,
    "seq": 2,
    "accepted_at": "2026-11-22T10:00:01.000000Z",
    "timeline": None,
}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def place(**changes: Any) -> PlaceCommand:
    return PlaceCommand.model_validate({**PLACE, **changes})


def cancel(**changes: Any) -> CancelCommand:
    return CancelCommand.model_validate({**CANCEL, **changes})


@pytest.mark.parametrize("body", [PLACE, CANCEL])
def test_bytes_come_back_as_they_were(body: dict[str, Any]) -> None:
    command = decode_command(None, json.dumps(body).encode())

    assert json.loads(command.encode()) == body
    assert decode_command(body["schema"], command.encode()) == command


def test_terms() -> None:
    assert place().terms() == OrderTerms(
        account="paper-1",
        symbol="BTC/USDT",
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=Decimal("0.00100"),
        price=Decimal("50000.00"),
        time_in_force=TimeInForce.GTC,
        post_only=False,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": "0.001"},  # another scale, the same amount
        {"expires_at": "2026-11-22T12:00:30+02:00"},  # another zone, the same moment
        {"order_id": "0193a5b0-0000-7000-8000-000000000002"},  # F25 is told apart by the ids
        {"key_id": "ABCDEFabcdef"},  # asked through another API key of the client
        {"accept_seq": 8},
        {"accepted_at": "2026-11-22T10:00:01Z"},
        {"timeline": None},
    ],
)
def test_the_same_request_has_the_same_payload_hash(changes: dict[str, Any]) -> None:
    assert place(**changes).payload_hash() == place().payload_hash()


@pytest.mark.parametrize(
    "changes",
    [
        {"client": "bot-2"},
        {"key": "key-000000000009"},
        {"account": "paper-2"},
        {"venue": "binance"},
        {"symbol": "ETH/USDT"},
        {"side": "sell"},
        {"type": "market", "price": None},
        {"quantity": "0.00101"},
        {"price": "50000.01"},
        {"time_in_force": "ioc"},
        {"post_only": True},
        {"client_tag": "grid-8"},
        {"client_tag": None},
        {"expires_at": "2026-11-22T10:00:31Z"},
    ],
)
def test_another_request_has_another_payload_hash(changes: dict[str, Any]) -> None:
    assert place(**changes).payload_hash() != place().payload_hash()


def test_a_cancel_is_told_apart_by_what_it_cancels() -> None:
    other = cancel(order_id="0193a5b0-0000-7000-8000-000000000002")

    assert other.payload_hash() != cancel().payload_hash()
    assert cancel(seq=3, accept_seq=9).payload_hash() == cancel().payload_hash()
    assert cancel().payload_hash() != place(key=CANCEL["key"]).payload_hash()


def test_headers_of_a_place() -> None:
    """All that api.md lists, in UTF-8, so that even an undecodable record can be traced."""
    headers = command_headers(place(), TRACEPARENT)

    assert tuple(name for name, _ in headers) == COMMAND_HEADERS
    assert {name: value.decode() for name, value in headers} == {
        "schema": "place.v1",
        "order_id": PLACE["order_id"],
        "account": "paper-1",
        "venue": "paper",
        "client": "bot-1",
        "key": "key-000000000001",
        "key_id": "abcdefABCDEF",
        "accept_seq": "7",
        "seq": "1",
        "deadline": "2026-11-22T10:00:30.000000Z",
        "timeline": "7300000000000000001:00000001",
        "payload_hash": place().payload_hash(),
        "traceparent": TRACEPARENT,
    }


def test_headers_without_values_are_empty() -> None:
    bare = cancel(key_id=None, accept_seq=None)
    found = {name: value for name, value in command_headers(bare, TRACEPARENT) if not value}

    assert set(found) == {"key_id", "accept_seq", "deadline", "timeline"}


def test_accept_sequence_zero_is_not_absence() -> None:
    assert dict(command_headers(place(accept_seq=0), TRACEPARENT))["accept_seq"] == b"0"


@pytest.mark.parametrize("schema", ["place.v3", "place.v10", "replace.v1", "place-many.v1"])
def test_a_newer_schema_is_not_garbage(schema: str) -> None:
    """It parks its partition: a rolling upgrade must not throw good orders away."""
    with pytest.raises(UnknownSchemaError):
        decode_command(None, json.dumps({**PLACE, "schema": schema}).encode())
    with pytest.raises(UnknownSchemaError):
        decode_command(schema, json.dumps(PLACE).encode())


@pytest.mark.parametrize("schema", ["", "PLACE.V1", "place", "place.v", "place.v2\n", None, 2, []])
def test_what_names_no_schema_is_garbage(schema: Any) -> None:
    """It goes to the dead letters: anybody's JSON would stop a partition for good otherwise."""
    for body in ({"hello": 1}, {**PLACE, "schema": schema}):
        with pytest.raises(ValueError, match=r".") as caught:
            decode_command(None, json.dumps(body).encode())
        assert not isinstance(caught.value, UnknownSchemaError)
    if isinstance(schema, str) and schema:
        with pytest.raises(ValueError, match=r".") as caught:
            decode_command(schema, json.dumps(PLACE).encode())
        assert not isinstance(caught.value, UnknownSchemaError)


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": 0.001},
        {"quantity": "-1"},
        {"quantity": "0"},  # the table refuses it for ever, and its batch with it
        {"quantity": "0.000"},
        {"price": "0"},
        {"price": None},
        {"type": "market"},  # with a price
        {"type": "market", "price": None, "time_in_force": "ioc"},
        {"type": "market", "price": None, "post_only": True},
        {"post_only": True, "time_in_force": "fok"},
        {"quantity": None},
        {"client": "Bot 1"},
        {"client": "bot-1\n"},
        {"client": ""},
        {"key": "short"},
        {"key": "key-000000000001\n"},
        {"key": "k" * 65},
        {"key": "key-00000000000é"},
        {"symbol": "btc/usdt"},
        {"symbol": "BTCUSDT"},
        {"side": "BUY"},
        {"type": "stop"},
        {"post_only": "true"},
        {"post_only": 1},
        {"seq": 2},
        {"seq": "1"},
        {"accept_seq": "7"},
        {"accept_seq": 2**63},  # would be refused by Postgres for ever, and its batch with it
        {"accept_seq": -1},
        {"client_tag": "a\0b"},  # so would a NUL
        {"key_id": "a\0b"},
        {"timeline": "a\0b"},
        {"client_tag": "t" * 1_000},
        {"expires_at": 1763805605},
        {"expires_at": "2026-11-22T10:00:30"},
        {"order_id": "order-1"},
        {"order_id": 1},
        {"surprise": 1},
    ],
)
def test_not_a_place(changes: dict[str, Any]) -> None:
    """A ValueError, and no UnknownSchemaError: such a record goes to the dead letters."""
    with pytest.raises(ValueError, match=r".") as caught:
        decode_command("place.v1", json.dumps({**PLACE, **changes}).encode())
    assert not isinstance(caught.value, UnknownSchemaError)


@pytest.mark.parametrize("missing", sorted(set(PLACE) - {"schema", "key_id"}))
def test_members_that_have_no_default_are_needed(missing: str) -> None:
    body = {name: value for name, value in PLACE.items() if name != missing}
    optional = {"time_in_force", "post_only", "client_tag", "accept_seq", "seq", "timeline"}

    if missing in optional:
        assert decode_command("place.v1", json.dumps(body).encode())
    else:
        with pytest.raises(ValueError, match=missing):
            decode_command("place.v1", json.dumps(body).encode())


@pytest.mark.parametrize("seq", [1, 0, -1, "2", 2**31, True])
def test_a_cancel_never_has_the_places_number(seq: Any) -> None:
    with pytest.raises(ValueError, match="seq"):
        decode_command(None, json.dumps({**CANCEL, "seq": seq}).encode())


@pytest.mark.parametrize("raw", [b"[]", b'"place.v1"', b"null", b"\0", b""])
def test_not_a_command(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_command("place.v1", raw)


def test_header_reads_the_first_of_its_name() -> None:
    headers = [("key", b"first"), ("key", b"second"), ("bad", b"\xff")]

    assert header(headers, "key") == "first"
    assert header(tuple(headers), "bad") is None
    assert header(headers, "absent") is None


def test_topics() -> None:
    assert prefixed("run-7.", "orders.fills") == "run-7.orders.fills"
    assert set(PARTITIONS) == {"orders.commands", "orders.events", "orders.fills", "orders.dlq"}


def test_a_command_built_in_code_is_the_one_that_is_read() -> None:
    made = CancelCommand(
        order_id=UUID(PLACE["order_id"]),
        client="bot-1",
        key="key-000000000002",
        account="paper-1",
        venue="paper",
        symbol="BTC/USDT",
        place_key="key-000000000001",
        seq=2,
        accepted_at=datetime(2026, 11, 22, tzinfo=UTC),
    )

    assert decode_command("cancel.v1", made.encode()) == made


QUOTE = {**{k: v for k, v in PLACE.items() if k not in ("quantity", "price")}, "type": "market",
         "schema": "place.v2", "quote_quantity": "50.00"}  # fmt: skip


def test_a_place_by_quote_amount_is_place_v2() -> None:
    """An executor of an earlier build parks it; a place by quantity stays as it always was."""
    command = decode_command(None, json.dumps(QUOTE).encode())
    assert isinstance(command, PlaceCommand)
    assert command.terms().quote_quantity == Decimal("50.00")
    assert command.terms().quantity is None
    written = json.loads(command.encode())
    assert (written["schema"], written["quote_quantity"]) == ("place.v2", "50.00")
    assert "quantity" not in written
    assert decode_command("place.v2", command.encode()) == command
    assert "quote_quantity" not in json.loads(place().encode())


def test_a_quote_amount_is_in_the_payload_hash() -> None:
    one, same, other = (
        PlaceCommand.model_validate({**QUOTE, "quote_quantity": text})
        for text in ("50.00", "50", "51")
    )
    assert one.payload_hash() == same.payload_hash() != other.payload_hash()


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": "1"},
        {"schema": "place.v1"},
        {"quote_quantity": None},
        {"quote_quantity": "0"},
        {"side": "sell"},
        {"type": "limit", "price": "1"},
        {"quote_quantity": None, "quantity": "1"},
    ],
)
def test_a_quote_amount_is_for_market_buys_alone(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        decode_command(None, json.dumps({**QUOTE, **changes}).encode())
    assert not isinstance(caught.value, UnknownSchemaError)
