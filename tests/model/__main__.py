"""Searches small models of the protocol exhaustively: every order of steps, every fault in budget.

    python -m tests.model              every variant, about two minutes on one core
    python -m tests.model quick        smaller budgets of faults, half a minute: what the tests run
    python -m tests.model big          three attempts under H, every loss at once: 80 s more
    python -m tests.model loss R13     only variants whose line holds one of the words

One line per variant: found verdict, states, seconds. Where a rule is taken away its shortest trace
follows; a step with ! is a fault or an act of the world (progress never counts on those). Exit
status 1 if a verdict is not the expected one.

Eight models, because their product is too large:
1 place    two executors, crashes, freezes anywhere, version CAS, evidence, 429, 5xx, lost replies,
           stream, look-ups, client id reusable once filled, policies G and H
2 clocks   the same line in ticks: venue clock, database clock, measured offset, one step of either,
           either way, constant skew; look-up lag; deadline
3 cancel   place and cancel records in any order and repeated; cancel in every state, partial fills,
           lost replies, crashes
4 loss     fail-over to a standby that lags; the bot's blind retry; zombies from before; the
           consumer's position; cancels read again
5 publish  twin requests, sequence ids that commit late, a broker that loses, repeats, resets;
           events lost; two executors and the offset
6 halt     CAS against halt as transactions of two steps; a fail-over that forgets a halt;
           cancel-all as a watermark
7 readers  events with versions, reordered and repeated, across a fail-over
8 breaker  pauses and probes while a venue leaves creates unanswered

Safety, in all: the venue never executes two creates of one command; no row NOT_PLACED, LAPSED,
REJECTED or CANCELED while the venue has a live or filled order of it; nothing placed after its
deadline on the venue's clock; no final state goes back; nothing is sent after a final "not live"
was told, after its cancel was accepted, or (unlisted) after a halt's reply; no 202 for an order
that does not exist.

Assumptions (what the models take for granted, so what must be proven or declared elsewhere):
A1 the venue refuses a create outside [signed_at, signed_at + window] on its own clock, re-checked
   where the order is executed; a window <= 0 is read as its default
A2 a placed order is visible to look-ups at most LAG after it was placed (real time); a look-up that
   answers, answers with what is visible
A3 one signed request is executed at most once by venue and network, unless the variant says that a
   library sends it again
A4 what the evidence table calls "before processing" and "bytes not written" really left nothing at
   the venue; a cancel's "canceled" is final at once
A5 Postgres: row CAS and unique insert are atomic; FOR SHARE excludes FOR UPDATE; a database forgets
   only a suffix of its commits, once, and the timeline tells
A6 after a switch the old primary takes no more commits (it is fenced); Kafka then still has every
   record that anybody consumed
A7 a clock steps at most once per order, by at most STEP (2 ticks; window 2, LAG 1); rates are
   equal; the offset is measured again some time after a step
A8 freezes are arbitrary delays; a process without memory is a crash; at most two executors work on
   one order; at most 2 or 3 attempts
A9 the API's rows carry a sequence that grows in commit order of the account's control row
   (cancel-all); R8, R9, R11, R14 hold no ordering that a model could refute: here *any* idle
   worker may take up *any* row at any time, so safety does not rest on session locks, leases or
   budgets
"""

import sys
import time

from tests.model.engine import explore
from tests.model.variants import RINGS, Ring, variants


def main(arguments: list[str]) -> int:
    ring: Ring = next((ring for ring in RINGS if ring in arguments), "all")
    words = [argument for argument in arguments if argument not in RINGS]
    wrong = states = 0
    started = time.monotonic()
    for variant in variants(ring):
        if words and not any(word in variant.name for word in words):
            continue
        begun = time.monotonic()
        found = explore(variant.model, variant.only)
        seconds = time.monotonic() - begun
        as_expected = found.verdict == variant.expected
        states += found.states
        wrong += not as_expected
        mark = "  " if as_expected else "!!"
        say(f"{mark} {found.verdict:6} {found.states:9,d} {seconds:6.1f} s  {variant.name}")
        if found.verdict != "holds":
            what = found.violation or f"{found.stuck} states stuck"
            say(f"          {what} <- {found.trace}")
    seconds = time.monotonic() - started
    say(f"{states:,d} states, {seconds:.0f} s, {wrong} verdicts not as expected")
    return 1 if wrong else 0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
