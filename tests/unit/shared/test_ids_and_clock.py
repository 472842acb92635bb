"""The only sources of ids, randomness and time."""

from datetime import UTC

import pytest
from orderonce_shared.runtime.clock import SystemClock
from orderonce_shared.runtime.ids import new_order_id, new_request_id, random_below, random_bytes


def test_order_ids_are_uuid7_and_sort_by_creation() -> None:
    made = [new_order_id() for _ in range(1_000)]

    assert {order_id.version for order_id in made} == {7}
    assert len(set(made)) == 1_000
    assert made == sorted(made)


def test_request_ids_and_random_bytes_do_not_repeat() -> None:
    assert len({new_request_id() for _ in range(1_000)}) == 1_000
    assert len({random_bytes(16) for _ in range(1_000)}) == 1_000


def test_random_below_covers_its_range() -> None:
    assert {random_below(3) for _ in range(1_000)} == {0, 1, 2}
    with pytest.raises(ValueError, match="positive"):
        random_below(0)


def test_the_clock_is_utc_and_monotonic() -> None:
    clock = SystemClock()

    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()
