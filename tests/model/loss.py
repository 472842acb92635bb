"""Model 4: a database that forgets. One (client, key), one venue client id, and one fail-over to a
standby that lags.

Kafka keeps everything. What the databases hold (`db`: the key's order id, whether its outbox row is
closed, the placement, the consumer's position) goes back to the standby's copy; what is on the
wire, at the venue and in the heads of frozen workers does not. Attempts are told apart for ever
here, while the row's own numbers repeat after a restore.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.model.engine import drop, put
from tests.model.words import (
    BOUND_PASSED,
    CANCELED,
    CLAIMED,
    DONE,
    FILLED,
    LAPSED,
    LIVE,
    NOT_PLACED,
    OPEN,
    SENDING,
    TWO_CREATES,
    UNKNOWN,
    WINDOW_CLOSED,
    WINDOW_OPEN,
)

IDLE = "idle"
HAS_READ = "read"
HAS_WON = "won"
ON_WIRE = "wire"
HAS_WORD = "word"
FOUND_ABSENT = "absent"

MIGHT_BE_LIVE = (SENDING, UNKNOWN)
ON_ITS_WAY = (SENDING, UNKNOWN, OPEN)
UNSETTLED = (CLAIMED, SENDING, UNKNOWN)
FINAL_WITHOUT_ORDER = (NOT_PLACED, LAPSED, CANCELED)
SETTLED = (OPEN, FILLED, NOT_PLACED, LAPSED, CANCELED)

CANCEL_RECORD = "x"


class Row(NamedTuple):
    """The placement. `number` and `version` repeat after a restore; `cleared` is the timeline in
    which it may be sent."""

    order: int
    state: str
    number: int
    version: int
    signed: int  # the attempt whose signed_at is stored
    cleared: int
    mark: int


class Worker(NamedTuple):
    at: str
    version: int
    timeline: int
    number: int
    attempt: int
    word: str


class Attempt(NamedTuple):
    phase: int
    timeline: int


class Order(NamedTuple):
    attempt: int
    status: str
    visible: int


class Snapshot(NamedTuple):
    """What the standby has."""

    key: int
    done: int
    row: Row | None
    position: int


class State(NamedTuple):
    key: int
    done: int
    row: Row | None
    position: int
    standby: Snapshot | None
    timeline: int
    switched: int
    log: tuple[int | str, ...]
    accepted: tuple[int, ...]  # timeline of each acceptance
    posts: int
    cancels: int
    attempts: tuple[Attempt, ...]
    workers: tuple[Worker, ...]
    wire: tuple[int, ...]
    venue: tuple[Order, ...]
    bound_passed: int  # the longest window and bound have passed since the switch
    late: int
    told: int  # a final "not live" was told
    crashes: int
    losses: int
    busy: int
    oops: str


Step = tuple[str, State]
NOBODY = Worker(IDLE, 0, 0, 0, 0, "")


@dataclass(slots=True)
class Loss:
    scope: str = (
        "accepted"  # what is looked up first: accepted before the switch | none | every row
    )
    rewind: bool = True  # the consumer's position is stored with the claims and goes back with them
    wait: bool = True  # absence waits for window and bound since the switch
    in_cas: bool = True  # the CAS asks whether the row is cleared
    token: str = "timeline"  # what a CAS compares beside the version: timeline | version alone
    after: str = "end"  # a restored row that is absent: end | send
    bypass: bool = False  # LAPSED and CANCELED straight from a restored row
    evidence: str = "sig"  # a zombie's refusal counts for the attempt that is stored: sig | number
    forget: str = "both"  # whose database forgets: both | api | executor
    promise: bool = False  # what was accepted and forgotten before Kafka had it must exist too
    attempts: int = 2
    crashes: int = 0
    losses: int = 0
    busy: int = 1
    cancels: int = 1
    posts: int = 2

    def init(self) -> State:
        return State(
            key=0,
            done=0,
            row=None,
            position=0,
            standby=Snapshot(0, 0, None, 0),
            timeline=0,
            switched=0,
            log=(),
            accepted=(),
            posts=self.posts,
            cancels=self.cancels,
            attempts=(),
            workers=(NOBODY, NOBODY),
            wire=(),
            venue=(),
            bound_passed=0,
            late=0,
            told=0,
            crashes=self.crashes,
            losses=self.losses,
            busy=self.busy,
            oops="",
        )

    def canon(self, s: State) -> State:
        first, second = s.workers
        return s if first <= second else s._replace(workers=(second, first))

    def broken(self, s: State) -> str | None:
        if s.oops:
            return s.oops
        if len(s.venue) > 1:
            return TWO_CREATES
        if s.venue and s.row and s.row.state in FINAL_WITHOUT_ORDER:
            return f"row {s.row.state} while the venue has the order"
        return None

    def settled(self, s: State) -> bool:
        if s.row is None:
            # nothing was accepted; or it was forgotten before it was published, which R1 declares
            return not s.log and not s.key and not (self.promise and s.accepted)
        return bool(s.row.state in SETTLED and (not s.key or s.done))

    def steps(self, s: State) -> Iterator[Step]:
        yield from self._bot_and_outbox(s)
        if not s.switched:
            yield from self._fail_over(s)
        yield from _time_passes(s)
        for place, order in enumerate(s.venue):
            yield from _order_lives(s, place, order)
        for place, attempt in enumerate(s.wire):
            yield from self._at_venue(s, place, attempt)
        if s.position < len(s.log):
            yield self._consume(s, s.log[s.position])
        yield from self._end_unsent(s)
        for i, worker in enumerate(s.workers):
            if worker.at == IDLE:
                yield from self._take_up(s, i)
            else:
                yield from self._go_on(s, i, worker)

    def _bot_and_outbox(self, s: State) -> Iterator[Step]:
        if s.posts and not s.key:
            label = "!bot retries the same key: new order id" if s.accepted else "bot posts"
            accepted = (*s.accepted, s.timeline)
            yield (
                label,
                s._replace(key=len(accepted), done=0, accepted=accepted, posts=s.posts - 1),
            )
        unread = s.log[s.position :]
        if s.key and not s.done and s.key not in unread and s.log.count(s.key) < 2:
            yield f"order {s.key} published", s._replace(log=(*s.log, s.key))
        if s.cancels and s.log and s.key:
            yield "!bot cancels", s._replace(cancels=0, log=(*s.log, CANCEL_RECORD))
        if s.key and s.row and not s.done:
            yield "claimed event closes the outbox", s._replace(done=1)

    def _fail_over(self, s: State) -> Iterator[Step]:
        """Once. Before it the standby may catch up at any moment; at it, what the standby lacks is
        forgotten."""
        now = Snapshot(s.key, s.done, s.row, s.position)
        if now != s.standby:
            yield "!standby catches up", s._replace(standby=now)
        assert s.standby is not None
        key, done, row, position = s.standby
        after = s._replace(switched=1, standby=None)
        if self.forget != "executor":
            after = after._replace(key=key, done=done)
        if self.forget != "api":
            back = position if self.rewind else s.position
            after = after._replace(row=row, position=back, timeline=1)
        yield f"!fail-over to the standby ({self.forget})", after

    def _consume(self, s: State, record: int | str) -> Step:
        read, row = s._replace(position=s.position + 1), s.row
        if record == CANCEL_RECORD:
            return self._consume_cancel(s, read)
        if row:
            return f"order {record} read: answered with the row that is there", read
        assert isinstance(record, int)
        cleared = {"none": s.timeline, "accepted": s.accepted[record - 1]}.get(self.scope, 0)
        first = ", to be looked up first" if cleared != s.timeline else ""
        claimed = read._replace(row=Row(record, CLAIMED, 0, 1, 0, cleared, 0))
        return f"order {record} read: claimed{first}", claimed

    def _consume_cancel(self, s: State, read: State) -> Step:
        row = s.row
        if row is None:
            made = Row(0, CANCELED, 0, 1, 0, s.timeline, 1)
            return "cancel read, no row: CANCELED unsent", read._replace(row=made, told=1)
        if row.state == CLAIMED and (row.cleared == s.timeline or self.bypass):
            return "cancel read, CLAIMED: CANCELED unsent", _write(read, row, None, CANCELED)
        if row.state in (CLAIMED, *ON_ITS_WAY):
            marked = row._replace(mark=1, version=row.version + 1)
            return "cancel read: mark", read._replace(row=marked)
        return "cancel read: too late", read

    def _end_unsent(self, s: State) -> Iterator[Step]:
        row = s.row
        if row is None or row.state != CLAIMED:
            return
        if row.cleared == s.timeline or self.bypass:
            if row.mark:
                yield "CLAIMED with the mark: CANCELED", _write(s, row, None, CANCELED)
            if s.late or len(s.attempts) == self.attempts:
                yield "LAPSED", _write(s, row, None, LAPSED)

    def _take_up(self, s: State, i: int) -> Iterator[Step]:
        row = s.row
        if row is None:
            return
        cleared = row.cleared == s.timeline
        if row.state == CLAIMED and cleared and not row.mark and self._may_send(s):
            reading = Worker(HAS_READ, row.version, s.timeline, 0, 0, "")
            yield f"w{i} reads CLAIMED", _move(s, i, reading)
        if row.state in MIGHT_BE_LIVE or (row.state == CLAIMED and not cleared):
            yield from self._look_up(s, i, row)

    def _may_send(self, s: State) -> bool:
        return not s.late and len(s.attempts) < self.attempts

    def _look_up(self, s: State, i: int, row: Row) -> Iterator[Step]:
        seen = [order.status for order in s.venue if order.visible]
        if seen:
            state = FILLED if DONE in seen else OPEN
            yield f"w{i} look-up: found", _write(s, row, None, state, cleared=s.timeline)
        elif self._past_the_bound(s, row):
            absent = Worker(FOUND_ABSENT, row.version, s.timeline, 0, 0, "")
            yield f"w{i} look-up: absent, past the bound", _move(s, i, absent)

    def _past_the_bound(self, s: State, row: Row) -> bool:
        if row.cleared != s.timeline:
            return bool(s.bound_passed) or not self.wait
        return bool(row.signed) and s.attempts[row.signed - 1].phase == BOUND_PASSED

    def _go_on(self, s: State, i: int, worker: Worker) -> Iterator[Step]:
        if s.crashes:
            yield f"!w{i} crashes", _move(s, i, NOBODY)._replace(crashes=s.crashes - 1)
        if worker.at == HAS_READ:
            yield self._compare_and_set(s, i, worker)
        elif worker.at == HAS_WON:
            sent = _move(s, i, worker._replace(at=ON_WIRE))
            yield f"w{i} sends {worker.attempt}", sent._replace(wire=(*s.wire, worker.attempt))
        elif worker.at == ON_WIRE:
            if s.losses:
                yield f"!w{i} times out", _move(s, i, NOBODY)._replace(losses=s.losses - 1)
        elif worker.at == HAS_WORD:
            yield self._record(s, i, worker)
        elif worker.at == FOUND_ABSENT:
            row = s.row
            if row and self._same(s, row, worker) and row.state in UNSETTLED:
                yield self._absent(s, i, row)
            else:
                yield f"w{i} resolver's CAS misses", _move(s, i, NOBODY)

    def _same(self, s: State, row: Row, worker: Worker) -> bool:
        """Whether the worker's CAS finds the row that it has read."""
        if row.version != worker.version:
            return False
        return self.token == "version" or worker.timeline == s.timeline

    def _compare_and_set(self, s: State, i: int, worker: Worker) -> Step:
        row = s.row
        if row and self._same(s, row, worker) and row.state == CLAIMED and not row.mark:
            cleared = row.cleared == s.timeline or not self.in_cas
            if cleared and self._may_send(s):
                return self._wins(s, i, row)
        return f"w{i} CAS misses", _move(s, i, NOBODY)

    def _wins(self, s: State, i: int, row: Row) -> Step:
        number, attempt = row.number + 1, len(s.attempts) + 1
        winner = Worker(HAS_WON, row.version + 1, s.timeline, number, attempt, "")
        won = _write(s, row, i, SENDING, winner, number=number, signed=attempt)
        won = won._replace(attempts=(*s.attempts, Attempt(WINDOW_OPEN, s.timeline)))
        return f"w{i} CAS SENDING (attempt {number}, request {attempt})", won

    def _absent(self, s: State, i: int, row: Row) -> Step:
        now = s.timeline
        if row.cleared != now and self.after == "send" and not row.mark:
            return f"w{i} absent: may be sent", _write(s, row, i, CLAIMED, cleared=now)
        if row.mark:
            return f"w{i} absent: CANCELED", _write(s, row, i, CANCELED, cleared=now)
        return f"w{i} absent: NOT_PLACED", _write(s, row, i, NOT_PLACED, cleared=now)

    def _at_venue(self, s: State, place: int, attempt: int) -> Iterator[Step]:
        rest = s._replace(wire=drop(s.wire, place))
        if s.attempts[attempt - 1].phase != WINDOW_OPEN:
            yield f"venue: {attempt} stale", _answer(rest, attempt, "retry")
            return
        if s.busy:
            refused = rest._replace(busy=s.busy - 1)
            yield f"!venue: {attempt} 429", _answer(refused, attempt, "retry")
        if any(order.status == LIVE for order in s.venue):
            yield f"venue: {attempt} duplicate id", _answer(rest, attempt, "none")
            return
        oops = "placed after a final 'not live' was told" if s.told else ""
        for status in (LIVE, DONE):
            placed = rest._replace(venue=(*s.venue, Order(attempt, status, 0)), oops=oops)
            yield f"venue places {attempt} ({status})", _answer(placed, attempt, "ok")

    def _record(self, s: State, i: int, worker: Worker) -> Step:
        word, attempt, row = worker.word, worker.attempt, s.row
        idle = _move(s, i, NOBODY)
        if row is None:
            return f"w{i} has {word} of {attempt}, no row: kept for whoever claims it", idle
        if self._same(s, row, worker):
            state = {"ok": OPEN, "retry": CLAIMED}.get(word, UNKNOWN)
            cleared = s.timeline if word == "ok" else row.cleared
            recorded = _write(s, row, i, state, cleared=cleared)
            return f"w{i} records {word} of {attempt}", recorded
        if word == "ok" and row.state in UNSETTLED:
            found = _write(s, row, i, OPEN, cleared=s.timeline)
            return f"w{i} evidence ok of {attempt} applied", found
        if word == "retry" and row.state in MIGHT_BE_LIVE and self._concerns(row, worker):
            return f"w{i} evidence retry of {attempt} applied", _write(s, row, i, CLAIMED)
        return f"w{i} word {word} of {attempt} changes nothing", idle

    def _concerns(self, row: Row, worker: Worker) -> bool:
        """Whether a zombie's refusal is about the attempt that the row is in."""
        if self.evidence == "number":
            return row.number == worker.number
        return row.signed == worker.attempt


