"""Model 1: races of place and resolve, over one claimed row and two executors that may crash or
freeze anywhere.

Time is coarse here: an attempt is in one of the phases of words.py (model 2, clocks.py, says when a
clock may tell so). Fields of `Place` are the rules of the protocol; a variant takes one away and
must then fail.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.engine import drop, put
from tests.model.words import (
    BOUND_PASSED,
    CLAIMED,
    DONE,
    FILLED,
    LAPSED,
    LIVE,
    NOT_PLACED,
    OPEN,
    REJECTED,
    SENDING,
    TWO_CREATES,
    UNKNOWN,
    WINDOW_CLOSED,
    WINDOW_OPEN,
)

# Where a worker stands. A process that dies forgets everything and is idle again.
IDLE = "idle"
HAS_READ = "read"  # it has read CLAIMED
HAS_WON = "won"  # its CAS is done, no byte has left
ON_WIRE = "wire"
HAS_WORD = "word"  # the venue's reply, or none, is in its hands
RESOLVING = "resolving"

MIGHT_BE_LIVE = (SENDING, UNKNOWN)
FINAL_WITHOUT_ORDER = (NOT_PLACED, LAPSED, REJECTED)
SETTLED = (OPEN, FILLED, NOT_PLACED, LAPSED, REJECTED)


class Worker(NamedTuple):
    at: str
    attempt: int
    fresh: int  # 1 while the row's version is still the one that it read
    step: int  # of the resolver's program
    word: str


class Request(NamedTuple):
    attempt: int
    own_stamp: bool  # stamped when sent: its window is never over (the variant that R5 forbids)


class Order(NamedTuple):
    """A create that the venue has executed."""

    attempt: int
    status: str
    visible: int


class Evidence(NamedTuple):
    """What a worker heard whose CAS had missed, kept for the resolver."""

    attempt: int
    word: str


class State(NamedTuple):
    row: str
    attempt: int
    phases: tuple[int, ...]
    workers: tuple[Worker, ...]
    wire: tuple[Request, ...]
    venue: tuple[Order, ...]
    evidence: tuple[Evidence, ...]
    late: int  # the deadline has passed
    crashes: int
    losses: int
    busy: int
    rejections: int
    errors: int
    oops: str


Step = tuple[str, State]
NOBODY = Worker(IDLE, 0, 1, 0, "")


@dataclass(slots=True)
class Place:
    resend: bool = False  # policy H: CLAIMED again once absence is proven; else G: NOT_PLACED
    program: str = "LTLT"  # of the resolver: L look-up, T read the venue's time
    cas: str = "version"  # what the CAS compares: version | state | none
    stamp: str = "cas"  # when the request is stamped: cas | send
    bound: bool = True  # absence waits for the bound on late visibility, not only for the window
    keyed: bool = True  # evidence counts for its own attempt only
    keep: bool = True  # the evidence of a worker whose CAS missed is kept
    merge: bool = True  # an older word about the order changes nothing
    duplicate_is_rejected: bool = False
    error_is_refusal: bool = False
    library_resends: bool = False
    attempts: int = 2
    # Budgets of faults.
    crashes: int = 1
    losses: int = 1
    busy: int = 1
    rejections: int = 1
    errors: int = 1

    def init(self) -> State:
        phases, budgets = (0,) * self.attempts, (self.crashes, self.losses, self.busy)
        tail = (*budgets, self.rejections, self.errors)
        return State(CLAIMED, 0, phases, (NOBODY, NOBODY), (), (), (), 0, *tail, oops="")

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
        yield from self._time_passes(s)
        for place, order in enumerate(s.venue):
            yield from _order_lives(s, place, order)
        for place, request in enumerate(s.wire):
            yield from self._at_venue(s, place, request)
        for place, kept in enumerate(s.evidence):
            yield self._apply(s._replace(evidence=drop(s.evidence, place)), kept)
        for i, worker in enumerate(s.workers):
            if worker.at == IDLE:
                yield from self._take_up(s, i)
            else:
                yield from self._go_on(s, i, worker)

    def _time_passes(self, s: State) -> Iterator[Step]:
        for k, phase in enumerate(s.phases):
            if phase == WINDOW_OPEN:
                closed = put(s.phases, k, WINDOW_CLOSED)
                yield f"window of attempt {k + 1} closes", s._replace(phases=closed)
            if phase == WINDOW_CLOSED:
                shown = tuple(Order(a, o, 1 if a == k + 1 else v) for a, o, v in s.venue)
                passed = put(s.phases, k, BOUND_PASSED)
                yield (
                    f"bound of attempt {k + 1} passes",
                    s._replace(phases=passed, venue=shown),
                )
        if not s.late:
            # window <= expires_at - signed_at: whatever is on the wire is too late with its
            # deadline
            closed = tuple(max(phase, WINDOW_CLOSED) if phase else 0 for phase in s.phases)
            yield "!deadline passes", s._replace(late=1, phases=closed)

    def _take_up(self, s: State, i: int) -> Iterator[Step]:
        """Any idle worker may take up any row at any time: safety rests on no lease and no lock of
        a session."""
        if s.row == CLAIMED:
            if s.late or s.attempt == self.attempts:
                yield f"w{i} LAPSED", _write(s, i, LAPSED)
            else:
                yield f"w{i} reads CLAIMED", _move(s, i, Worker(HAS_READ, 0, 1, 0, ""))
        if s.row == SENDING:
            yield f"w{i}: time is up, UNKNOWN", _write(s, i, UNKNOWN)
        if s.row in MIGHT_BE_LIVE:
            resolving = Worker(RESOLVING, s.attempt, 1, 0, "")
            yield f"w{i} resolves attempt {s.attempt}", _move(s, i, resolving)

    def _go_on(self, s: State, i: int, worker: Worker) -> Iterator[Step]:
        if s.crashes:
            yield f"!w{i} crashes", _move(s, i, NOBODY)._replace(crashes=s.crashes - 1)
        if worker.at == HAS_READ:
            yield self._compare_and_set(s, i)
        elif worker.at == HAS_WON:
            yield from self._send(s, i, worker)
        elif worker.at == ON_WIRE:
            if s.losses:
                silent = _move(s, i, _hears(worker, "none"))
                yield f"!w{i} times out", silent._replace(losses=s.losses - 1)
        elif worker.at == HAS_WORD:
            yield self._record(s, i, worker)
        elif worker.at == RESOLVING:
            yield from self._resolve(s, i, worker)

    def _hits(self, s: State, i: int, states: tuple[str, ...]) -> bool:
        """Whether the worker's CAS finds what it compares."""
        return bool(s.workers[i].fresh) if self.cas == "version" else s.row in states

    def _compare_and_set(self, s: State, i: int) -> Step:
        hits = self.cas == "none" or (self._hits(s, i, (CLAIMED,)) and s.row == CLAIMED)
        if not hits or s.late or s.attempt >= self.attempts:
            return f"w{i} CAS misses", _move(s, i, NOBODY)
        attempt, phases = s.attempt + 1, put(s.phases, s.attempt, WINDOW_OPEN)
        winner = Worker(HAS_WON, attempt, 1, 0, "")
        after = _write(s, i, SENDING, winner)._replace(attempt=attempt, phases=phases)
        return f"w{i} CAS SENDING {attempt}", after

    def _send(self, s: State, i: int, worker: Worker) -> Iterator[Step]:
        request = Request(worker.attempt, self.stamp == "send")
        sent = _move(s, i, Worker(ON_WIRE, worker.attempt, worker.fresh, 0, ""))
        wire = tuple(sorted((*s.wire, request)))
        yield f"w{i} sends {worker.attempt}", sent._replace(wire=wire)
        if s.phases[worker.attempt - 1] > WINDOW_OPEN:
            yield f"w{i} aborts unsent", _move(s, i, _hears(worker, "retry"))

    def _at_venue(self, s: State, place: int, request: Request) -> Iterator[Step]:
        """What the venue may do with one request that reaches it."""
        attempt = request.attempt
        rest = s._replace(wire=drop(s.wire, place))
        if not request.own_stamp and s.phases[attempt - 1] != WINDOW_OPEN:
            yield f"venue: {attempt} stale", _answer(rest, attempt, "retry")
            return
        if s.busy:
            refused = rest._replace(busy=s.busy - 1)
            yield f"!venue: {attempt} 429", _answer(refused, attempt, "retry")
        if s.rejections:
            refused = rest._replace(rejections=s.rejections - 1)
            yield f"!venue: {attempt} rejected", _answer(refused, attempt, "rej")
        if s.errors:
            failed = rest._replace(errors=s.errors - 1)
            yield f"!venue: {attempt} 5xx, not placed", _answer(failed, attempt, "5xx")
        if any(order.status == LIVE for order in s.venue):
            yield f"venue: {attempt} duplicate id", _answer(rest, attempt, "dup")
            return
        for status in (LIVE, DONE):  # a filled order has given its client id free
            yield from self._executes(s, rest, attempt, status)

    def _executes(self, s: State, rest: State, attempt: int, status: str) -> Iterator[Step]:
        venue = (*s.venue, Order(attempt, status, 0))
        if self.library_resends and s.losses:
            again = s._replace(losses=0, venue=venue)
            label = f"!venue places {attempt} ({status}), connection cut, library sends it again"
            yield label, again
        placed = rest._replace(venue=venue)
        yield f"venue places {attempt} ({status})", _answer(placed, attempt, "ok")
        if s.errors:
            failed = placed._replace(errors=s.errors - 1)
            yield f"!venue places {attempt} ({status}), says 5xx", _answer(failed, attempt, "5xx")

    def _record(self, s: State, i: int, worker: Worker) -> Step:
        word, attempt = worker.word, worker.attempt
        if word == "dup" and self.duplicate_is_rejected:
            word = "rej"
        if word == "5xx" and self.error_is_refusal:
            word = "retry"
        if self._hits(s, i, (SENDING,)):
            row = {"ok": OPEN, "retry": CLAIMED, "rej": REJECTED}.get(word, UNKNOWN)
            return f"w{i} records {word} of {attempt}: {row}", _write(s, i, row)
        idle = _move(s, i, NOBODY)
        if word in ("ok", "retry", "rej") and self.keep:
            kept = tuple(sorted((*s.evidence, Evidence(attempt, word))))
            label = f"w{i} misses, evidence {word} of {attempt} kept"
            return label, idle._replace(evidence=kept)
        return f"w{i} misses, word {word} of {attempt} dropped", idle

    def _apply(self, s: State, kept: Evidence) -> Step:
        """The resolver applies evidence: an OK is never thrown away, a refusal ends only its own
        attempt."""
        label = f"evidence {kept.word} of {kept.attempt} applied"
        if kept.word == "ok":
            if s.row in (OPEN, FILLED) and self.merge:
                return label + ": older word", s
            return label, _write(s, None, OPEN)
        if s.row in MIGHT_BE_LIVE and (kept.attempt == s.attempt or not self.keyed):
            return label, _write(s, None, {"retry": CLAIMED, "rej": REJECTED}[kept.word])
        return label + ": nothing to change", s

    def _resolve(self, s: State, i: int, worker: Worker) -> Iterator[Step]:
        """One step of R7's program. At its end the order is absent."""
        idle = _move(s, i, NOBODY)
        further = _move(s, i, worker._replace(step=worker.step + 1))
        hits = self._hits(s, i, MIGHT_BE_LIVE) and s.row in MIGHT_BE_LIVE
        if worker.step == len(self.program):
            if not hits:
                yield f"w{i} resolver's CAS misses", idle
            elif self.resend and s.attempt < self.attempts and not s.late:
                yield f"w{i} absent: CLAIMED again", _write(s, i, CLAIMED)
            else:
                yield f"w{i} absent: NOT_PLACED", _write(s, i, NOT_PLACED)
        elif self.program[worker.step] == "L":
            seen = [order.status for order in s.venue if order.visible]
            if not seen:
                yield f"w{i} look-up: not found", further
            elif hits:
                yield f"w{i} look-up: found", _write(s, i, FILLED if DONE in seen else OPEN)
            else:
                yield f"w{i} found, row moved on", idle
        elif s.phases[worker.attempt - 1] >= (BOUND_PASSED if self.bound else WINDOW_CLOSED):
            yield f"w{i} venue time: past", further
        else:
            yield f"w{i} venue time: not yet", idle


