"""What became of every order: the tally, and the account that has to add up."""

from array import array
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from orderonce_cli.load import hops
from orderonce_cli.load.account import Account, account
from orderonce_cli.load.tally import FINAL, Outcome, Tally

STARTED = 1_763_805_600.0  # 2025-11-22T10:00:00Z


def tally(count: int = 3, whole_line: bool = True) -> Tally:
    """Orders meant for second 0, 1, 2, …"""
    return Tally("load-0123abcd", array("d", range(count)), STARTED, whole_line)


def event(seen: Tally, number: int, status: str = "filled", **changes: Any) -> dict[str, Any]:
    """order.v1 of an order whose every hop came 100 ms, 200 ms, 300 ms after its moment."""
    final = status in FINAL
    told = {
        "schema": "order.v1", "order_id": f"id-{number}", "key": seen.key(number),
        "status": status, "final": final, "reason": None, "asked_order_id": None,
        "venue_order_id": "7" if status in ("open", "filled") else None,
        "sent_at": None if status == "accepted" else f"2025-11-22T10:00:0{number}.200000Z",
        "at": f"2025-11-22T10:00:0{number}.{'100' if status == 'accepted' else '300'}000Z",
        "version": {"accepted": 1, "sending": 2, "open": 3}.get(status, 4),
    }  # fmt: skip
    return told | changes


def sent(seen: Tally, number: int, at: float | None = None) -> None:
    seen.started(number, float(number) if at is None else at)


def accepted(seen: Tally, number: int, took: float = 0.05) -> None:
    sent(seen, number)
    seen.acked(number, number + took, f"id-{number}")


def took(seen: Tally, hop: str) -> int:
    """Milliseconds of the one order that passed it."""
    assert seen.latencies[hop].count == 1
    return round(seen.latencies[hop].most())


def test_each_hop_counts_from_the_intended_start() -> None:
    seen = tally()
    seen.started(1, 1.4)  # 400 ms late: the generator's own delay
    seen.acked(1, 1.5, "id-1")
    seen.event(event(seen, 1, "accepted"), heard=1.9)
    seen.event(event(seen, 1, "filled"), heard=2.0)
    assert took(seen, hops.START) == 400
    assert took(seen, hops.ACCEPT) == 500, "not 100: waiting to be sent is waiting"
    assert took(seen, hops.CLAIMED) == 100
    assert took(seen, hops.SENT) == 200
    assert took(seen, hops.VENUE) == 300
    assert took(seen, hops.FINAL) == 300
    assert took(seen, hops.HEARD) == 1000
    assert seen.late == 1


def test_events_may_come_before_the_answer_twice_and_out_of_order() -> None:
    seen = tally()
    sent(seen, 0)
    seen.event(event(seen, 0, "filled"), heard=0.4)
    seen.event(event(seen, 0, "filled"), heard=0.9)
    seen.event(event(seen, 0, "accepted"), heard=0.5)
    seen.acked(0, 0.6, "id-0")
    assert seen.status[0] == "filled"
    assert took(seen, hops.HEARD) == 400
    assert seen.latencies[hops.CLAIMED].count == 0, (
        "its event was overtaken: no time, not a wrong one"
    )
    assert account(seen, 1).counts["claimed"] == 1
    assert seen.ended(0)
    assert seen.doubled == 0


def test_orders_of_others_are_passed_over() -> None:
    seen = tally()
    for key in (
        "somebody-else-0001",
        "load-0123abcd-x",
        "load-0123abcd-00000003",
        "load-0123abcd-",
    ):
        seen.event(event(seen, 0) | {"key": key}, heard=1.0)
    assert seen.latencies[hops.FINAL].count == 0


def test_a_second_order_under_one_key_is_a_failure() -> None:
    seen = tally(1)
    accepted(seen, 0)
    seen.event(event(seen, 0) | {"order_id": "another"}, heard=0.5)
    told = account(seen, 1)
    assert not told.holds
    assert "second order id" in told.failures[0]


def test_a_hop_before_its_moment_means_clocks_that_disagree() -> None:
    seen = tally(3)
    accepted(seen, 2)
    seen.event(event(seen, 2) | {"at": "2025-11-22T10:00:01.500000Z"}, heard=2.5)
    assert seen.clock_trouble == 2, "venue and final"
    assert took(seen, hops.FINAL) == 0


def test_a_page_tells_what_events_would() -> None:
    seen = tally()
    accepted(seen, 0)
    row = {
        "idempotency_key": seen.key(0), "order_id": "id-0", "version": 4, "status": "filled",
        "final": True, "reason": None, "sent_at": "2025-11-22T10:00:00.200000Z",
        "updated_at": "2025-11-22T10:00:00.300000Z",
    }  # fmt: skip
    seen.row(row, heard=0.7)
    assert (took(seen, hops.SENT), took(seen, hops.FINAL), took(seen, hops.HEARD)) == (
        200, 300, 700,
    )  # fmt: skip
    assert account(seen, 1).counts["claimed"] == 1
    assert seen.latencies[hops.CLAIMED].count == 0, "a page does not tell when"


