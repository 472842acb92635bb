"""Model 5: accept, and publish until claimed. Twin requests, a broker that loses, repeats and
resets, lost events.

Two orders; with `same` they are twins: one (client, key), two order ids. Two executors read; what
one holds in memory dies with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.engine import put

# What became of a request.
NOT_BEGUN = "n"
IN_TRANSACTION = "t"  # its outbox id is taken, its commit is to come
COMMITTED = "c"
JOINED = "x"  # it met its twin and was answered with it


class Held(NamedTuple):
    """What an executor has in memory: a record (0: none), and whether its offset is committed
    already."""

    record: int
    offset_committed: int


class State(NamedTuple):
    requests: str
    replies: tuple[int, ...]  # the order that each 202 names
    done: tuple[int, ...]  # outbox row closed
    unread: tuple[int, ...]  # copies in the log that nobody has read
    claims: tuple[int, ...]  # placement rows
    events: tuple[int, ...]  # `claimed` events on their way
    memory: tuple[Held, ...]
    seen: int  # highest outbox id that the sweeper has seen (for `once`: the bits of those sent)
    losses: int
    repeats: int
    crashes: int
    resets: int
    oops: str


Step = tuple[str, State]
NOTHING = Held(0, 0)


@dataclass(slots=True)
class Publish:
    same: bool = True
    direct: bool = False  # a producer of its own, without the API's unique key
    done: str = "claimed"  # what closes an outbox row: the claimed event | the broker's ack
    sweep: str = "open"  # what is republished: every open row | only id > last seen | each row once
    dedupe: str = "both"  # unique by (client, key) and order id: both | order id only
    repeat: bool = True  # a repeated command is answered with the present state
    offset: str = "after"  # the offset is committed after the claim | first
    winners: str = "id"  # the statement's winners are matched by order id | by key
    losses: int = 2
    repeats: int = 1
    crashes: int = 2
    resets: int = 1

    def init(self) -> State:
        none, budgets = (0, 0), (self.losses, self.repeats, self.crashes, self.resets)
        requests, memory = NOT_BEGUN * 2, (NOTHING, NOTHING)
        return State(requests, none, none, none, none, none, memory, 0, *budgets, oops="")

    def canon(self, s: State) -> State:
        return s

    def broken(self, s: State) -> str | None:
        if self.same and sum(s.claims) > 1:
            return "two placements for one (client, key)"
        for reply in s.replies:
            if reply and s.requests[reply - 1] != COMMITTED:
                return f"202 names order {reply}, which does not exist"
        return None

    def settled(self, s: State) -> bool:
        if IN_TRANSACTION in s.requests:
            return False
        claimed_somewhere = self.same and any(s.claims)
        return all(
            request != COMMITTED or (done and (claim or claimed_somewhere))
            for request, done, claim in zip(s.requests, s.done, s.claims, strict=True)
        )

    def steps(self, s: State) -> Iterator[Step]:
        for j in (0, 1):
            yield from self._request(s, j)
            if s.requests[j] == COMMITTED and self._to_publish(s, j):
                yield from self._publish(s, j)
            if s.unread[j]:
                yield from self._record_in_log(s, j)
            if s.events[j]:
                yield from _event(s, j)
        if s.resets and any(s.unread):
            yield "!offsets reset to the end", s._replace(unread=(0, 0), resets=0)
        for i, held in enumerate(s.memory):
            if held.record:
                yield from self._claim(s, i, held)

    def _request(self, s: State, j: int) -> Iterator[Step]:
        request = s.requests[j]
        if request == NOT_BEGUN and (j == 0 or s.requests[0] != NOT_BEGUN):
            yield f"request {j + 1} begins", _becomes(s, j, IN_TRANSACTION)
        if request == IN_TRANSACTION:
            if self.same and not self.direct and s.requests[1 - j] == COMMITTED:
                named = 2 - j if self.winners == "id" else j + 1
                joined = _becomes(s, j, JOINED)._replace(replies=put(s.replies, j, named))
                yield f"request {j + 1} meets its twin", joined
            else:
                committed = _becomes(s, j, COMMITTED)
                answered = committed._replace(replies=put(s.replies, j, j + 1))
                yield f"request {j + 1} commits, 202", answered

    def _to_publish(self, s: State, j: int) -> bool:
        if s.done[j] or s.unread[j] >= 2:
            return False
        if self.sweep == "id":
            return j + 1 > s.seen
        if self.sweep == "once":
            return not s.seen & (j + 1)
        return True

    def _publish(self, s: State, j: int) -> Iterator[Step]:
        seen = {"id": max(s.seen, j + 1), "once": s.seen | (j + 1)}.get(self.sweep, 0)
        taken = s._replace(seen=seen)
        if self.done == "ack":
            taken = taken._replace(done=put(taken.done, j, 1))
        published = taken._replace(unread=put(s.unread, j, s.unread[j] + 1))
        yield f"order {j + 1} published", published
        if self.done != "ack" and s.losses:
            yield f"!producing order {j + 1} fails", taken._replace(losses=s.losses - 1)

    def _record_in_log(self, s: State, j: int) -> Iterator[Step]:
        fewer = put(s.unread, j, s.unread[j] - 1)
        if s.losses:
            lost = s._replace(unread=fewer, losses=s.losses - 1)
            yield f"!broker loses acknowledged record {j + 1}", lost
        if s.repeats and s.unread[j] < 2:
            twice = s._replace(unread=put(s.unread, j, 2), repeats=s.repeats - 1)
            yield f"!record {j + 1} twice", twice
        for i in (0, 1):
            if s.memory[i].record:
                continue
            if self.offset == "first":
                memory = put(s.memory, i, Held(j + 1, 1))
                label = f"e{i} commits the offset of record {j + 1} and reads it"
                yield label, s._replace(unread=fewer, memory=memory)
            else:
                memory = put(s.memory, i, Held(j + 1, 0))
                yield f"e{i} reads record {j + 1}", s._replace(memory=memory)

    def _claim(self, s: State, i: int, held: Held) -> Iterator[Step]:
        """The claim commits, then the offset. Between the two the executor may die: the record
        comes again."""
        j = held.record - 1
        idle = s._replace(memory=put(s.memory, i, NOTHING))
        if s.crashes:
            yield f"!e{i} crashes", idle._replace(crashes=s.crashes - 1)
        owned_by_twin = self.same and s.claims[1 - j] and self.dedupe == "both"
        owned = s.claims[j] or owned_by_twin
        events = put(s.events, j, 1) if self.repeat or not owned else s.events
        claims = s.claims if owned else put(s.claims, j, 1)
        claimed = idle._replace(claims=claims, events=events)
        left = s.unread if held.offset_committed else put(s.unread, j, max(0, s.unread[j] - 1))
        label = f"e{i} repeats the state of {j + 1}" if owned else f"e{i} claims {j + 1}"
        yield label, claimed._replace(unread=left)
        if not held.offset_committed and s.crashes:
            died = claimed._replace(crashes=s.crashes - 1)
            yield f"!e{i} claims {j + 1}, crashes before the offset", died


def _event(s: State, j: int) -> Iterator[Step]:
    arrived = s._replace(events=put(s.events, j, 0))
    closed = arrived._replace(done=put(s.done, j, 1))
    yield f"claimed event of {j + 1} closes its outbox row", closed
    if s.losses:
        yield f"!claimed event of {j + 1} lost", arrived._replace(losses=s.losses - 1)


def _becomes(s: State, j: int, request: str) -> State:
    return s._replace(requests=s.requests[:j] + request + s.requests[j + 1 :])
