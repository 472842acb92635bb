"""Model 8: the breaker. Three orders of one account, and a venue that for a while leaves creates
unanswered.

One failure opens it here. Time is free: a pause is any delay. Absence is proven once the request
can no longer land (models 1 and 2 say how that is known); look-ups and cancels are always answered.
A venue that speaks again is an act of the world: no order may need it to come to its end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.engine import drop, put
from tests.model.words import (
    CANCELED,
    CLAIMED,
    LAPSED,
    NOT_PLACED,
    OPEN,
    SENDING,
    TWO_CREATES,
    UNKNOWN,
)

ORDERS = 3  # one opens it, one probes, one waits
NOBODY, LOST = -1, -2  # instead of the order that is the probe
WITHOUT_ORDER = (LAPSED, NOT_PLACED, CANCELED)


class Request(NamedTuple):
    order: int
    late: int  # its CAS was after its deadline, so its window does not end there


class State(NamedTuple):
    rows: tuple[str, ...]
    late: tuple[int, ...]  # the order's deadline has passed
    creates: tuple[int, ...]  # that the venue has executed
    wire: tuple[Request, ...]
    open: int  # the breaker
    probe: int
    mute: int  # the venue leaves creates unanswered
    silences: int  # budget
    crashes: int  # budget
    cancel: int  # of the first order: asked for, not yet, done
    oops: str


Step = tuple[str, State]
NOT_ASKED, ACCEPTED, DONE = range(3)


@dataclass(slots=True)
class Breaker:
    probes: bool = True  # while open, one order at a time may leave
    returned: bool = True  # a probe that is not sent after all gives its place back
    deadline: bool = True  # the CAS of a probe asks for the deadline
    doubted: bool = False  # the probe may be the order whose silence opened it
    taken_back: bool = False  # opening takes orders back that their CAS has let go
    holds_cancels: bool = False
    holds_look_ups: bool = False
    crashes: int = 0  # budget

    def init(self) -> State:
        claimed, none = (CLAIMED,) * ORDERS, (0,) * ORDERS
        return State(claimed, none, none, (), 0, NOBODY, 0, 1, self.crashes, NOT_ASKED, oops="")

    def canon(self, s: State) -> State:
        return s

    def broken(self, s: State) -> str | None:
        if s.oops:
            return s.oops
        for j in range(ORDERS):
            if s.creates[j] > 1:
                return TWO_CREATES
            live = s.creates[j] and not (j == 0 and s.cancel == DONE)
            if live and s.rows[j] in WITHOUT_ORDER:
                return f"row {s.rows[j]} while the venue has the order"
        return None

    def settled(self, s: State) -> bool:
        ended = all(row in (*WITHOUT_ORDER, OPEN) for row in s.rows)
        return ended and not (s.cancel == ACCEPTED and s.rows[0] == OPEN)

    def steps(self, s: State) -> Iterator[Step]:
        yield from self._world(s)
        if s.cancel == NOT_ASKED:
            yield from self._cancel(s)
        held = s.open and self.holds_cancels
        if s.cancel == ACCEPTED and s.rows[0] == OPEN and not held:
            yield "cancel of 1 at the venue", _row(s, 0, CANCELED)._replace(cancel=DONE)
        for j in range(ORDERS):
            yield from self._order(s, j)
        for place, request in enumerate(s.wire):
            yield from self._at_venue(s._replace(wire=drop(s.wire, place)), request)

    def _world(self, s: State) -> Iterator[Step]:
        if s.silences:
            yield "!venue falls silent", s._replace(mute=1, silences=s.silences - 1)
        if s.mute:
            yield "!venue speaks again", s._replace(mute=0)
        for j in range(ORDERS):
            if not s.late[j]:
                yield f"!deadline of {j + 1} passes", s._replace(late=put(s.late, j, 1))
        if s.crashes:
            rows = tuple(UNKNOWN if row == SENDING else row for row in s.rows)
            forgot = s._replace(rows=rows, open=0, probe=NOBODY, crashes=s.crashes - 1)
            yield "!crash: the next process begins closed", forgot

    def _cancel(self, s: State) -> Iterator[Step]:
        if s.rows[0] == CLAIMED:
            yield "1 CANCELED unsent", _row(s, 0, CANCELED)._replace(cancel=DONE)
        elif s.rows[0] not in WITHOUT_ORDER:
            yield "cancel of 1 accepted", s._replace(cancel=ACCEPTED)

    def _order(self, s: State, j: int) -> Iterator[Step]:
        row, name = s.rows[j], f"{j + 1}"
        may_leave = not s.open or (self.probes and s.probe == NOBODY)
        if may_leave and (row == CLAIMED or (row == UNKNOWN and self.doubted and s.open)):
            yield self._compare_and_set(s, j)
        if row == CLAIMED and s.late[j]:
            yield f"sweep: {name} LAPSED", _row(s, j, LAPSED)
        gone = all(request.order != j for request in s.wire)
        if row == SENDING and (s.mute or gone):
            yield f"{name} times out", self._silent(s, j)
        if row == UNKNOWN and not (s.open and self.holds_look_ups):
            if s.creates[j]:
                yield f"look-up: {name} found", _row(s, j, OPEN)
            elif gone:
                yield f"look-up: {name} absent, NOT_PLACED", _row(s, j, NOT_PLACED)

    def _compare_and_set(self, s: State, j: int) -> Step:
        if s.late[j] and (self.deadline or not s.open):
            lost = s.open and not self.returned
            barred = _row(s, j, LAPSED)._replace(probe=LOST if lost else s.probe)
            return f"CAS of {j + 1}: LAPSED", barred
        request = Request(j, s.late[j])
        sent = _row(s, j, SENDING)._replace(wire=tuple(sorted((*s.wire, request))))
        probe = f"probe {j + 1} leaves" if s.open else f"{j + 1} leaves"
        return probe, sent._replace(probe=j if s.open else s.probe)

    def _silent(self, s: State, j: int) -> State:
        doubt = _row(s, j, UNKNOWN)
        if s.open:
            return doubt._replace(probe=NOBODY if s.probe == j else s.probe)
        rows = doubt.rows
        if self.taken_back:
            rows = tuple(CLAIMED if row == SENDING else row for row in rows)
        return doubt._replace(rows=rows, open=1, probe=NOBODY)

    def _at_venue(self, rest: State, request: Request) -> Iterator[Step]:
        """`rest` is the state without the request."""
        j, name = request.order, f"{request.order + 1}"
        if rest.late[j] and not request.late:
            refused = rest if rest.mute else self._hears(rest, j, CLAIMED)
            yield f"venue: {name} stale", refused
            return
        oops = "placed after its deadline" if request.late else ""
        placed = rest._replace(creates=put(rest.creates, j, rest.creates[j] + 1), oops=oops)
        if rest.mute:
            yield f"venue places {name}, says nothing", placed
            yield f"venue drops {name}", rest
        else:
            yield f"venue places {name}", self._hears(placed, j, OPEN)

    def _hears(self, s: State, j: int, row: str) -> State:
        """The venue's answer. "Stale" is none that closes: it only gives the probe's place back."""
        if s.rows[j] != SENDING:
            return s  # nobody waits for it any more
        told = _row(s, j, row)
        if s.open and s.probe == j:
            told = told._replace(probe=NOBODY, open=1 if row == CLAIMED else 0)
        return told


def _row(s: State, j: int, row: str) -> State:
    return s._replace(rows=put(s.rows, j, row))
