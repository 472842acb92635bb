"""PURE: what a word about an order makes of it. `decide(placement, heard, now) -> (placement,
actions)`, total.

Theory of operation. A placement is one row; whatever is heard about it (the reply to an attempt,
evidence kept by a process that was too late, a look-up, a cancel's reply, the passing of time)
comes through this one function. It only ever does what `domain.lifecycle.TRANSITIONS` lists. Four
rules make it safe to apply words late, twice or out of order:

- the venue's word merges monotonically: filled quantity never falls, an older word changes nothing;
- a final state said by the venue absorbs; our own conclusions (NOT_PLACED, LAPSED, DENIED, CANCELED
  unsent) yield to the venue's word, and that is an incident;
- a refusal speaks about its own attempt alone: one of attempt 1 never ends attempt 2;
- silence proves nothing; "cannot ask" and an unproven absence are not even words that come here.

Returning the same placement means: nothing to store. The caller compares with `is`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import assert_never

from orderonce_shared.domain.lifecycle import FINAL, TRANSITIONS, State
from orderonce_shared.domain.money import add
from orderonce_shared.domain.reasons import REASON_TEXT, DenialCode, EndingCode
from orderonce_shared.domain.venue import (
    Acknowledged,
    DuplicateId,
    Fee,
    PlaceVerdict,
    Refused,
    RefusedUnprocessed,
    Silence,
    Unsent,
    VenueOrder,
    VenueStatus,
)

from orderonce_executor.placement import Placement

MAX_REFUSALS = 20  # attempts that left nothing at the venue; with the pauses below half a minute
FIRST_BACK_OFF_S = 0.05
LONGEST_BACK_OFF_S = 2.0
LOOK_UP_FIRST_S = 1.0  # pauses between look-ups of an UNKNOWN order grow from here
LOOK_UP_LONGEST_S = 30.0
WATCH_AFTER_END_S = 10.0  # how long an ended order is watched for late fills (R9)


class Bar(StrEnum):
    """Why the CAS to SENDING did not take a row that it was asked for, and never will."""

    CANCELED = "canceled"
    REVOKED = "revoked"
    EXHAUSTED = "exhausted"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Barred:
    """The CAS said so, under its locks."""

    bar: Bar


@dataclass(frozen=True, slots=True)
class Replied:
    """The answer to one attempt: from its sender, or kept as evidence by one that came too late."""

    attempt: int
    verdict: PlaceVerdict
    fills_known: bool = True  # every fill that the verdict's order counts is recorded with it


class Source(StrEnum):
    """How the venue's word came; kept with it as evidence, and decides nothing."""

    ASKED = "asked"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Seen:
    """The venue shows the order: a look-up, a cancel's reply, the follower, the stream."""

    order: VenueOrder
    fills_known: bool
    source: Source = Source.ASKED


@dataclass(frozen=True, slots=True)
class ProvenAbsent:
    """R7's three steps are done for this attempt."""

    attempt: int


@dataclass(frozen=True, slots=True)
class SenderLost:
    """A SENDING row whose process is gone or whose time is up."""

    detail: str


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """The durable mark of R10."""


@dataclass(frozen=True, slots=True)
class WatchEnded:
    """An ended order was looked at once more after WATCH_AFTER_END_S."""


Heard = Barred | Replied | Seen | ProvenAbsent | SenderLost | CancelAsked | WatchEnded


@dataclass(frozen=True, slots=True)
class SendAgain:
    """Back in the line; the account's lane rests for `pause_s` first."""

    pause_s: float
    measure_clock: bool


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask the venue for it now."""


@dataclass(frozen=True, slots=True)
class CancelAtVenue:
    """It is or may be live, and its cancel was accepted."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that must not happen inside the declared bounds; a person reads it."""

    text: str


Action = SendAgain | LookUp | CancelAtVenue | Incident
Decision = tuple[Placement, tuple[Action, ...]]


def decide(placement: Placement, heard: Heard, now: datetime) -> Decision:
    """The placement after `heard`, and what is to be done. `now` sets due times only, never a
    verdict."""
    match heard:
        case Barred(bar):
            result = _barred(placement, bar)
        case Replied(attempt, verdict, fills_known):
            result = _replied(placement, attempt, verdict, fills_known, now)
        case Seen(order, fills_known):
            result = _venue_word(placement, order, fills_known, now)
        case ProvenAbsent(attempt):
            result = _proven_absent(placement, attempt, now)
        case SenderLost(detail):
            if placement.state is State.SENDING:
                result = _unknown(placement, detail, now)
            else:
                result = placement, ()
        case CancelAsked():
            result = _cancel_asked(placement)
        case WatchEnded():
            done = placement.state in FINAL and not placement.settled
            result = (placement._replace(settled=True) if done else placement), ()
        case _:
            assert_never(heard)
    _assert_lawful(placement, result[0])
    return result


