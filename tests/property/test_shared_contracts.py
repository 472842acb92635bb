"""Every record that can be built can be read, and is then the same one."""

import json
import string
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orderonce_shared.contracts.commands import (
    CancelCommand,
    Command,
    PlaceCommand,
    command_headers,
    decode_command,
)
from orderonce_shared.contracts.events import FeeTotal, OrderEvent, Reason
from orderonce_shared.contracts.fills import FillRecord
from orderonce_shared.contracts.topics import COMMAND_HEADERS
from orderonce_shared.contracts.wire import Record, loads_strict
from orderonce_shared.domain.identity import client_order_id
from orderonce_shared.domain.lifecycle import Status
from orderonce_shared.domain.money import parse_amount
from orderonce_shared.domain.order import OrderType, Side, TimeInForce

names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,62}", fullmatch=True)
keys = st.text(string.ascii_letters + string.digits + "_.:-", min_size=16, max_size=64)
coins = st.text(string.ascii_uppercase + string.digits, min_size=1, max_size=8)
symbols = st.builds("{}/{}".format, coins, coins)
whole = st.integers(0, 10**20 - 1).map(str)
amounts = st.one_of(
    whole, st.builds("{}.{}".format, whole, st.from_regex(r"[0-9]{1,18}", fullmatch=True))
).map(parse_amount)
signed = st.one_of(amounts, amounts.map(lambda amount: amount.copy_negate()))
zones = st.one_of(
    st.just(UTC), st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))
)
times = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=zones,
)
plain = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=64
)
counts = st.integers(0, 2**63 - 1)
maybe = st.none

positive = amounts.filter(bool)
kinds = st.one_of(
    st.just((OrderType.MARKET, TimeInForce.GTC, False)),
    st.sampled_from(TimeInForce).map(lambda force: (OrderType.LIMIT, force, False)),
    st.just((OrderType.LIMIT, TimeInForce.GTC, True)),
)


@st.composite
def some_place(draw: st.DrawFn) -> PlaceCommand:
    """A place whose terms fit each other: no other can be built."""
    type_, force, post_only = draw(kinds)
    return PlaceCommand(
        order_id=draw(st.uuids()),
        client=draw(names),
        key=draw(keys),
        key_id=draw(maybe() | plain),
        account=draw(names),
        venue=draw(names),
        symbol=draw(symbols),
        side=draw(st.sampled_from(Side)),
        type=type_,
        quantity=draw(positive),
        price=draw(positive) if type_ is OrderType.LIMIT else None,
        time_in_force=force,
        post_only=post_only,
        client_tag=draw(maybe() | plain),
        accept_seq=draw(maybe() | counts),
        accepted_at=draw(times),
        expires_at=draw(times),
        timeline=draw(maybe() | plain),
    )


places = some_place()
cancels = st.builds(
    CancelCommand,
    order_id=st.uuids(),
    client=names,
    key=keys,
    key_id=maybe() | plain,
    account=names,
    venue=names,
    symbol=symbols,
    place_key=keys,
    accept_seq=maybe() | counts,
    seq=st.integers(2, 2**31 - 1),
    accepted_at=times,
    timeline=maybe() | plain,
)
fees = st.lists(st.builds(FeeTotal, asset=coins, amount=signed), max_size=3).map(tuple)
events = st.builds(
    OrderEvent,
    order_id=st.uuids(),
    client=names,
    key=keys,
    account=names,
    venue=names,
    symbol=symbols,
    client_order_id=st.builds(client_order_id, names, keys),
    status=st.sampled_from(Status),
    final=st.booleans(),
    reason=maybe() | st.builds(Reason, code=plain, detail=plain),
    venue_order_id=maybe() | plain,
    filled_quantity=amounts,
    filled_cost=amounts,
    fees=fees,
    attempt=st.integers(0, 100),
    cancel_requested=st.booleans(),
    sent_at=maybe() | times,
    at=times,
    timeline=plain,
    version=counts,
    claimed_keys=st.lists(keys, max_size=3).map(tuple),
    asked_order_id=maybe() | st.uuids(),
)
fills = st.builds(
    FillRecord,
    venue=names,
    account=names,
    symbol=symbols,
    trade_id=plain,
    venue_order_id=plain,
    client_order_id=st.builds(client_order_id, names, keys),
    order_id=st.uuids(),
    client=names,
    side=st.sampled_from(Side),
    quantity=amounts,
    price=amounts,
    cost=amounts,
    fees=fees,
    liquidity=st.sampled_from(["maker", "taker"]),
    traded_at=times,
    raw=st.dictionaries(plain, plain | st.booleans() | st.none(), max_size=3),
)


@given(st.one_of(places, cancels))
def test_commands_come_back_the_same(command: Command) -> None:
    raw = command.encode()
    again = decode_command(None, raw)

    assert again == command
    assert again.encode() == raw
    assert again.payload_hash() == command.payload_hash()


@given(st.one_of(events, fills))
def test_events_and_fills_come_back_the_same(record: Record) -> None:
    raw = record.encode()
    again = type(record).decode(raw)

    assert again == record
    assert again.encode() == raw


@given(
    st.one_of(places, cancels), st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", fullmatch=True)
)
def test_headers_are_complete(command: Command, traceparent: str) -> None:
    headers = command_headers(command, traceparent)

    assert tuple(name for name, _ in headers) == COMMAND_HEADERS
    assert dict(headers)["order_id"].decode() == str(command.order_id)
    assert all(value.decode() is not None for _, value in headers)


@given(places, st.sampled_from([".0", ".00", ".000000"]))
def test_scale_is_no_difference_of_payload(command: PlaceCommand, zeros: str) -> None:
    whole_quantity = command.quantity.to_integral_value()
    longer = Decimal(f"{whole_quantity:f}{zeros}")
    first = command.model_copy(update={"quantity": whole_quantity})

    assert first.model_copy(update={"quantity": longer}).payload_hash() == first.payload_hash()


@given(st.one_of(places, cancels), st.data())
def test_one_bad_member_refuses_the_record(command: Command, data: st.DataObject) -> None:
    body: dict[str, Any] = json.loads(command.encode())
    member = data.draw(st.sampled_from(sorted(body)))
    bad = data.draw(st.sampled_from([1.5, {"a": 1}, [1], "a\0b"]))

    with pytest.raises(ValueError, match=r"."):
        decode_command(command.schema_, json.dumps({**body, member: bad}).encode())


@given(names, keys, names, keys)
def test_client_order_ids_are_equal_for_equal_pairs_only(
    client: str, key: str, other_client: str, other_key: str
) -> None:
    same = (client, key) == (other_client, other_key)

    made = client_order_id(client, key)
    assert (made == client_order_id(other_client, other_key)) == same
    assert len(made) == 28
    assert set(made) <= set(string.ascii_lowercase + "234567")


finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values, st.booleans())
def test_good_json_is_read_as_it_was_written(value: Any, ascii_only: bool) -> None:
    assert loads_strict(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=100))
def test_bytes_are_json_or_a_value_error(raw: bytes) -> None:
    try:
        loads_strict(raw)
    except ValueError:
        return
    raw.decode()
