"""What a record may hold: strict JSON, exact amounts, times with a zone; whatever is built can be
read."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from orderonce_shared.contracts.wire import (
    Amount,
    DuplicateMemberError,
    Record,
    SignedAmount,
    Timestamp,
    loads_strict,
    render_time,
)
from pydantic import ValidationError


class Sample(Record):
    amount: Amount = Decimal(0)
    change: SignedAmount = Decimal(0)
    at: Timestamp = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',  # a float would be infinite
        b'{"a": "\\ud800"}',  # a lone surrogate: cannot be stored as UTF-8
        b'{"\\udfff": 1}',
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a": 1}',  # a byte order mark
        b'{"a": 1} {"b": 2}',
        b"1" * 5000,  # an integer beyond what Python converts
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_not_json_as_we_read_it(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        loads_strict(raw)
    assert not isinstance(caught.value, RecursionError)


def test_duplicate_members_are_refused_at_any_depth() -> None:
    for raw in ('{"a": 1, "a": 1}', '[{"b": {"a": 1, "\\u0061": 2}}]'):
        with pytest.raises(DuplicateMemberError):
            loads_strict(raw)


def test_plain_json_passes() -> None:
    raw = '{"a": [1, -2.5, true, null, "\\ud83d\\ude00 \\u00e9 \\\\ud800"]}'

    assert loads_strict(raw) == {"a": [1, -2.5, True, None, "😀 é \\ud800"]}
    assert loads_strict(raw.encode()) == loads_strict(raw)


@pytest.mark.parametrize(
    "value",
    [
        1763805605,
        1763805605.5,
        "1763805605",
        "2026-11-22",
        "2026-11-22T10:00:05",
        "2026-11-22 10:00:05Z",
        "2026-11-22T10:00:05Z\n",
        "2026-11-22T10:00Z",
        "2026-02-30T10:00:05Z",
        "٢٠26-11-22T10:00:05Z",
        "0001-01-01T00:00:00+10:00",  # before the first moment that UTC can tell
        "9999-12-31T23:59:59-10:00",
        None,
        True,
        datetime(2026, 11, 22),  # noqa: DTZ001 - a naive one is what is refused
    ],
)
def test_not_a_time(value: Any) -> None:
    with pytest.raises(ValidationError):
        Sample(at=value)


def test_times_are_one_moment_in_utc() -> None:
    sample = Sample.decode(b'{"at": "2026-11-22T12:00:05.123456789+02:00"}')

    assert render_time(sample.at) == "2026-11-22T10:00:05.123456Z"
    east = datetime(2026, 11, 22, 12, tzinfo=timezone(timedelta(hours=2)))
    assert render_time(east) == "2026-11-22T10:00:00.000000Z"
    assert json.loads(Sample(at=east).encode())["at"] == "2026-11-22T10:00:00.000000Z"


def test_amounts_travel_as_text_with_their_scale() -> None:
    raw = b'{"amount": "0.00100", "change": "-0.10", "at": "2026-11-22T10:00:05Z"}'

    assert json.loads(Sample.decode(raw).encode()) == {
        "amount": "0.00100",
        "change": "-0.10",
        "at": "2026-11-22T10:00:05.000000Z",
    }


def test_a_negative_amount_is_exact_too() -> None:
    """A unary minus rounds to the default context's 28 digits; the fee of a rebate may have 38."""
    text = "-12345678901234567890.123456789012345678"

    sample = Sample.decode(json.dumps({"change": text}).encode())

    assert json.loads(sample.encode())["change"] == text


@pytest.mark.parametrize(
    "value",
    [
        0.1,
        1,
        "-1",
        "1e3",
        Decimal("-1"),
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal(10) ** 20,
        Decimal("1E-19"),
    ],
)
def test_an_amount_that_no_reader_would_accept_cannot_be_built(value: Any) -> None:
    with pytest.raises(ValidationError):
        Sample(amount=value)


@pytest.mark.parametrize("value", ["--1", "-", "-+1", "-1e3", "- 1", -1, Decimal("-1E-31")])
def test_signed_amounts_are_as_strict(value: Any) -> None:
    with pytest.raises(ValidationError):
        Sample(change=value)


def test_records_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError):
        Sample.decode(b'{"amount": "1", "amuont": "1"}')
    with pytest.raises(ValidationError):
        Sample().amount = Decimal(1)
