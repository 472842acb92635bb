"""The short ways write the same bytes as the long ones that they replaced: a hash or a signature
that differed would be another command's, or nobody's."""

import hashlib
import json
import string
from datetime import UTC, datetime, timedelta, timezone

import ccxt
from hypothesis import given
from hypothesis import strategies as st
from orderonce_shared.contracts.commands import _hash
from orderonce_shared.contracts.wire import render_time
from orderonce_shared.venues.fence import STAMP, FencedBinance, Stamp

zones = st.one_of(
    st.just(UTC), st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))
)
times = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9998, 1, 1),  # noqa: DTZ001
    timezones=zones,
)
parts = st.one_of(st.text(), st.none(), st.booleans(), st.integers(-(2**53), 2**53))
forms = st.dictionaries(
    st.text(string.ascii_letters, min_size=1, max_size=9),
    st.one_of(st.text(max_size=20), st.from_regex(r"[A-Za-z0-9_.~=&-]{0,20}", fullmatch=True)),
    max_size=6,
)


@given(times, st.booleans())
def test_a_time_is_written_as_isoformat_writes_it(moment: datetime, full_second: bool) -> None:
    moment = moment.replace(microsecond=0) if full_second else moment
    long_way = moment.astimezone(UTC).isoformat(timespec="microseconds")
    assert render_time(moment) == long_way.replace("+00:00", "Z")


@given(st.lists(parts.filter(lambda part: not _is_lone(part)), max_size=14))
def test_a_payload_hash_is_of_the_json_in_ascii_that_it_always_was(told: list[object]) -> None:
    text = json.dumps(told, separators=(",", ":"))
    assert _hash(*told) == hashlib.sha256(text.encode()).hexdigest()


@given(forms)
def test_a_creates_form_is_written_as_ccxt_writes_it(form: dict[str, str]) -> None:
    token = STAMP.set(Stamp(1, form, 0.0))
    try:
        written = FencedBinance.urlencode(FencedBinance.__new__(FencedBinance), form)
    finally:
        STAMP.reset(token)
    assert written == ccxt.Exchange.urlencode(form)


def _is_lone(part: object) -> bool:
    """Half a character: no record can hold it, since UTF-8 cannot."""
    return isinstance(part, str) and any("\ud800" <= c <= "\udfff" for c in part)