def _barred(p: Placement, bar: Bar) -> Decision:
    if p.state is not State.CLAIMED:
        return p, ()
    match bar:
        case Bar.CANCELED:
            return _end(p, State.CANCELED, EndingCode.CANCELED_BY_CLIENT), ()
        case Bar.REVOKED:
            return _end(p, State.DENIED, DenialCode.KEY_REVOKED), ()
        case Bar.EXHAUSTED:
            return _end(p, State.LAPSED, EndingCode.ATTEMPTS_EXHAUSTED, p.last_refusal), ()
        case Bar.LAPSED:
            return _end(p, State.LAPSED, EndingCode.DEADLINE_PASSED, p.last_refusal), ()
        case _:
            assert_never(bar)


def _replied(
    p: Placement, attempt: int, verdict: PlaceVerdict, fills_known: bool, now: datetime
) -> Decision:
    if isinstance(verdict, Acknowledged):  # an OK is never thrown away, whatever attempt it answers
        return _venue_word(p, verdict.order, fills_known, now)
    if attempt != p.attempt or p.state not in (State.SENDING, State.UNKNOWN):
        return p, ()
    match verdict:
        case Refused(code, detail):
            text = f"{detail} ({code})"
            return _end(p, State.REJECTED, EndingCode.VENUE_REJECTED, text), ()
        case RefusedUnprocessed(code, detail, _, pause_ms, clock_is_off):
            return _send_again(p, f"{detail} ({code})", pause_ms / 1000, clock_is_off, now)
        case Unsent(detail):
            return _send_again(p, detail, pause_s=0.0, measure_clock=False, now=now)
        case DuplicateId(detail) | Silence(detail):
            if p.state is State.UNKNOWN:
                return p, ()
            return _unknown(p, detail, now)
        case _:
            assert_never(verdict)


def _send_again(
    p: Placement, refusal: str, pause_s: float, measure_clock: bool, now: datetime
) -> Decision:
    """Nothing of this attempt is at the venue. Deadline and count are asked for by the next CAS."""
    if p.cancel_requested:
        return _end(p, State.CANCELED, EndingCode.CANCELED_BY_CLIENT), ()
    back_off = min(FIRST_BACK_OFF_S * 2.0**p.refusals, LONGEST_BACK_OFF_S)
    pause = max(pause_s, back_off)
    again = p._replace(
        state=State.CLAIMED,
        refusals=p.refusals + 1,
        last_refusal=refusal,
        reason_code=None,
        reason_detail=None,
        next_at=now + timedelta(seconds=pause),
    )
    return again, (SendAgain(pause_s, measure_clock),)


def _unknown(p: Placement, detail: str, now: datetime) -> Decision:
    unknown = p._replace(
        state=State.UNKNOWN,
        reason_code=EndingCode.NO_WORD_FROM_VENUE.value,
        reason_detail=detail,
        next_at=now,
    )
    return unknown, (LookUp(), CancelAtVenue()) if p.cancel_requested else (LookUp(),)


def _proven_absent(p: Placement, attempt: int, now: datetime) -> Decision:
    if p.state is not State.UNKNOWN or attempt != p.attempt:
        return p, ()
    if p.cancel_requested:
        ended = _end(p, State.CANCELED, EndingCode.CANCELED_BY_CLIENT)
    else:
        ended = _end(p, State.NOT_PLACED, EndingCode.PROVEN_ABSENT)
    return _watched(ended, now), ()


def _cancel_asked(p: Placement) -> Decision:
    if p.state is State.CLAIMED:
        marked = p._replace(cancel_requested=True)
        return _end(marked, State.CANCELED, EndingCode.CANCELED_BY_CLIENT), ()
    if p.state in FINAL:
        return p, ()  # too late, and the mark would change nothing
    marked = p if p.cancel_requested else p._replace(cancel_requested=True)
    return marked, (CancelAtVenue(),)


# What the venue shows -> the state it means. REJECTED after OPEN is an end at the venue like any
# other.
_SHOWN: dict[VenueStatus, State] = {
    VenueStatus.OPEN: State.OPEN,
    VenueStatus.FILLED: State.FILLED,
    VenueStatus.CANCELED: State.CANCELED,
    VenueStatus.EXPIRED: State.CANCELED,
    VenueStatus.REJECTED: State.REJECTED,
}


