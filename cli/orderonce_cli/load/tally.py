"""PURE: what became of every order, told from its answer and from the events about it.

One number per order, no object: a run of a million orders fits. `outcome` is what the door said
(the API or Kafka), `status` what the executor said. The two are kept apart, since an order without
an answer may be placed all the same.
"""

import math
from array import array
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum
from typing import Any

from orderonce_cli.load import hops
from orderonce_cli.load.hops import Latencies

NEVER = math.nan
LATE_S = 0.010  # a send that starts later than this after its moment is a late send
FINAL = ("filled", "canceled", "rejected", "lapsed", "denied", "not_placed")
BY_VENUE = ("open", "filled", "canceled", "rejected")


class Outcome(IntEnum):
    """What the door said."""

    SCHEDULED = 0  # its moment has not come, or the run was stopped before
    DROPPED = 1  # not sent: the generator had its limit of orders in flight
    SENT = 2  # no answer yet
    ACKED = 3  # 202, or Kafka's acknowledgement
    DENIED = 4  # 422 order-denied: decided, never placed
    REFUSED = 5  # an answer that no repetition changes
    UNANSWERED = 6  # given up after repetitions: accepted or not, the door never said


class Tally:
    """The orders of one run, numbered from 0. Times are seconds from the run's start."""

    def __init__(
        self, run: str, intended: "array[float]", started_at: float, whole_line: bool = True
    ) -> None:
        self.run = run
        self.whole_line = whole_line  # else an order ends when its record has been read back
        self.intended = intended
        self.started_at = started_at  # seconds since 1970, by this machine's clock
        count = len(intended)
        self.outcome = bytearray(count)
        self.claimed = bytearray(count)
        self.status: list[str] = [""] * count
        self.version = array("q", [0]) * count
        self.ids: list[str | None] = [None] * count
        self.times = {hop: array("d", [NEVER]) * count for hop in hops.HOPS}
        self.latencies = {hop: Latencies() for hop in hops.HOPS}
        self.refusals: Counter[str] = Counter()  # neither accepted nor denied, by name
        self.refused_by: Counter[str] = Counter()  # of these, the definite ones: no repetition
        self.reasons: Counter[str] = Counter()  # of denials and of endings without a fill
        self.retries = 0
        self.late = 0
        self.doubled = 0  # a second order id under one key: must stay 0
        self.clock_trouble = 0  # an hop that ended before its order was meant to start
        self.recent: list[float] = []  # seconds each `accept` took since it was last emptied
        self._prefix = f"{run}-"
        self._done = 0  # every order below this number has ended

    def __len__(self) -> int:
        return len(self.intended)

    def key(self, number: int) -> str:
        """The idempotency key of an order; its number can be read from it."""
        return f"{self._prefix}{number:08d}"

    def number(self, key: str) -> int | None:
        """The order that a key means; None for a key of somebody else."""
        if not key.startswith(self._prefix):
            return None
        digits = key[len(self._prefix) :]
        if not (digits.isascii() and digits.isdigit()):
            return None
        found = int(digits)
        return found if found < len(self.intended) else None

    # what the door says

    def started(self, number: int, at: float) -> None:
        """The first send begins now."""
        self.outcome[number] = Outcome.SENT
        if at - self.intended[number] > LATE_S:
            self.late += 1
        self._time(hops.START, number, at)

    def dropped(self, number: int) -> None:
        self.outcome[number] = Outcome.DROPPED

    def acked(self, number: int, at: float, order_id: str) -> None:
        """The door answered: accepted."""
        self._decided(number, Outcome.ACKED)
        self._time(hops.ACCEPT, number, at)
        self._identify(number, order_id)

    def denied(self, number: int, at: float, code: str) -> None:
        """An answer too, and it counts as one in the latency of `accept`."""
        self._decided(number, Outcome.DENIED)
        self.reasons[f"denied: {code}"] += 1
        self._time(hops.ACCEPT, number, at)

    def refused(self, number: int, why: str) -> None:
        self._decided(number, Outcome.REFUSED)
        self.refusals[why] += 1
        self.refused_by[why] += 1

    def unanswered(self, number: int) -> None:
        self._decided(number, Outcome.UNANSWERED)

    def _decided(self, number: int, outcome: Outcome) -> None:
        assert self.outcome[number] == Outcome.SENT, "an order is decided once, after its start"
        self.outcome[number] = outcome

    # what the line says

    def event(self, told: Mapping[str, Any], heard: float) -> None:
        """One order.v1 from `orders.events`; those of other runs are passed over."""
        number = self.number(told["key"])
        if number is None:
            return
        self._identify(number, told["order_id"])
        if told.get("asked_order_id"):
            self.doubled += 1
        at = self._seconds(told["at"])
        if not self.claimed[number]:
            self.claimed[number] = 1
            if told["status"] == "accepted":  # a lost `claimed` leaves no time, not a wrong one
                self._time(hops.CLAIMED, number, at)
        if told["sent_at"]:
            self._time(hops.SENT, number, self._seconds(told["sent_at"]))
        if told["status"] in BY_VENUE and told["venue_order_id"]:
            self._time(hops.VENUE, number, at)
        if told["final"]:
            self._time(hops.FINAL, number, at)
            self._time(hops.HEARD, number, heard)
        self._advance(number, told)

    def row(self, told: Mapping[str, Any], heard: float) -> None:
        """One order as GET /v1/orders shows it: without `claimed`, which it does not tell."""
        number = self.number(told["idempotency_key"])
        if number is None or not told["version"]:
            return
        self._identify(number, told["order_id"])
        self.claimed[number] = 1
        if told["sent_at"]:
            self._time(hops.SENT, number, self._seconds(told["sent_at"]))
        if told["final"]:
            self._time(hops.FINAL, number, self._seconds(told["updated_at"]))
            self._time(hops.HEARD, number, heard)
        self._advance(number, told)

    def booked(self, number: int, at: str) -> None:
        """The last of the order's journals stands; `at` is the ledger's own word."""
        self._time(hops.BOOKED, number, self._seconds(at))

    def read_back(self, number: int, at: float) -> None:
        """A consumer has read the order's record."""
        self.claimed[number] = 1
        self._time(hops.READ_BACK, number, at)

    def _advance(self, number: int, told: Mapping[str, Any]) -> None:
        """Snapshots come again and out of order: only a newer one moves the status."""
        if told["version"] < self.version[number]:
            return
        before = self.status[number]
        self.version[number] = told["version"]
        self.status[number] = told["status"]
        if told["reason"] and told["status"] != before and told["status"] not in ("open", "filled"):
            self.reasons[f"{told['status']}: {told['reason']['code']}"] += 1

    def _identify(self, number: int, order_id: str) -> None:
        known = self.ids[number]
        if known is None:
            self.ids[number] = order_id
        elif known != order_id:
            self.doubled += 1

    def _seconds(self, moment: str) -> float:
        return datetime.fromisoformat(moment).timestamp() - self.started_at

    def _time(self, hop: str, number: int, at: float) -> None:
        """The first time counts. A hop before its order's moment means clocks that disagree."""
        times = self.times[hop]
        if not math.isnan(times[number]):
            return
        took = at - self.intended[number]
        if took < 0:
            self.clock_trouble += 1
            took = 0.0
        times[number] = at
        self.latencies[hop].record(took)
        if hop == hops.ACCEPT:
            self.recent.append(took)

    # where it stands

    def ended(self, number: int) -> bool:
        """Whether nothing more is to come: a final status, or no placement at all."""
        match self.outcome[number]:
            case Outcome.ACKED:
                return self._has_end(number)
            case Outcome.UNANSWERED:
                return not self.claimed[number] or self._has_end(number)
            case Outcome.SENT | Outcome.SCHEDULED:
                return False
            case _:
                return True

    def _has_end(self, number: int) -> bool:
        return self.status[number] in FINAL if self.whole_line else bool(self.claimed[number])

    def oldest_unfinished(self) -> int | None:
        """The first order that has started and has no end; None when there is none."""
        while self._done < len(self) and self.ended(self._done):
            self._done += 1
        for number in range(self._done, len(self)):
            if self.outcome[number] != Outcome.SCHEDULED and not self.ended(number):
                return number
        return None

    def unfinished(self, below: int | None = None) -> int:
        """How many orders have started and have no end yet; `below`: the first that has not
        started."""
        self.oldest_unfinished()
        last = len(self) if below is None else below
        return sum(
            self.outcome[number] != Outcome.SCHEDULED and not self.ended(number)
            for number in range(self._done, last)
        )
