"""`Prefer: wait=N` as RFC 7240 writes it. A preference is a wish: nothing refuses a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orderonce_api.incoming import wait_preferred


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([], 0),
        (["wait=2"], 2),
        (["Wait=2"], 2),
        (["wait = 2"], 2),
        (['wait="2"'], 2),
        (["respond-async, wait=3"], 3),
        (["return=minimal", "wait=4"], 4),
        (["wait=2; x=1, wait=5"], 2),
        (["wait=1, wait=4"], 1),
        (['foo="a, wait=4", wait=3'], 3),
        (["wait=99"], 5),
        (["wait=" + "9" * 5_000], 5),
        (["wait=005"], 5),
        (["wait=0"], 0),
        (["wait"], 0),
        (["wait="], 0),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait=٣"], 0),
        (["waiting=4"], 0),
        ([",,=;wait"], 0),
        (['"'], 0),
    ],
)
def test_seconds(lines: list[str], seconds: int) -> None:
    assert wait_preferred(lines, 5) == seconds


@given(st.lists(st.text(max_size=40), max_size=3))
def test_any_line_can_be_read(lines: list[str]) -> None:
    assert 0 <= wait_preferred(lines, 5) <= 5
