"""Model 2: the same line as model 1 with time in ticks: venue clock, database clock, measured
offset, look-up lag, deadline.

Everything is kept relative to the venue's clock V, so that the state space is finite: an attempt's
`age` is V minus signed_at, `expires` is expires_at minus V, `database` the database's clock minus
V, `stamp` what signed_at would be now minus V (the database's clock corrected by the measured
offset). One clock may step once by STEP, either way. Workers freeze freely: a tick may pass between
any two steps of theirs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.engine import drop, put
from tests.model.words import (
    CLAIMED,
    LAPSED,
    NOT_PLACED,
    OPEN,
    SENDING,
    TWO_CREATES,
    UNKNOWN,
)

LAG = 1  # ticks of real time for which a placed order may stay invisible to look-ups
STEP = 2  # ticks by which a clock may step
WINDOW = 2

IDLE = "idle"
HAS_WON = "won"
ON_WIRE = "wire"
RESOLVING = "resolving"

MIGHT_BE_LIVE = (SENDING, UNKNOWN)
FINAL_WITHOUT_ORDER = (NOT_PLACED, LAPSED)
SETTLED = (OPEN, NOT_PLACED, LAPSED)


class Worker(NamedTuple):
    at: str
    attempt: int
    fresh: int
    step: int
    waited: int  # ticks on the resolver's own monotonic clock


class Attempt(NamedTuple):
    """As stored by the CAS."""

    age: int
    window: int


class Request(NamedTuple):
    attempt: int
    own_age: int | None  # stamped when sent (the variant that R5 forbids): since then


class Order(NamedTuple):
    attempt: int
    invisible: int  # ticks until look-ups show it


class State(NamedTuple):
    row: str
    attempt: int
    attempts: tuple[Attempt, ...]
    expires: int | None
    stamp: int
    database: int
    steps_left: int
    workers: tuple[Worker, ...]
    wire: tuple[Request, ...]
    venue: tuple[Order, ...]
    losses: int
    oops: str


Step = tuple[str, State]
NOBODY = Worker(IDLE, 0, 1, 0, 0)


@dataclass(slots=True)
class Clocks:
    resend: bool = False  # policy H
    program: str = "LTLT"  # L look-up, T venue time past window + bound, M wait LAG ticks
    bound: int = LAG + STEP  # ticks beyond signed_at + window
    steps_of: str = "vd"  # whose clock may step: v the venue's, d the database's
    floor: bool = (
        True  # R4: expires_at >= signed_at + smallest window; else on the database's clock
    )
    both: bool = True  # R4: floor and window ask the database's clock too, whichever is ahead
    late_on: str = "v"  # whose clock says that something was placed late: v, or d as well
    stamp: str = "cas"  # when the request is stamped: cas | send
    least: bool = True  # the window is cut at the deadline
    deadline: int | None = 2
    attempts: int = 2
    measured_on: str = "venue"  # the clock that tells the resolver that a window is over
    venue_default: bool = True  # the venue reads a window <= 0 as its default
    window_enforced: bool = True
    skew: int = 0  # the database's clock, at the start, minus the venue's

    def init(self) -> State:
        steps = int(bool(self.steps_of))
        workers = (NOBODY, NOBODY)
        return State(
            CLAIMED, 0, (), self.deadline, 0, self.skew, steps, workers, (), (), losses=1, oops=""
        )

    def canon(self, s: State) -> State:
        first, second = s.workers
        return s if first <= second else s._replace(workers=(second, first))

    def broken(self, s: State) -> str | None:
        if s.oops:
            return s.oops
        if len(s.venue) > 1:
            return TWO_CREATES
        if s.venue and s.row in FINAL_WITHOUT_ORDER:
            return f"row {s.row} while the venue has the order"
        return None

    def settled(self, s: State) -> bool:
        return s.row in SETTLED

    def steps(self, s: State) -> Iterator[Step]:
        yield "tick", self._shift(s, venue=1, database=1, real=1)
        if s.steps_left:
            yield from self._clock_steps(s)
        if s.stamp:
            yield "offset measured", s._replace(stamp=0)
        for _ in s.venue:
            if s.row in MIGHT_BE_LIVE:
                yield "stream says OPEN", _write(s, None, OPEN)
        for place, request in enumerate(s.wire):
            yield from self._at_venue(s, place, request)
        for i, worker in enumerate(s.workers):
            if worker.at == IDLE:
                yield from self._take_up(s, i)
            elif worker.at == HAS_WON:
                yield self._send(s, i, worker)
            elif worker.at == ON_WIRE:
                if s.losses:
                    yield f"!w{i} hears nothing", _move(s, i, NOBODY)._replace(losses=s.losses - 1)
            else:
                yield from self._resolve(s, i, worker)

    def _clock_steps(self, s: State) -> Iterator[Step]:
        for way, ticks in (("forward", STEP), ("back", -STEP)):
            if "v" in self.steps_of:
                stepped = self._shift(s, venue=ticks, database=0, real=0)
                yield f"!venue clock steps {way}", stepped._replace(steps_left=0)
            if "d" in self.steps_of:
                stepped = self._shift(s, venue=0, database=ticks, real=0)
                yield f"!database clock steps {way}", stepped._replace(steps_left=0)

    def _shift(self, s: State, venue: int, database: int, real: int) -> State:
        """The venue's clock advances by `venue`, the database's by `database`, real time by `real`.
        Ages beyond which nothing can change any more are cut off: the state space stays finite."""
        oldest, lowest = WINDOW + self.bound + STEP + 1, -2 * STEP - 2
        oldest_own = WINDOW + STEP + 1
        return s._replace(
            attempts=tuple([Attempt(min(age + venue, oldest), w) for age, w in s.attempts]),
            expires=None if s.expires is None else max(s.expires - venue, lowest),
            stamp=s.stamp + database - venue,
            database=s.database + database - venue,
            venue=tuple([Order(a, max(left - real, 0)) for a, left in s.venue]),
            wire=tuple(
                [
                    Request(a, None if own is None else min(own + venue, oldest_own))
                    for a, own in s.wire
                ]
            ),
            workers=tuple(
                [
                    w if w.at != RESOLVING else w._replace(waited=min(w.waited + real, LAG))
                    for w in s.workers
                ]
            ),
        )

    def _take_up(self, s: State, i: int) -> Iterator[Step]:
        if s.row == CLAIMED:
            if self._may_send(s) and s.attempt < self.attempts:
                yield self._compare_and_set(s, i)
            else:
                yield f"w{i} LAPSED", _write(s, i, LAPSED)
        if s.row in MIGHT_BE_LIVE:
            resolving = Worker(RESOLVING, s.attempt, 1, 0, 0)
            yield f"w{i} resolves {s.attempt}", _move(s, i, resolving)

    def _may_send(self, s: State) -> bool:
        if s.expires is None:
            return True
        return s.expires - self._latest(s) >= 1 if self.floor else s.expires > s.database

    def _latest(self, s: State) -> int:
        """The moment of the CAS on the clock that is ahead: nothing is late on either."""
        return max(s.stamp, s.database) if self.both else s.stamp

    def _compare_and_set(self, s: State, i: int) -> Step:
        left = WINDOW
        if s.expires is not None and self.least:
            left = min(WINDOW, s.expires - self._latest(s))
        attempt = s.attempt + 1
        won = _write(s, i, SENDING, Worker(HAS_WON, attempt, 1, 0, 0))
        won = won._replace(attempt=attempt, attempts=(*s.attempts, Attempt(-s.stamp, left)))
        return f"w{i} CAS SENDING {attempt} (window {left})", won

    def _send(self, s: State, i: int, worker: Worker) -> Step:
        request = Request(worker.attempt, 0 if self.stamp == "send" else None)
        wire = tuple(sorted((*s.wire, request), key=lambda waiting: waiting.attempt))
        sent = _move(s, i, Worker(ON_WIRE, worker.attempt, worker.fresh, 0, 0))
        return f"w{i} sends {worker.attempt}", sent._replace(wire=wire)

    def _at_venue(self, s: State, place: int, request: Request) -> Iterator[Step]:
        attempt = request.attempt
        age, window = s.attempts[attempt - 1]
        if request.own_age is not None:
            age = request.own_age
        if window <= 0 and self.venue_default:
            window = WINDOW
        rest = s._replace(wire=drop(s.wire, place))
        if (age < 0 or age > window) and self.window_enforced:
            yield f"venue: {attempt} stale or ahead", _answer(rest, attempt, CLAIMED)
            return
        late = s.expires is not None and (
            s.expires < 0 or ("d" in self.late_on and s.expires < s.database)
        )
        for lag in range(LAG + 1):
            placed = rest._replace(
                venue=(*s.venue, Order(attempt, lag)),
                oops="placed after its deadline" if late else "",
            )
            yield f"venue places {attempt} (visible in {lag})", _answer(placed, attempt, OPEN)

    def _resolve(self, s: State, i: int, worker: Worker) -> Iterator[Step]:
        if not worker.fresh:
            yield f"w{i} row moved on", _move(s, i, NOBODY)
        elif worker.step == len(self.program):
            if self.resend and s.attempt < self.attempts:
                yield f"w{i} absent: CLAIMED again", _write(s, i, CLAIMED)
            else:
                yield f"w{i} absent: NOT_PLACED", _write(s, i, NOT_PLACED)
        else:
            yield from self._resolver_step(s, i, worker)

    def _resolver_step(self, s: State, i: int, worker: Worker) -> Iterator[Step]:
        further = _move(s, i, worker._replace(step=worker.step + 1, waited=0))
        instruction = self.program[worker.step]
        if instruction == "L":
            if any(order.invisible == 0 for order in s.venue):
                yield f"w{i} look-up: found", _write(s, i, OPEN)
            else:
                yield f"w{i} look-up: not found", further
        elif instruction == "T":
            age, window = s.attempts[worker.attempt - 1]
            if self.measured_on == "database":
                age += s.database
            if age > window + self.bound:
                yield f"w{i} time: past", further
            else:
                yield f"w{i} time: not yet", _move(s, i, NOBODY)
        elif worker.waited >= LAG:
            yield f"w{i} has waited the bound on its own clock", further


def _write(s: State, writer: int | None, row: str, worker: Worker = NOBODY) -> State:
    workers = tuple(
        [Worker(at, attempt, 0, step, waited) for at, attempt, _, step, waited in s.workers]
    )
    return s._replace(row=row, workers=workers if writer is None else put(workers, writer, worker))


def _move(s: State, i: int, worker: Worker) -> State:
    return s._replace(workers=put(s.workers, i, worker))


def _answer(s: State, attempt: int, row: str) -> State:
    """The reply reaches whoever still waits for it, and is recorded if its CAS hits."""
    for i, worker in enumerate(s.workers):
        if worker.at == ON_WIRE and worker.attempt == attempt:
            return _write(s, i, row) if worker.fresh else _move(s, i, NOBODY)
    return s
