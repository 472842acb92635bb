"""PURE: when an account's new sends rest, and what lets them leave again (R12).

Theory of operation. Closed: all may leave. Creates in a row that the venue leaves unanswered, or
many UNKNOWN orders, open it: nothing new leaves for a pause. Then one order may leave, the probe;
an answer to it, a refusal too, closes, and silence opens for another pause. Three things keep a
pause harmless:

- a waiting order stays CLAIMED, and whether it may leave is asked by its CAS, as ever: a probe is
  an order that is due and was never sent, or left nothing behind; never one that is in doubt;
- a probe that ends without a word (canceled, lapsed, refused for the rate) gives its place back;
- cancels and look-ups do not come here, and the sweep ends waiting orders at their deadline.

It lives in one process's memory. Who dies forgets it; the next one begins closed, and learns by at
most as many orders in doubt. UNKNOWN orders that were open when the venue was last heard count no
more: absence may take minutes to prove, and the venue has answered since.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from orderonce_shared.domain.venue import (
    Acknowledged,
    DuplicateId,
    PlaceVerdict,
    Refused,
    RefusedUnprocessed,
    Silence,
    Unsent,
)

NEVER = float("inf")
AT_ONCE = float("-inf")


class Cause(StrEnum):
    FAILURES = "failures"
    UNKNOWNS = "unknowns"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """`failures` in a row or `unknowns` open ones open the breaker, for `pause_s` at a time."""

    failures: int
    unknowns: int
    pause_s: float


@dataclass(frozen=True, slots=True)
class Turn:
    """It has opened or closed: what the log says. Counts as they were."""

    event: str
    why: str
    failures: int
    unknowns: int


@dataclass(slots=True)
class Breaker:
    """One account's, in one process. `now` is monotonic, in seconds."""

    limits: BreakerLimits
    failures: int = 0  # creates in a row that were not answered
    unknowns: int = 0  # open UNKNOWN orders, when they were last counted
    forgiven: int | None = 0  # of them, open since before the venue was heard; None: count anew
    probe_at: float | None = None  # open: when the next probe may leave; None: closed
    probe: UUID | None = None  # the one that is out
    openings: dict[Cause, int] = field(default_factory=lambda: dict.fromkeys(Cause, 0))

    @property
    def is_open(self) -> bool:
        """Whether new sends rest. Still so while a probe is out."""
        return self.probe_at is not None

    def ready(self, now: float, asked: int) -> int:
        """How many of `asked` creates may leave at this moment."""
        if self.probe_at is None:
            return asked
        return min(asked, 1) if self.probe is None and now >= self.probe_at else 0

    def next_at(self) -> float:
        """When it is worth asking again; NEVER while a probe is out, whose end wakes the sender."""
        if self.probe_at is None:
            return AT_ONCE
        return self.probe_at if self.probe is None else NEVER

    def take(self, order_id: UUID) -> None:
        """An order that `ready` has counted goes to its CAS."""
        if self.probe_at is not None:
            assert self.probe is None, "one probe at a time"
            self.probe = order_id

    def give_back(self, order_id: UUID) -> None:
        """It has ended, heard or not, or never left."""
        if self.probe is not None and self.probe == order_id:
            self.probe = None

    def heard(self, order_id: UUID, verdict: PlaceVerdict, now: float) -> Turn | None:
        """What came of a create. While open only the probe's word counts: the others left before,
        and their silence says nothing new."""
        answered = _answered(verdict)
        if self.probe_at is None:
            if answered:
                self.failures = 0
            elif answered is False:
                self.failures += 1
                if self.failures >= self.limits.failures:
                    return self._open(Cause.FAILURES, now)
            return None
        if self.probe != order_id:
            return None
        self.probe = None
        if answered is False:
            self.failures += 1
            self.probe_at = now + self.limits.pause_s
        return self._close() if answered else None

    def counted(self, unknowns: int, now: float) -> Turn | None:
        """How many orders of the account are UNKNOWN by now."""
        self.unknowns = unknowns
        if self.probe_at is not None:
            return None
        self.forgiven = unknowns if self.forgiven is None else min(self.forgiven, unknowns)
        if unknowns - self.forgiven >= self.limits.unknowns:
            return self._open(Cause.UNKNOWNS, now)
        return None

    def forgive(self) -> None:
        """The UNKNOWNs of the next count say nothing about the venue."""
        self.forgiven = None

    def _open(self, why: Cause, now: float) -> Turn:
        self.probe_at = now + self.limits.pause_s
        self.openings[why] += 1
        return Turn("breaker-opened", why.value, self.failures, self.unknowns)

    def _close(self) -> Turn:
        told = Turn("breaker-closed", "probe", self.failures, self.unknowns)
        self.probe_at, self.failures, self.forgiven = None, 0, None
        return told


def _answered(verdict: PlaceVerdict) -> bool | None:
    """Whether the venue was heard; None where that is not the question: it asked for rest, which
    the lane's budget gives it, or the reason not to send was ours."""
    match verdict:
        case Acknowledged() | Refused() | DuplicateId():
            return True
        case Silence():
            return False
        case RefusedUnprocessed():
            return None
        case Unsent():
            return False if verdict.unreachable else None
        case _:
            assert_never(verdict)
