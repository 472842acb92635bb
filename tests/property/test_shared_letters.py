"""A dead letter gives its record back, whatever the record held."""

from hypothesis import example, given
from hypothesis import strategies as st
from orderonce_shared.contracts.letters import (
    DLQ_HEADERS,
    MAX_OFFSET,
    MAX_PARTITION,
    Origin,
    letter_headers,
    read_letter,
)

HEADERS = st.lists(
    st.tuples(
        st.one_of(st.text(max_size=20), st.sampled_from(DLQ_HEADERS)), st.binary(max_size=40)
    ),
    max_size=12,
)
ORIGINS = st.builds(
    Origin,
    topic=st.text(max_size=30, alphabet=st.characters(codec="utf-8")),
    partition=st.integers(0, MAX_PARTITION),
    offset=st.integers(0, MAX_OFFSET),
    key=st.none() | st.binary(max_size=40),
    headers=HEADERS,
    error=st.text(max_size=100, alphabet=st.characters(codec="utf-8")),
    first_seen=st.just("2026-11-22T10:00:00.000000Z"),
)


@given(ORIGINS)
@example(Origin("orders.commands", 0, 0, b"", [], "", "2026-11-22T10:00:00.000000Z"))
def test_a_letter_gives_its_record_back(origin: Origin) -> None:
    """Headers that are called like ours included: ours are the last six, always."""
    assert read_letter(b"whatever", letter_headers(origin)) == origin


@given(
    ORIGINS.filter(lambda one: one.key is not None and all(n != "dlq_key" for n, _ in one.headers))
)
def test_a_letter_of_an_earlier_build_too(origin: Origin) -> None:
    """It had no `dlq_key` where the key was text."""
    headers = letter_headers(origin)
    del headers[-6]
    assert read_letter(origin.key, headers) == origin


@given(st.none() | st.binary(max_size=20), HEADERS)
def test_any_record_can_be_asked(key: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    found = read_letter(key, headers)
    assert found is None or found.partition <= MAX_PARTITION