def _order_lives(s: State, place: int, order: Order) -> Iterator[Step]:
    if not order.visible:
        shown = put(s.venue, place, order._replace(visible=1))
        yield "order becomes visible", s._replace(venue=shown)
    if order.status == LIVE:
        filled = put(s.venue, place, order._replace(status=DONE))
        yield "!order fills", s._replace(venue=filled)
    said = OPEN if order.status == LIVE else FILLED
    if s.row not in (FILLED, said):
        yield f"stream says {said}", _write(s, None, said)


def _write(s: State, writer: int | None, row: str, worker: Worker = NOBODY) -> State:
    """A change of the row: the version that everybody else has read is old now."""
    workers = tuple(
        [Worker(at, attempt, 0, step, word) for at, attempt, _, step, word in s.workers]
    )
    if writer is not None:
        workers = put(workers, writer, worker)
    if s.row == FILLED and row != FILLED:
        return s._replace(row=row, workers=workers, oops="a FILLED row went back to " + row)
    return s._replace(row=row, workers=workers)


def _move(s: State, i: int, worker: Worker) -> State:
    return s._replace(workers=put(s.workers, i, worker))


def _hears(worker: Worker, word: str) -> Worker:
    return Worker(HAS_WORD, worker.attempt, worker.fresh, 0, word)


def _answer(s: State, attempt: int, word: str) -> State:
    """The reply reaches whoever still waits for it."""
    for i, worker in enumerate(s.workers):
        if worker.at == ON_WIRE and worker.attempt == attempt:
            return _move(s, i, _hears(worker, word))
    return s