def _time_passes(s: State) -> Iterator[Step]:
    if s.timeline and not s.bound_passed:
        # every attempt of the old timeline is over now, whatever the restored rows know of it
        attempts = tuple(a if a.timeline else Attempt(BOUND_PASSED, 0) for a in s.attempts)
        venue = tuple(Order(a, o, v if s.attempts[a - 1].timeline else 1) for a, o, v in s.venue)
        passed = s._replace(bound_passed=1, attempts=attempts, venue=venue)
        yield "bound since the switch passes", passed
    for k, (phase, timeline) in enumerate(s.attempts):
        if phase == WINDOW_OPEN:
            closed = put(s.attempts, k, Attempt(WINDOW_CLOSED, timeline))
            yield f"window of {k + 1} closes", s._replace(attempts=closed)
        if phase == WINDOW_CLOSED:
            passed_k = put(s.attempts, k, Attempt(BOUND_PASSED, timeline))
            shown = tuple(Order(a, o, 1 if a == k + 1 else v) for a, o, v in s.venue)
            yield f"bound of {k + 1} passes", s._replace(attempts=passed_k, venue=shown)
    if not s.late:
        over = tuple(Attempt(max(p, WINDOW_CLOSED), timeline) for p, timeline in s.attempts)
        yield "!deadline passes", s._replace(late=1, attempts=over)


def _order_lives(s: State, place: int, order: Order) -> Iterator[Step]:
    if not order.visible:
        shown = put(s.venue, place, order._replace(visible=1))
        yield "order becomes visible", s._replace(venue=shown)
    if order.status == LIVE:
        filled = put(s.venue, place, order._replace(status=DONE))
        yield "!order fills", s._replace(venue=filled)


def _write(
    s: State, row: Row, writer: int | None, state: str, worker: Worker = NOBODY, **changes: Any
) -> State:
    """A change of the row: a new version. Final states without an order are told to the bot."""
    after = row._replace(state=state, version=row.version + 1, **changes)
    workers = s.workers if writer is None else put(s.workers, writer, worker)
    told = 1 if state in FINAL_WITHOUT_ORDER else s.told
    return s._replace(row=after, workers=workers, told=told)


def _move(s: State, i: int, worker: Worker) -> State:
    return s._replace(workers=put(s.workers, i, worker))


def _answer(s: State, attempt: int, word: str) -> State:
    for i, worker in enumerate(s.workers):
        if worker.at == ON_WIRE and worker.attempt == attempt:
            return _move(s, i, worker._replace(at=HAS_WORD, word=word))
    return s
