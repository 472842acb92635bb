"""A dead letter: a record that a consumer could not take, on orders.dlq with its original bytes.

Its headers are those of the record, untouched, and behind them always the same six of ours: so a
reader can tell whose word is whose, whatever a stranger called his own headers. The record's key
stands among ours too, since a key need not be text, and none is not an empty one.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from orderonce_shared.contracts.topics import Headers
from orderonce_shared.contracts.wire import render_time

DLQ_HEADERS = ("dlq_key", "dlq_topic", "dlq_partition", "dlq_offset", "dlq_error", "dlq_first_seen")
NO_KEY = b"-"  # no base64
ERROR_CHARACTERS = 300
MAX_PARTITION = 2**31 - 1
MAX_OFFSET = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Origin:
    """A record as it lay where it came from, and why it lies here. `first_seen` is RFC 3339."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: Headers
    error: str
    first_seen: str


class Record(Protocol):
    """What a letter needs of a record as Kafka's client hands it over."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> Any: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


def letter_id(topic: str, key: bytes | None, value: bytes, headers: Headers) -> UUID:
    """What a letter about this record is called, wherever and however often the record lay."""
    parts = [topic.encode(), b"" if key is None else b"\1" + key, value]
    for name, text in headers:
        parts += [name.encode("utf-8", "replace"), text]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return UUID(bytes=digest.digest()[:16])


def origin_of(record: Record, error: str, at: datetime) -> Origin:
    """Where this record lay, and why it could not be taken."""
    return Origin(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        list(record.headers),
        error,
        render_time(at),
    )


def letter_headers(origin: Origin) -> Headers:
    """The headers of the letter about this record."""
    key = NO_KEY if origin.key is None else base64.b64encode(origin.key)
    ours = (
        key,
        origin.topic.encode(),
        str(origin.partition).encode(),
        str(origin.offset).encode(),
        origin.error[:ERROR_CHARACTERS].encode("utf-8", "replace"),
        origin.first_seen.encode(),
    )
    return [*origin.headers, *zip(DLQ_HEADERS, ours, strict=True)]


def read_letter(key: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Origin | None:
    """The record that a letter is about; None for what is no letter of ours. Letters of earlier
    builds have no `dlq_key` where the key is text: there the letter's own key is the record's.
    """
    count = len(DLQ_HEADERS)
    coded: bytes | None = None  # an empty key is coded as nothing, which is not no `dlq_key`
    if [name for name, _ in headers[-count:]] == list(DLQ_HEADERS):
        coded, ours, theirs = headers[-count][1], headers[1 - count :], headers[:-count]
    elif [name for name, _ in headers[1 - count :]] == list(DLQ_HEADERS[1:]):
        ours, theirs = headers[1 - count :], headers[: 1 - count]
    else:
        return None
    topic, partition, offset, error, first_seen = (
        value.decode("utf-8", "replace") for _, value in ours
    )
    try:
        found = key if coded is None else None if coded == NO_KEY else _decoded(coded)
        place = _number(partition, MAX_PARTITION), _number(offset, MAX_OFFSET)
    except ValueError:
        return None
    return Origin(topic, *place, found, list(theirs), error, first_seen)


def _decoded(coded: bytes) -> bytes:
    try:
        return base64.b64decode(coded, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _number(text: str, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most:
        return int(text)
    raise ValueError("not a number of Kafka's")
