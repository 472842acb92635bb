"""The records that the load generator writes itself, held against the contract's own code."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from orderonce_cli.load import records
from orderonce_cli.load.orders import Asked
from orderonce_shared.contracts import topics
from orderonce_shared.contracts.commands import (
    CancelCommand,
    PlaceCommand,
    command_headers,
    decode_command,
)

SENDER = records.Sender("load-0123abcd", "paper")
KEY = "load-0123abcd-00000007"
MOMENT, LATER = "2026-11-22T10:00:05.000000Z", "2026-11-22T10:00:35.000000Z"
MARKET = Asked("paper-1", "BTC/USDT", "buy", "market", "0.00100", None, "gtc")
LIMIT = Asked("paper-2", "ETH/USDT", "sell", "limit", "10", "2999.50", "ioc")


@pytest.mark.parametrize("asked", [MARKET, LIMIT])
def test_a_place_is_what_the_executor_decodes(asked: Asked) -> None:
    order_id = str(uuid4())
    record = records.place(SENDER, order_id, KEY, asked, MOMENT, LATER)
    command = decode_command(topics.header(record.headers, "schema"), record.value)
    assert isinstance(command, PlaceCommand)
    assert (command.order_id, command.client, command.key) == (UUID(order_id), SENDER.client, KEY)
    assert (command.account, command.symbol) == (asked.account, asked.symbol)
    assert command.quantity == Decimal(asked.quantity)
    assert command.price == (None if asked.price is None else Decimal(asked.price))
    assert command.expires_at == datetime(2026, 11, 22, 10, 0, 35, tzinfo=UTC)
    assert record.key == asked.account.encode(), "an account keeps its order"
    traceparent = topics.header(record.headers, "traceparent")
    assert traceparent is not None
    assert record.headers == command_headers(command, traceparent), "every header, payload hash too"


def test_a_cancel_is_what_the_executor_decodes() -> None:
    order_id = str(uuid4())
    record = records.cancel(SENDER, order_id, f"{KEY}-c", (KEY, MARKET), MOMENT)
    command = decode_command(topics.header(record.headers, "schema"), record.value)
    assert isinstance(command, CancelCommand)
    assert (command.place_key, command.key) == (KEY, f"{KEY}-c")
    traceparent = topics.header(record.headers, "traceparent") or ""
    assert record.headers == command_headers(command, traceparent)


def test_every_trace_is_one_that_others_can_read() -> None:
    record = records.place(SENDER, str(uuid4()), KEY, MARKET, MOMENT, LATER)
    version, trace, span, flags = (topics.header(record.headers, "traceparent") or "").split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "00")
    assert int(trace, 16)
    assert int(span, 16)


def test_the_topics_are_the_contracts() -> None:
    assert set(records.TOPICS) == set(topics.PARTITIONS)
    assert records.COMMANDS == topics.COMMANDS
    assert records.EVENTS == topics.EVENTS
