"""Model 3: cancel. The place record and the cancel record of one order are read in any order, and
again.

Cancels meet every state of the row, partial fills, lost replies and crashes. Time is coarse, as in
model 1. Two placing tasks, one task that cancels and one resolver work on the row; each may die or
freeze anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.engine import drop, put
from tests.model.words import (
    BOUND_PASSED,
    CANCELED,
    CLAIMED,
    DONE,
    ENDED,
    FILLED,
    LIVE,
    NO_ROW,
    NOT_PLACED,
    OPEN,
    SENDING,
    TWO_CREATES,
    UNKNOWN,
    WINDOW_CLOSED,
    WINDOW_OPEN,
)

IDLE = "idle"
READ_NO_MARK = "read no mark"  # with the mark in a table of its own: the gap before the claim
READ_NO_ROW = "read no row"  # the same on the cancel's side
HAS_WON = "won"
ON_WIRE = "wire"
HAS_WORD = "word"
WILL_CANCEL = "will cancel"

CANCEL_TASK, RESOLVER = 0, 1
NAMES = ("can", "res")

MIGHT_BE_LIVE = (SENDING, UNKNOWN)
ON_ITS_WAY = (SENDING, UNKNOWN, OPEN)
ENDED_AT_VENUE = (FILLED, CANCELED)
FINAL_WITHOUT_ORDER = (CANCELED, NOT_PLACED)
FINAL = (CANCELED, FILLED, NOT_PLACED)

NO_SUCH_ORDER = "no such order"
CANCELED_WORD = "canceled"


class Placer(NamedTuple):
    at: str
    attempt: int
    word: str


class Canceler(NamedTuple):
    """The cancel task or the resolver, on its way to cancel at the venue."""

    at: str
    word: str
    filled: int


class Order(NamedTuple):
    attempt: int
    status: str
    filled: int
    visible: int


class State(NamedTuple):
    place_unread: int
    cancel_unread: int
    row: str
    mark: int  # the durable cancel_requested
    attempt: int
    phases: tuple[int, ...]
    placers: tuple[Placer, ...]
    cancelers: tuple[Canceler, ...]
    wire: tuple[int, ...]
    venue: tuple[Order, ...]
    filled: int  # what the row knows
    crashes: int
    losses: int
    busy: int
    repeats: int
    oops: str


Step = tuple[str, State]
NOBODY = Placer(IDLE, 0, "")
NO_CANCELER = Canceler(IDLE, "", 0)


@dataclass(slots=True)
class Cancel:
    resend: bool = False  # policy H
    durable: bool = True  # the mark is stored
    recancel: bool = True  # an order that is found with the mark is canceled again
    bound: bool = True
    believe: bool = False  # "no such order" ends the order
    mark: str = "row"  # where the mark is: in the dedupe row, or apart in a table of its own
    guard: bool = True  # the CAS asks for the mark
    to_claimed_checks: bool = True  # so does the way back to CLAIMED
    fills_after_final: bool = True  # the cumulative fill may rise after the end
    merge: bool = True
    strict: bool = True  # a second send after an accepted cancel breaks the promise
    final_at_once: bool = True  # the venue's "canceled" is true when it is said
    attempts: int = 2
    crashes: int = 1
    losses: int = 1
    busy: int = 1
    repeats: int = 1

    def init(self) -> State:
        budgets = (self.crashes, self.losses, self.busy, self.repeats)
        placers, cancelers = (NOBODY, NOBODY), (NO_CANCELER, NO_CANCELER)
        phases = (0,) * self.attempts
        return State(1, 1, NO_ROW, 0, 0, phases, placers, cancelers, (), (), 0, *budgets, oops="")

    def canon(self, s: State) -> State:
        first, second = s.placers
        return s if first <= second else s._replace(placers=(second, first))

    def broken(self, s: State) -> str | None:
        if s.oops:
            return s.oops
        if len(s.venue) > 1:
            return TWO_CREATES
        if s.row in FINAL_WITHOUT_ORDER:
            if any(order.status == LIVE for order in s.venue):
                return f"row {s.row} final while the order is live"
            if any(order.status == DONE for order in s.venue):
                return f"row {s.row} final while the order is filled"
        return None

    def settled(self, s: State) -> bool:
        idle = all(canceler.at == IDLE for canceler in s.cancelers)
        unread = s.place_unread or s.cancel_unread
        known = s.filled == sum(order.filled for order in s.venue)
        return bool(not unread and s.row in FINAL and idle and known)

    def heard(self, s: State, word: str, attempt: int = 0, filled: int | None = None) -> State:
        """One pure function for every word about the order: the owner's reply, a zombie's evidence,
        look-up, stream."""
        known = s.filled
        if filled is not None and (s.row not in FINAL or self.fills_after_final):
            known = max(known, filled)
        row = self._row_after(s, word, attempt)
        back = s.row in ENDED_AT_VENUE and row not in ENDED_AT_VENUE
        return s._replace(
            row=row, filled=known, oops=f"row {s.row} went back to {row}" if back else s.oops
        )

    def _row_after(self, s: State, word: str, attempt: int) -> str:
        row = s.row
        if word == "retry":
            if attempt == s.attempt and row in MIGHT_BE_LIVE:
                return CANCELED if s.mark and self.to_claimed_checks else CLAIMED
        elif word == "none":
            return UNKNOWN if row == SENDING else row
        elif word in (DONE, ENDED):
            if row not in ENDED_AT_VENUE:
                return FILLED if word == DONE else CANCELED
        elif row in (SENDING, UNKNOWN, CLAIMED) or not self.merge:
            return OPEN
        return row

    def steps(self, s: State) -> Iterator[Step]:
        yield from self._world(s)
        for place, order in enumerate(s.venue):
            yield from self._order_lives(s, place, order)
        for place, attempt in enumerate(s.wire):
            yield from self._at_venue(s, place, attempt)
        for i, placer in enumerate(s.placers):
            yield from self._place(s, i, placer)
        for who, canceler in enumerate(s.cancelers):
            yield from self._cancel(s, who, canceler)

    def _world(self, s: State) -> Iterator[Step]:
        for k, phase in enumerate(s.phases):
            if phase == WINDOW_OPEN:
                closed = put(s.phases, k, WINDOW_CLOSED)
                yield f"window of {k + 1} closes", s._replace(phases=closed)
            if phase == WINDOW_CLOSED:
                passed = put(s.phases, k, BOUND_PASSED)
                shown = tuple(Order(a, o, q, 1 if a == k + 1 else v) for a, o, q, v in s.venue)
                yield f"bound of {k + 1} passes", s._replace(phases=passed, venue=shown)
        if s.repeats and not s.place_unread:
            yield "!place record again", s._replace(place_unread=1, repeats=s.repeats - 1)
        if s.repeats and not s.cancel_unread:
            yield "!cancel record again", s._replace(cancel_unread=1, repeats=s.repeats - 1)

    def _order_lives(self, s: State, place: int, order: Order) -> Iterator[Step]:
        attempt, status, filled, visible = order
        if not visible:
            shown = put(s.venue, place, Order(attempt, status, filled, 1))
            yield "order becomes visible", s._replace(venue=shown)
        if status == LIVE:
            after = DONE if filled == 1 else LIVE
            more = put(s.venue, place, Order(attempt, after, filled + 1, visible))
            yield f"!venue fills to {filled + 1}", s._replace(venue=more)
        told = self.heard(s, status, attempt, filled)
        if told != s:
            yield f"stream says {status}, filled {filled}", told

    def _at_venue(self, s: State, place: int, attempt: int) -> Iterator[Step]:
        rest = s._replace(wire=drop(s.wire, place))
        if s.phases[attempt - 1] != WINDOW_OPEN:
            yield f"venue: {attempt} stale", _answer(rest, attempt, "retry")
            return
        if s.busy:
            refused = rest._replace(busy=s.busy - 1)
            yield f"!venue: {attempt} 429", _answer(refused, attempt, "retry")
        if any(order.status == LIVE for order in s.venue):
            yield f"venue: {attempt} duplicate id", _answer(rest, attempt, "none")
        else:
            placed = rest._replace(venue=(*s.venue, Order(attempt, LIVE, 0, 0)))
            yield f"venue places {attempt}", _answer(placed, attempt, LIVE)

    def _place(self, s: State, i: int, placer: Placer) -> Iterator[Step]:
        at, attempt, word = placer
        if at == IDLE:
            if s.place_unread:
                yield self._read_place(s, i)
            if s.row == CLAIMED:
                yield self._compare_and_set(s, i)
            return
        if s.crashes:
            # what was read and not claimed is read again: its offset was not committed
            unread = 1 if at == READ_NO_MARK else s.place_unread
            dead = _move(s, i, NOBODY)._replace(crashes=s.crashes - 1, place_unread=unread)
            yield f"!placer {i} crashes", dead
        if at == READ_NO_MARK:
            row = CLAIMED if s.row == NO_ROW else s.row
            claimed = _move(s, i, NOBODY)._replace(place_unread=0, row=row)
            yield f"placer {i} inserts the claim", claimed
        elif at == HAS_WON:
            sent = _move(s, i, Placer(ON_WIRE, attempt, ""))
            yield f"placer {i} sends {attempt}", sent._replace(wire=(*s.wire, attempt))
        elif at == ON_WIRE:
            if s.losses:
                silent = _move(s, i, Placer(HAS_WORD, attempt, "none"))
                yield f"!placer {i} times out", silent._replace(losses=s.losses - 1)
        elif at == HAS_WORD:
            recorded = self.heard(_move(s, i, NOBODY), word, attempt)
            yield f"placer {i} records {word} of {attempt}", recorded

    def _read_place(self, s: State, i: int) -> Step:
        repeats = f"placer {i} repeats the state", s._replace(place_unread=0)
        if s.row != NO_ROW:
            return repeats
        if self.mark == "row":
            return f"placer {i} claims", s._replace(place_unread=0, row=CLAIMED)
        if s.mark:
            ended = s._replace(place_unread=0, row=CANCELED)
            return f"placer {i} sees the mark: CANCELED unsent", ended
        return f"placer {i} reads: no mark", _move(s, i, Placer(READ_NO_MARK, 0, ""))

    def _compare_and_set(self, s: State, i: int) -> Step:
        if s.mark and self.guard:
            return "CLAIMED with the mark: CANCELED unsent", s._replace(row=CANCELED)
        if s.attempt >= self.attempts:
            return "no attempts left: NOT_PLACED", s._replace(row=NOT_PLACED)
        attempt = s.attempt + 1
        won = _move(s, i, Placer(HAS_WON, attempt, ""))._replace(
            row=SENDING,
            attempt=attempt,
            phases=put(s.phases, s.attempt, WINDOW_OPEN),
            oops="sent again after its cancel was accepted" if s.mark and self.strict else "",
        )
        return f"placer {i} CAS SENDING {attempt}", won

    def _cancel(self, s: State, who: int, canceler: Canceler) -> Iterator[Step]:
        """The cancel task and the resolver differ only in what wakes them."""
        at, name = canceler.at, NAMES[who]
        if at == IDLE:
            if who == RESOLVER:
                yield from self._resolve(s)
            elif s.cancel_unread:
                yield self._read_cancel(s)
            return
        if s.crashes:
            unread = 1 if at == READ_NO_ROW else s.cancel_unread
            dead = _turn(s, who, NO_CANCELER)
            yield f"!{name} crashes", dead._replace(crashes=s.crashes - 1, cancel_unread=unread)
        if at == READ_NO_ROW:
            marked = _turn(s, who, NO_CANCELER)._replace(cancel_unread=0, mark=1)
            yield "cancel writes its mark", marked
        elif at == WILL_CANCEL:
            yield from self._venue_cancels(s, who)
        elif at == HAS_WORD:
            yield self._record_cancel(s, who, canceler)

    def _read_cancel(self, s: State) -> Step:
        read = s._replace(cancel_unread=0)
        if s.row == NO_ROW:
            if self.mark == "row":
                label = "cancel comes first: row made, CANCELED unsent"
                return label, read._replace(row=CANCELED)
            return "cancel reads: no row", _turn(s, CANCEL_TASK, Canceler(READ_NO_ROW, "", 0))
        if s.row == CLAIMED:
            return "cancel of CLAIMED: CANCELED unsent", read._replace(row=CANCELED)
        if s.row in ON_ITS_WAY:
            marked = read._replace(mark=1 if self.durable else s.mark)
            going = _turn(marked, CANCEL_TASK, Canceler(WILL_CANCEL, "", 0))
            return f"cancel of {s.row}: cancel_requested", going
        return f"cancel of {s.row}: too late", read

    def _venue_cancels(self, s: State, who: int) -> Iterator[Step]:
        """The cancel's HTTP call as one step: the venue's act, and its reply or the loss of it."""
        name, known = NAMES[who], False
        for place, (attempt, status, filled, visible) in enumerate(s.venue):
            if status != LIVE:
                continue
            known = bool(visible)
            after = ENDED if self.final_at_once else LIVE
            acted = s._replace(venue=put(s.venue, place, Order(attempt, after, filled, visible)))
            told = _turn(acted, who, Canceler(HAS_WORD, CANCELED_WORD, filled))
            yield f"{name}'s cancel reaches the venue: canceled", told
            if s.losses:
                lost = _turn(acted, who, NO_CANCELER)._replace(losses=s.losses - 1)
                yield f"!{name}'s cancel reaches the venue: canceled, reply lost", lost
        if not known:
            told = _turn(s, who, Canceler(HAS_WORD, NO_SUCH_ORDER, 0))
            yield f"{name}'s cancel reaches the venue: no such order", told

    def _record_cancel(self, s: State, who: int, canceler: Canceler) -> Step:
        name, idle = NAMES[who], _turn(s, who, NO_CANCELER)
        if canceler.word == CANCELED_WORD:
            # the quantity comes with the look-up: not every venue's cancel reply tells it
            return f"{name}: canceled at the venue", self.heard(idle, ENDED)
        if not self.believe:
            return f"{name}: 'no such order' not believed", idle
        ended = s.row in (SENDING, UNKNOWN, OPEN, CLAIMED)
        after = idle._replace(row=CANCELED) if ended else idle
        return f"{name}: 'no such order' believed, CANCELED", after

    def _resolve(self, s: State) -> Iterator[Step]:
        if s.row == SENDING:
            yield "time is up: UNKNOWN", s._replace(row=UNKNOWN)
        seen = next((order for order in s.venue if order.visible), None)
        if seen is not None:
            yield from self._look_up(s, seen)
        elif s.row in MIGHT_BE_LIVE and self._bound_passed(s):
            yield self._absent(s)
        if s.mark and s.row == OPEN and self.recancel:
            again = _turn(s, RESOLVER, Canceler(WILL_CANCEL, "", 0))
            yield "live with the mark: cancel again", again
        if s.mark and s.row == CLAIMED and self.guard:
            yield "CLAIMED with the mark: CANCELED unsent", s._replace(row=CANCELED)

    def _look_up(self, s: State, seen: Order) -> Iterator[Step]:
        told = self.heard(s, seen.status, seen.attempt, seen.filled)
        if told != s and s.row in ON_ITS_WAY:
            yield f"look-up finds {seen.status}, filled {seen.filled}", told
        if told != s and s.row in ENDED_AT_VENUE:
            yield "fills of an ended order booked", told

    def _bound_passed(self, s: State) -> bool:
        enough = BOUND_PASSED if self.bound else WINDOW_OPEN
        return bool(s.attempt) and s.phases[s.attempt - 1] >= enough

    def _absent(self, s: State) -> Step:
        if self.resend and s.attempt < self.attempts and not (s.mark and self.guard):
            return "absent: CLAIMED again", s._replace(row=CLAIMED)
        if s.mark:
            return "absent: CANCELED", s._replace(row=CANCELED)
        return "absent: NOT_PLACED", s._replace(row=NOT_PLACED)


def _move(s: State, i: int, placer: Placer) -> State:
    return s._replace(placers=put(s.placers, i, placer))


def _turn(s: State, who: int, canceler: Canceler) -> State:
    return s._replace(cancelers=put(s.cancelers, who, canceler))


def _answer(s: State, attempt: int, word: str) -> State:
    """The reply reaches the first placer that waits for it."""
    for i, placer in enumerate(s.placers):
        if placer.at == ON_WIRE and placer.attempt == attempt:
            return _move(s, i, Placer(HAS_WORD, attempt, word))
    return s