def test_unfinished_orders_are_found_however_they_end() -> None:
    seen = tally(5)
    assert seen.oldest_unfinished() is None, "nothing has started"
    for number in range(4):
        sent(seen, number)
    seen.acked(0, 0.1, "id-0")
    seen.denied(1, 1.1, "notional-cap")
    seen.dropped(4)
    assert (seen.oldest_unfinished(), seen.unfinished()) == (0, 3)
    seen.event(event(seen, 0), heard=0.5)
    assert (seen.oldest_unfinished(), seen.unfinished()) == (2, 2)
    seen.unanswered(2)
    seen.refused(3, "403 not-permitted")
    assert (seen.oldest_unfinished(), seen.unfinished()) == (None, 0)


# the account


def lines(told: Account) -> dict[str, int]:
    return {line.name.strip(): line.count for line in told.lines if line.count}


def test_every_difference_has_a_name() -> None:
    seen = tally(10)
    seen.dropped(0)
    sent(seen, 1)
    seen.denied(1, 1.0, "price-tick")
    sent(seen, 2)
    seen.refused(2, "403 not-permitted")
    sent(seen, 3)
    seen.unanswered(3)
    sent(seen, 4)
    seen.unanswered(4)
    seen.event(event(seen, 4), heard=4.5)  # it was accepted after all
    accepted(seen, 5)  # and never claimed
    accepted(seen, 6)
    seen.event(event(seen, 6, "open"), heard=6.5)
    accepted(seen, 7)
    seen.event(event(seen, 7, "unknown", version=5), heard=7.5)
    accepted(seen, 8)
    seen.event(event(seen, 8, "lapsed"), heard=8.5)
    told = account(seen, come=9)
    assert lines(told) == {
        "scheduled": 10, "not started": 1, "dropped by the generator": 1, "sent": 8,
        "denied at once": 1, "refused": 1, "unanswered": 2, "accepted": 4, "not claimed": 1,
        "surfaced": 1, "claimed": 4, "unknown": 1, "without an end": 1, "final": 2, "filled": 1,
        "lapsed": 1,
    }  # fmt: skip
    assert told.failures == (
        "1 accepted orders were not claimed within the limit",
        "1 claimed orders have no end within the limit",
    )


def test_an_explicit_unknown_is_an_answer() -> None:
    seen = tally(1)
    accepted(seen, 0)
    seen.event(event(seen, 0, "unknown", version=5), heard=0.5)
    assert account(seen, 1).holds


def test_an_account_that_does_not_add_up_fails() -> None:
    seen = tally(2)
    accepted(seen, 0)
    seen.event(event(seen, 0), heard=0.5)
    assert account(seen, 1).holds
    assert not account(seen, 2).holds, "the second order's moment came, and nothing was sent"


def test_a_run_of_refusals_alone_is_a_failure() -> None:
    seen = tally(2)
    for number in range(2):
        seen.started(number, 0.1)
        seen.refused(number, "400 body-invalid")
    assert account(seen, 2).failures == ("every order was refused: nothing was measured",)


def test_an_order_claimed_although_it_was_refused_does_not_add_up() -> None:
    seen = tally(1)
    seen.started(0, 0.1)
    seen.refused(0, "400 body-invalid")
    seen.event(event(seen, 0), heard=0.5)
    assert any("does not add up at 'claimed'" in words for words in account(seen, 1).failures)


def test_without_a_line_the_record_read_back_is_the_end() -> None:
    seen = tally(2, whole_line=False)
    accepted(seen, 0)
    accepted(seen, 1)
    seen.read_back(0, 0.2)
    told = account(seen, 2)
    assert lines(told)["read back"] == 1
    assert lines(told)["not read back"] == 1
    assert not told.holds
    assert seen.unfinished() == 1


DOORS = st.sampled_from(["dropped", "acked", "denied", "refused", "unanswered", "none"])
STATUSES = st.sampled_from(["", "accepted", "sending", "open", "unknown", *FINAL])


@given(st.lists(st.tuples(DOORS, STATUSES), min_size=1, max_size=12), st.integers(0, 3))
def test_whatever_happens_the_account_adds_up(
    orders: list[tuple[str, str]], unstarted: int
) -> None:
    seen = tally(len(orders) + unstarted)
    for number, (door, status) in enumerate(orders):
        if door == "dropped":
            seen.dropped(number)
            continue
        sent(seen, number)
        if door == "acked":
            seen.acked(number, number + 0.1, f"id-{number}")
        elif door == "denied":
            seen.denied(number, number + 0.1, "price-tick")
        elif door == "refused":
            seen.refused(number, "403 not-permitted")
        elif door == "unanswered":
            seen.unanswered(number)
        if status and door in ("acked", "unanswered", "none"):
            moment = f"2025-11-22T10:01:{number:02d}.100000Z"
            at = {"at": moment, "sent_at": None}
            seen.event(
                event(seen, 0, status) | at | {"key": seen.key(number), "order_id": f"id-{number}"},
                99.0,
            )
    told = account(seen, come=len(orders))
    assert not [words for words in told.failures if "does not add up" in words]
    counts = told.counts
    assert counts["sent"] + counts["dropped"] == len(orders)
    assert counts["final"] == sum(counts[f"final_{status}"] for status in FINAL)
    assert seen.outcome.count(Outcome.SCHEDULED) == unstarted
