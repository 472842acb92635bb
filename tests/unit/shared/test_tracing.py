"""One trace id from the request to the booking: a good header is continued, a bad one replaced."""

import pytest
from orderonce_shared.runtime.tracing import continue_trace, new_traceparent, trace_id

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_good_one_is_continued() -> None:
    assert continue_trace(GOOD) == GOOD
    assert trace_id(GOOD) == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    "received",
    [
        None,
        "",
        GOOD.upper(),
        GOOD + "\n",
        GOOD + "-more",
        "01" + GOOD[2:],
        "00-" + "0" * 32 + GOOD[35:],
        GOOD[:36] + "0" * 16 + "-01",
        "nonsense",
    ],
)
def test_a_bad_one_is_replaced(received: str | None) -> None:
    made = continue_trace(received)

    assert made != received
    assert continue_trace(made) == made
    assert len(trace_id(made)) == 32


def test_each_new_one_is_its_own() -> None:
    assert len({trace_id(new_traceparent()) for _ in range(100)}) == 100


def test_no_trace_has_no_id() -> None:
    assert trace_id(None) == trace_id("nonsense") == ""