def _venue_word(p: Placement, order: VenueOrder, fills_known: bool, now: datetime) -> Decision:
    """Merges what the venue shows. Until its fills are recorded an ended order stays OPEN for
    readers."""
    if p.state in (State.REJECTED, State.FILLED):
        return _absorbed(p, order)
    merged = _merged(p, order)
    target = _SHOWN[order.status]
    if target is State.REJECTED:
        if p.state in (State.SENDING, State.UNKNOWN):
            return _end(merged, State.REJECTED, EndingCode.VENUE_REJECTED), ()
        if p.state is not State.OPEN:
            return p, ()
        target = State.CANCELED
    if p.state is State.CANCELED:
        return _after_canceled(p, merged, order, (fills_known, now))
    incident = _after_our_own_word(p)
    if target in FINAL and not fills_known:
        target, incident = State.OPEN, (*incident, LookUp())
    if target is State.OPEN:
        live = merged._replace(
            state=State.OPEN, reason_code=None, reason_detail=None, settled=False
        )
        if live == p:
            return p, _cancel_if_marked(p)
        return live._replace(next_at=now), (*incident, *_cancel_if_marked(p))
    if target is State.FILLED:
        return _cleared(merged, State.FILLED), incident
    return _watched(_end(merged, State.CANCELED, _why_canceled(p, order)), now), incident


def _absorbed(p: Placement, order: VenueOrder) -> Decision:
    contradicts = p.state is State.REJECTED and order.status is not VenueStatus.REJECTED
    text = "the venue shows an order that it had refused"
    return p, (Incident(text),) if contradicts else ()


def _after_canceled(
    p: Placement,
    merged: Placement,
    order: VenueOrder,
    known: tuple[bool, datetime],
) -> Decision:
    """A cancel said by the venue absorbs; fills that it had not counted still come in (R9)."""
    (fills_known, now), incident = known, _after_our_own_word(p)
    if order.status is VenueStatus.OPEN:
        # An older word as a rule; where it is not, the order must not stay live. Cancelling twice
        # is harmless.
        changed = merged if merged == p else _watched(merged, now)
        return (p if merged == p else changed), (*incident, CancelAtVenue())
    grew = merged.filled_quantity > p.filled_quantity
    late: tuple[Action, ...] = (Incident("a fill came after the order had ended"),) if grew else ()
    if order.status is VenueStatus.FILLED and fills_known:
        return _cleared(merged, State.FILLED), (*incident, *late)
    if not grew and merged.venue_order_id == p.venue_order_id:
        return p, incident
    return _watched(merged, now), (*incident, *late)


def _after_our_own_word(p: Placement) -> tuple[Action, ...]:
    ours = p.state in (State.NOT_PLACED, State.LAPSED, State.DENIED, State.CLAIMED)
    if ours or (p.state is State.CANCELED and p.venue_order_id is None):
        return (Incident(f"the venue has an order that was {p.state.value} here"),)
    return ()


def _cancel_if_marked(p: Placement) -> tuple[Action, ...]:
    return (CancelAtVenue(),) if p.cancel_requested else ()


def _merged(p: Placement, order: VenueOrder) -> Placement:
    newer = order.filled_quantity > p.filled_quantity
    return p._replace(
        venue_order_id=p.venue_order_id or order.venue_order_id,
        filled_quantity=order.filled_quantity if newer else p.filled_quantity,
        filled_cost=order.filled_cost if newer else p.filled_cost,
    )


def _why_canceled(p: Placement, order: VenueOrder) -> EndingCode:
    if order.status is VenueStatus.EXPIRED:
        return EndingCode.VENUE_EXPIRED
    if order.status is VenueStatus.REJECTED:
        return EndingCode.VENUE_REJECTED
    return EndingCode.CANCELED_BY_CLIENT if p.cancel_requested else EndingCode.CANCELED_AT_VENUE


def _end(
    p: Placement, state: State, code: EndingCode | DenialCode, detail: str | None = None
) -> Placement:
    text = detail if detail is not None else REASON_TEXT[code]
    return p._replace(state=state, reason_code=code.value, reason_detail=text, settled=True)


def _cleared(p: Placement, state: State) -> Placement:
    return p._replace(state=state, reason_code=None, reason_detail=None, settled=True)


def _watched(p: Placement, now: datetime) -> Placement:
    """Ended, and looked at once more later: a fill may still come, or an order that was not
    there."""
    return p._replace(settled=False, next_at=now + timedelta(seconds=WATCH_AFTER_END_S))


def look_up_pause_s(age_s: float) -> float:
    """How long to wait before an UNKNOWN order is looked up again: a tenth of its age, 1 to 30
    s."""
    return min(max(age_s / 10, LOOK_UP_FIRST_S), LOOK_UP_LONGEST_S)


def with_fees(p: Placement, fees: tuple[Fee, ...]) -> Placement:
    """The placement with these fees added to its totals, one per asset."""
    totals = {fee.asset: fee.amount for fee in p.fees}
    for fee in fees:
        totals[fee.asset] = add(totals.get(fee.asset, Decimal(0)), fee.amount)
    return p._replace(fees=tuple(Fee(asset, totals[asset]) for asset in sorted(totals)))


def _assert_lawful(before: Placement, after: Placement) -> None:
    if before.state is not after.state:
        assert (before.state, after.state) in TRANSITIONS, (before.state, after.state)
    assert after.filled_quantity >= before.filled_quantity, "the cumulative fill never falls"
    assert not (before.cancel_requested and not after.cancel_requested), "the mark is durable"
