"""The common ground of all records: strict fields, amounts and times as text, bytes in and out, no duplicate members."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from orderonce_shared.domain.money import MAX_BOOKED_PLACES, parse_amount, render_amount
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

Amount = Annotated[
    Decimal,
    BeforeValidator(lambda v: v if isinstance(v, Decimal) else parse_amount(v)),
    PlainSerializer(render_amount, return_type=str),
]


def _booked(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    return parse_amount(value, MAX_BOOKED_PLACES)


def _signed(value: object) -> Decimal:
    if isinstance(value, str) and value.startswith("-"):
        return -_booked(value[1:])
    return _booked(value)


BookedAmount = Annotated[
    Decimal, BeforeValidator(_booked), PlainSerializer(render_amount, return_type=str)
]
SignedAmount = Annotated[
    Decimal, BeforeValidator(_signed), PlainSerializer(render_amount, return_type=str)
]


def render_time(moment: datetime) -> str:
    """`2026-11-22T10:00:05.000000Z`: UTC, always microseconds, so that text sorts as time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _only_rfc3339(value: object) -> object:
    """pydantic alone would read 1763805605 and "1763805605" as Unix times: a time is RFC 3339 text with a zone."""
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC3339.fullmatch(value)):
        return value
    raise ValueError("a time is RFC 3339 with a zone, e.g. 2026-11-22T10:00:05Z")


Timestamp = Annotated[
    AwareDatetime,
    BeforeValidator(_only_rfc3339),
    PlainSerializer(render_time, return_type=str),
]


class DuplicateMemberError(ValueError):
    """A JSON object names a member twice: readers disagree on which one counts, so neither does."""


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DuplicateMemberError("a JSON object has the same member twice")
    return members


def loads_strict(raw: bytes | str) -> Any:
    """JSON without duplicate members, NaN or Infinity. Raises ValueError (RecursionError for absurd depth is turned
    into one)."""

    def refuse(token: str) -> Any:
        raise ValueError(f"{token} is not JSON")

    try:
        return json.loads(raw, object_pairs_hook=_unique_members, parse_constant=refuse)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


class Record(BaseModel):
    """A frozen record that refuses unknown members and coerces nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Raises ValueError (pydantic's ValidationError is one) for anything that is not this record."""
        return cls.model_validate(loads_strict(raw))
