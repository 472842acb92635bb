"""The common ground of all records: strict fields, amounts and times as text, bytes in and out, no
duplicate members.
"""

import json
import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Self

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
)

from orderonce_shared.domain.money import (
    MAX_BOOKED_PLACES,
    MAX_DECIMAL_PLACES,
    MAX_INTEGER_DIGITS,
    parse_amount,
    render_amount,
)


def _plain(value: object, places: int) -> Decimal:
    """A Decimal passes if its text would: what no reader accepts must not be written either."""
    if isinstance(value, Decimal):
        parse_amount(format(value, "f"), places)
        return value
    return parse_amount(value, places)


def _unsigned(value: object) -> Decimal:
    return _plain(value, MAX_DECIMAL_PLACES)


def _booked(value: object) -> Decimal:
    return _plain(value, MAX_BOOKED_PLACES)


def _signed(value: object) -> Decimal:
    """`copy_negate`, since a unary minus rounds to the default context's 28 digits."""
    if isinstance(value, Decimal) and value.is_signed():
        return _booked(value.copy_negate()).copy_negate()
    if isinstance(value, str) and value.startswith("-"):
        return _booked(value[1:]).copy_negate()
    return _booked(value)


def _amount_schema(sign: str, places: int) -> WithJsonSchema:
    pattern = rf"^{sign}[0-9]{{1,{MAX_INTEGER_DIGITS}}}(\.[0-9]{{1,{places}}})?$"
    return WithJsonSchema({"type": "string", "pattern": pattern})


_AS_TEXT = PlainSerializer(render_amount, return_type=str)
Amount = Annotated[
    Decimal, BeforeValidator(_unsigned), _AS_TEXT, _amount_schema("", MAX_DECIMAL_PLACES)
]
BookedAmount = Annotated[
    Decimal, BeforeValidator(_booked), _AS_TEXT, _amount_schema("", MAX_BOOKED_PLACES)
]
SignedAmount = Annotated[
    Decimal, BeforeValidator(_signed), _AS_TEXT, _amount_schema("-?", MAX_BOOKED_PLACES)
]


def render_time(moment: datetime) -> str:
    """`2026-11-22T10:00:05.000000Z`: UTC, always microseconds, so that text sorts as time.
    By orjson where it writes them too (all but full seconds), in a third of isoformat's time.
    """
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    if moment.microsecond:
        return orjson.dumps(moment, option=orjson.OPT_UTC_Z)[1:-1].decode()
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _only_rfc3339(value: object) -> object:
    """pydantic alone would read 1763805605 and "1763805605" as Unix times: a time is RFC 3339 text
    with a zone.
    """
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC3339.fullmatch(value)):
        return value
    raise ValueError("a time is RFC 3339 with a zone, e.g. 2026-11-22T10:00:05Z")


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # 0001-01-01T00:00:00+10:00 is before the first moment of UTC
        raise ValueError("a time lies between the years 1 and 9999 in UTC") from None


Timestamp = Annotated[
    AwareDatetime,
    BeforeValidator(_only_rfc3339),
    AfterValidator(_in_utc),
    PlainSerializer(render_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class DuplicateMemberError(ValueError):
    """A JSON object names a member twice: readers disagree on which one counts, so neither does."""


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DuplicateMemberError("a JSON object has the same member twice")
    return members


def loads_strict(raw: bytes | str) -> Any:
    """JSON in UTF-8 without duplicate members, NaN, Infinity (1e999 is one) or lone surrogates.

    Raises ValueError for anything else, absurd depth included.
    """
    text = raw if isinstance(raw, str) else raw.decode()  # json.loads alone would guess UTF-16 too
    try:
        value = _strict(text)
        if "\\u" in text:  # half a character can only come as an escape
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("the JSON holds a lone surrogate") from None
    return value


def _refuse_constant(token: str) -> Any:
    raise ValueError(f"{token} is not JSON")


def _finite(token: str) -> float:
    number = float(token)
    if math.isinf(number):
        raise ValueError("a number in the JSON is beyond all bounds")
    return number


# Made once: json.loads makes a decoder per call.
_strict = json.JSONDecoder(
    object_pairs_hook=_unique_members, parse_constant=_refuse_constant, parse_float=_finite
).decode


# Postgres takes no NUL and a screen no control character: such a record would be refused for ever,
# and the batch that it came in with it.
Text = Annotated[str, StringConstraints(max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$")]
Count = Annotated[StrictInt, Field(ge=0, le=2**63 - 1)]  # what a bigint holds


class Record(BaseModel):
    """A frozen record that refuses unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Raises ValueError (pydantic's ValidationError is one) for anything that is not this
        record.
        """
        return cls.model_validate(loads_strict(raw))
