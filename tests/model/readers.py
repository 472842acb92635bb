"""Model 7: readers of events across a restore.

A placement walks SENDING > OPEN > FILLED, every change an event with the row's version; the bus
repeats and reorders; a reader applies only higher ones. The database forgets once; the resolver
then walks the restored row to FILLED again by look-ups, and its versions repeat.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.words import CLAIMED, FILLED, OPEN, SENDING, UNKNOWN

WALK = {
    CLAIMED: (SENDING,),
    SENDING: (OPEN, UNKNOWN),
    UNKNOWN: (OPEN, FILLED),
    OPEN: (FILLED,),
    FILLED: (),
}


class Event(NamedTuple):
    timeline: int
    version: int
    row: str


class State(NamedTuple):
    row: str
    version: int
    timeline: int
    standby: tuple[str, int]
    bus: tuple[Event, ...]
    seen: Event  # the last one that the reader applied
    went_back: int
    oops: str = ""


Step = tuple[str, State]


@dataclass(slots=True)
class Readers:
    order: str = "timeline"  # events are ordered by (timeline, version) | by version alone
    apply: str = "higher"  # which events a reader applies: higher | any

    def init(self) -> State:
        return State(CLAIMED, 1, 0, (CLAIMED, 1), (), Event(0, 0, CLAIMED), 0)

    def canon(self, s: State) -> State:
        return s

    def settled(self, s: State) -> bool:
        return s.row == s.seen.row == FILLED

    def broken(self, s: State) -> str | None:
        if s.went_back and s.seen.row != FILLED:
            return "a reader's order went back from FILLED"
        return None

    def steps(self, s: State) -> Iterator[Step]:
        for row in WALK[s.row]:
            timeline = s.timeline if self.order == "timeline" else 0
            event = Event(timeline, s.version + 1, row)
            bus = tuple(sorted({*s.bus, event}))
            changed = s._replace(row=row, version=s.version + 1, bus=bus)
            yield f"row {row} v{s.version + 1}", changed
        for event in s.bus:
            yield f"reader gets {event.row} v{event.version}", self._read(s, event)
        if not s.timeline:
            if (s.row, s.version) != s.standby:
                yield "!standby catches up", s._replace(standby=(s.row, s.version))
            row, version = s.standby
            back = s._replace(row=row, version=version, timeline=1)
            yield "!fail-over to the standby", back

    def _read(self, s: State, event: Event) -> State:
        rest = s._replace(bus=tuple(other for other in s.bus if other != event))
        higher = event[:2] > s.seen[:2]
        if not higher and self.apply != "any":
            return rest
        # before the fail-over nothing that is true may be taken back; after it the truth itself may
        # have changed
        back = s.seen.row == FILLED and event.row != FILLED and not s.timeline
        return rest._replace(seen=event, went_back=1 if back else s.went_back)
