"""The variants: what is searched, with which rule taken away, and what must come out.

One line each: the model with the rule that differs from the protocol, the rule's name in
docs/ARCHITECTURE.md and the protocol (R1 to R13, F1 to F25, G and H, s4 for the lifecycle), the
expected verdict. `holds`: safe, and a settled state stays reachable from everywhere without further
faults. A variant that lacks a rule must be `unsafe` or `stuck`: a search that cannot find the
mistake proves nothing about the rule. "enough" and "not needed" mark rules that others cover.
"earlier rule" marks wordings of the protocol that the search refuted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.model.breaker import Breaker
from tests.model.cancel import Cancel
from tests.model.clocks import Clocks
from tests.model.engine import Model, Verdict
from tests.model.halt import CancelAll, Halt
from tests.model.loss import Loss
from tests.model.place import Place
from tests.model.publish import Publish
from tests.model.readers import Readers

Ring = Literal["quick", "all", "big"]
RINGS: tuple[Ring, ...] = ("quick", "all", "big")


@dataclass(frozen=True, slots=True)
class Variant:
    model: Model[Any]
    rule: str
    what: str
    expected: Verdict
    only: str | None = None  # look only for violations whose text holds this
    ring: Ring = "quick"  # the smallest ring that searches it

    @property
    def name(self) -> str:
        return f"{type(self.model).__name__.lower():9} {self.rule:4} {self.what}"


def smaller(model: Model[Any]) -> Model[Any]:
    """The model with smaller budgets of faults: what `quick` searches where `holds` is expected."""
    match model:
        case Place():
            return replace(model, errors=0, rejections=0)
        case Cancel():
            return replace(model, repeats=0, losses=0)
        case Publish():
            return replace(model, crashes=1, resets=0)
        case _:
            return model


def variants(ring: Ring) -> Iterator[Variant]:
    """The variants of a ring, the smaller rings included."""
    for variant in VARIANTS:
        if RINGS.index(variant.ring) > RINGS.index(ring):
            continue
        if ring == "quick" and variant.expected == "holds":
            yield replace(variant, model=smaller(variant.model))
        else:
            yield variant


# R13 in its first wording: look up what was accepted before the switch, then send.
FIRST_R13 = Loss(
    cancels=0, rewind=False, token="version", in_cas=False, after="send", evidence="number"
)

VARIANTS: tuple[Variant, ...] = (
    Variant(Place(), "G", "never resend", "holds"),
    Variant(Place(attempts=3, errors=0), "G", "three attempts (429)", "holds", ring="all"),
    Variant(Place(resend=True), "H", "resend after window and bound", "holds"),
    Variant(
        Place(resend=True, crashes=2, losses=2, errors=0),
        "H",
        "two crashes, two time-outs",
        "holds",
        ring="all",
    ),
    Variant(Place(resend=True, attempts=3, losses=0), "H", "three attempts", "holds", ring="big"),
    Variant(
        Place(resend=True, program="TL"),
        "R7",
        "venue time read before ONE look-up, instead of after each of two",
        "holds",
        ring="all",
    ),
    Variant(
        Place(resend=True, keep=False, rejections=0),
        "R6",
        "not needed inside the bounds: evidence of a zombie dropped",
        "holds",
        ring="all",
    ),
    Variant(
        Place(resend=True, duplicate_is_rejected=True, rejections=0),
        "F15",
        "not needed inside the bounds: duplicate id read as rejected",
        "holds",
        ring="all",
    ),
    Variant(Place(cas="none"), "R4", "no CAS before the send", "unsafe", only="two creates"),
    Variant(
        Place(cas="state", errors=0, rejections=0, losses=0),
        "R6",
        "CAS on the state instead of the version",
        "unsafe",
    ),
    Variant(
        Place(resend=True, keyed=False, errors=0, rejections=0, losses=0),
        "R6",
        "evidence not keyed by attempt",
        "unsafe",
    ),
    Variant(Place(merge=False), "s4", "evidence applied without the monotone merge", "unsafe"),
    Variant(
        Place(error_is_refusal=True),
        "F8",
        "5xx read as a refusal before processing",
        "unsafe",
        only="two creates",
    ),
    Variant(Place(library_resends=True), "R5", "the library sends a create again", "unsafe"),
    Variant(
        Place(library_resends=True, duplicate_is_rejected=True, rejections=0),
        "F15",
        "the same, and duplicate id read as rejected",
        "unsafe",
        only="row R",
    ),
    Variant(
        Place(resend=True, stamp="send", errors=0, rejections=0, busy=0),
        "R5",
        "request stamped when sent, not at the CAS",
        "unsafe",
        only="two creates",
    ),
    Variant(
        Place(resend=True, program="L", errors=0, rejections=0, busy=0),
        "R7",
        "H, NOT FOUND believed at once",
        "unsafe",
        only="two creates",
    ),
    Variant(
        Place(resend=True, bound=False, errors=0, rejections=0, busy=0),
        "R7",
        "H, window but no bound on late visibility",
        "unsafe",
        only="two creates",
    ),
    Variant(Place(program="T"), "R7", "cannot ask read as not found", "unsafe"),
    Variant(Place(program="LT"), "R7", "time read after the look-up, once", "unsafe"),
    Variant(Place(program="LLT"), "R7", "two look-ups first, then the time", "unsafe"),
    Variant(Clocks(), "R4", "floor under the window, bound = LAG + STEP", "holds"),
    Variant(Clocks(skew=-4), "R4", "the same, database 4 ticks behind", "holds", ring="all"),
    Variant(
        Clocks(skew=4, deadline=6), "R4", "the same, database 4 ticks ahead", "holds", ring="all"
    ),
    Variant(
        Clocks(steps_of="", skew=2, late_on="vd", deadline=4),
        "R4",
        "venue 2 ticks behind: nothing placed late on the database's clock either",
        "holds",
    ),
    Variant(
        Clocks(steps_of="", skew=2, late_on="vd", deadline=4, both=False),
        "R4",
        "earlier rule: deadline asked on the venue's clock alone, venue 2 ticks behind",
        "unsafe",
    ),
    Variant(Clocks(resend=True, deadline=6), "H", "the same under H", "holds", ring="all"),
    Variant(
        Clocks(bound=2, program="TML"),
        "R7",
        "time past window + STEP, wait LAG on the own clock, one look-up",
        "holds",
    ),
    Variant(
        Clocks(bound=2, program="TML", resend=True, deadline=None),
        "R7",
        "the same under H",
        "holds",
        ring="all",
    ),
    Variant(
        Clocks(floor=False),
        "R4",
        "earlier rule: expires_at against the database's clock, window left may be <= 0",
        "unsafe",
    ),
    Variant(
        Clocks(floor=False, steps_of="", skew=-4),
        "R4",
        "earlier rule: the same without any step, database 4 ticks behind",
        "unsafe",
    ),
    Variant(
        Clocks(bound=1),
        "R7",
        "earlier rule: bound 'proven shorter' (= LAG), one step of the venue's clock",
        "unsafe",
    ),
    Variant(Clocks(bound=1, steps_of=""), "R7", "the same without steps", "holds"),
    Variant(Clocks(bound=0, program="TML"), "R7", "no margin for a step back", "unsafe"),
    Variant(
        Clocks(program="LT"),
        "R7",
        "bound = LAG + STEP but the time read after one look-up",
        "unsafe",
    ),
    Variant(
        Clocks(resend=True, measured_on="database", skew=6, deadline=None),
        "R7",
        "window measured on the database's clock",
        "unsafe",
    ),
    Variant(Clocks(least=False), "R4", "window not cut at the deadline", "unsafe"),
    Variant(
        Clocks(stamp="send", deadline=None, resend=True, steps_of=""),
        "R5",
        "request stamped when sent",
        "unsafe",
        only="two creates",
    ),
    Variant(
        Clocks(window_enforced=False, deadline=None, resend=True),
        "R11",
        "a venue without a window admitted",
        "unsafe",
        only="two creates",
    ),
    Variant(Cancel(), "G", "every arrival of a cancel", "holds"),
    Variant(Cancel(resend=True), "H", "every arrival of a cancel", "holds", ring="all"),
    Variant(Cancel(believe=True), "R10", "'no such order' believed at once", "unsafe"),
    Variant(
        Cancel(final_at_once=False),
        "R10",
        "a venue that acknowledges a cancel before it is done, read as final",
        "unsafe",
    ),
    Variant(Cancel(durable=False, repeats=0, busy=0), "R10", "mark not durable", "stuck"),
    Variant(
        Cancel(recancel=False, repeats=0, busy=0), "R10", "not cancelled again on find", "stuck"
    ),
    Variant(
        Cancel(guard=False, to_claimed_checks=False),
        "R4",
        "earlier rule: neither the CAS nor the way back to CLAIMED asks for the mark",
        "unsafe",
    ),
    Variant(
        Cancel(to_claimed_checks=False, losses=0),
        "R4",
        "the CAS alone asks: enough",
        "holds",
        ring="all",
    ),
    Variant(
        Cancel(mark="apart", guard=False),
        "R4",
        "mark in a table of its own, seen only at the claim",
        "unsafe",
    ),
    Variant(
        Cancel(mark="apart", crashes=0, busy=0),
        "R4",
        "mark in a table of its own, asked for in the CAS: enough",
        "holds",
        ring="all",
    ),
    Variant(
        Cancel(fills_after_final=False, crashes=0, repeats=0),
        "s4",
        "earlier rule: a final state absorbs late fills too",
        "stuck",
    ),
    Variant(Cancel(merge=False), "s4", "no monotone merge", "unsafe"),
    Variant(Cancel(bound=False), "R7", "absence believed before the bound", "unsafe"),
    Variant(
        Loss(busy=0),
        "R13",
        "position goes back too, versions by timeline, restored = UNKNOWN, never resent; cancel",
        "holds",
        ring="all",
    ),
    Variant(Loss(cancels=0), "R13", "the same with 429", "holds", ring="all"),
    Variant(Loss(), "R13", "the same with cancel and 429", "holds", ring="big"),
    Variant(Loss(cancels=0, busy=0), "R13", "the same, neither cancel nor 429", "holds"),
    Variant(
        Loss(forget="executor", cancels=0, busy=0),
        "R13",
        "only the executor's database forgets",
        "holds",
        ring="all",
    ),
    Variant(
        Loss(forget="api", cancels=0, busy=0),
        "R13",
        "only the API's database forgets",
        "holds",
        ring="all",
    ),
    Variant(
        Loss(in_cas=False, cancels=0, busy=0),
        "R13",
        "timeline in the version, CAS does not ask whether the row is cleared: enough",
        "holds",
        ring="all",
    ),
    Variant(
        FIRST_R13,
        "R13",
        "earlier rule: look up what was accepted before the switch, then send",
        "unsafe",
        only="two creates",
    ),
    Variant(
        Loss(rewind=False, cancels=0),
        "R13",
        "earlier rule: blind retry is 'accepted after the switch'; position not moved back",
        "unsafe",
        only="two creates",
    ),
    Variant(
        Loss(rewind=False, busy=0),
        "R10",
        "earlier rule: a cancel that finds no row after the switch: CANCELED unsent",
        "unsafe",
        only="told",
    ),
    Variant(
        Loss(forget="executor", rewind=False, cancels=0, busy=0),
        "R3",
        "executor's database forgets, position not moved back, outbox closed",
        "stuck",
        ring="all",
    ),
    Variant(
        Loss(in_cas=False, token="version", cancels=0),
        "R6",
        "earlier rule: version and attempt numbers repeat after the switch (zombie's CAS hits)",
        "unsafe",
    ),
    Variant(
        Loss(token="version", cancels=0),
        "R6",
        "earlier rule: the same, CAS asks whether the row is cleared",
        "unsafe",
        ring="all",
    ),
    Variant(
        Loss(after="send"),
        "R13",
        "earlier rule: absent rows are sent: a told NOT_PLACED or CANCELED is sent after all",
        "unsafe",
    ),
    Variant(
        Loss(bypass=True, cancels=0),
        "R13",
        "LAPSED or CANCELED straight from a restored CLAIMED",
        "unsafe",
    ),
    Variant(
        Loss(wait=False),
        "R13",
        "looked up at once, without window and bound since the switch",
        "unsafe",
    ),
    Variant(Loss(scope="none", cancels=0, busy=0), "R13", "no R13", "unsafe", only="two creates"),
    Variant(
        Loss(promise=True, cancels=0, busy=0),
        "R1",
        "declared limit: accepted, forgotten before it reached Kafka, bot silent",
        "stuck",
        ring="all",
    ),
    Variant(Publish(same=False), "R2", "two orders", "holds"),
    Variant(Publish(), "R1", "twin requests, one key", "holds"),
    Variant(
        Publish(direct=True), "R3", "two records of one (client, key) (F25)", "holds", ring="all"
    ),
    Variant(
        Publish(same=False, offset="first"),
        "R3",
        "not needed beside R2: offset committed before the claim",
        "holds",
        ring="all",
    ),
    Variant(
        Publish(same=False, sweep="once", losses=0, resets=0),
        "R3",
        "direct producer (no outbox), offset after the claim",
        "holds",
    ),
    Variant(
        Publish(same=False, sweep="once", offset="first", losses=0, resets=0),
        "R3",
        "direct producer, offset before the claim",
        "stuck",
    ),
    Variant(
        Publish(same=False, done="ack"), "R2", "outbox row closed by the broker's ack", "stuck"
    ),
    Variant(Publish(same=False, sweep="once"), "R2", "published once, no sweeper", "stuck"),
    Variant(
        Publish(same=False, sweep="id", losses=0, resets=0, crashes=0),
        "R2",
        "sweeper asks for id > last seen",
        "stuck",
    ),
    Variant(
        Publish(same=False, repeat=False), "R2", "a repeated command is dropped in silence", "stuck"
    ),
    Variant(Publish(direct=True, dedupe="oid"), "R3", "dedupe by order id only", "unsafe"),
    Variant(Publish(winners="key"), "R1", "winners matched by key", "unsafe"),
    Variant(
        Halt(),
        "R4",
        "FOR SHARE against FOR UPDATE; a switch halts every account",
        "holds",
    ),
    Variant(Halt(lock=False), "R4", "no locks on the control row", "unsafe"),
    Variant(
        Halt(switch_halts=False),
        "R13",
        "earlier rule: a fail-over forgets the halt, accounts go on as restored",
        "unsafe",
    ),
    Variant(CancelAll(), "R10", "watermark by sequence, asked for in the CAS", "holds"),
    Variant(CancelAll(by="time"), "R10", "watermark by clock, database steps back", "unsafe"),
    Variant(
        CancelAll(checked="once"), "R10", "cancel-all touches only the rows that it finds", "unsafe"
    ),
    Variant(Readers(), "s4", "events ordered by (timeline, version)", "holds"),
    Variant(
        Readers(order="version"), "s4", "earlier rule: by version alone, across a restore", "stuck"
    ),
    Variant(Readers(apply="any"), "s4", "any event applied", "unsafe"),
    Variant(Breaker(), "R12", "pauses new sends; an order that is due probes", "holds"),
    Variant(
        Breaker(crashes=1), "R12", "the same, the process forgets it is open", "holds", ring="all"
    ),
    Variant(Breaker(probes=False), "R12", "no probe", "stuck"),
    Variant(Breaker(returned=False), "R12", "a probe that lapsed keeps its place", "stuck"),
    Variant(Breaker(deadline=False), "R12", "a probe's deadline is not asked for", "unsafe"),
    Variant(Breaker(doubted=True), "R12", "the order that failed is the probe", "unsafe"),
    Variant(Breaker(taken_back=True), "R12", "opening takes SENDING back", "unsafe"),
    Variant(Breaker(holds_cancels=True), "R12", "cancels wait too", "stuck"),
    Variant(Breaker(holds_look_ups=True), "R12", "look-ups wait too", "stuck"),
)
