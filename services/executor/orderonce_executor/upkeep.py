"""VERB: find what is in nobody's hand: CLAIMED rows that are due, deadlines that passed, the dead,
a changed history."""

import asyncio
from dataclasses import dataclass

from orderonce_shared.domain.lifecycle import State
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.process import Process

from orderonce_executor.core import Bar, Barred
from orderonce_executor.lanes import Lanes, say_turn
from orderonce_executor.metrics import Metrics
from orderonce_executor.owners import Adopter, Owner
from orderonce_executor.ports import Due
from orderonce_executor.record import Hearing, Recorder
from orderonce_executor.store import PgStore

ROWS = 500
STATES = ("claimed", "sending", "unknown", "open")


@dataclass(slots=True)
class Upkeep:
    store: PgStore
    lanes: Lanes
    recorder: Recorder
    adopter: Adopter
    owner: Owner
    process: Process
    clock: Clock
    metrics: Metrics

    async def sweep(self) -> None:
        """CLAIMED rows that are due and not in hand go to their lanes; those past their deadline
        end LAPSED. Those in a lane are left to the CAS, unless the lane rests."""
        room = min(self.lanes.room(), ROWS)
        if room > 0:
            what = Due((State.CLAIMED,), list(self.lanes.held), room)
            self.lanes.add(await self.store.due(what))
        ended = await self.store.overdue(self.lanes.going_to_cas(), ROWS)
        if ended:
            lapse = [self.recorder.hear(Hearing(row, Barred(Bar.LAPSED))) for row in ended]
            await asyncio.gather(*lapse)
            self.lanes.drop(ended)

    async def adopt(self) -> None:
        """What the dead left; and whether this database still is the one that we began with."""
        present = await self.store.present_timeline()
        if present != self.store.timeline:
            self.process.log.error(
                "timeline-changed", ours=self.store.timeline, present=present, todo="restarting"
            )
            self.process.health.trouble("timeline", f"the database went over to {present}")
            self.process.stopping.set()  # started again, this process refuses to send (R13)
        elif self.owner.alive:
            await self.adopter.step()

    async def count(self) -> None:
        row = await self.store.counts()
        for state in STATES:
            self.metrics.rows.labels(state).set(row[state])
        self.metrics.oldest_unknown_s.set(row["oldest_unknown_s"])
        self.metrics.outbox.set(row["outbox"])
        unknowns = await self.store.unknowns() if row["unknown"] else {}
        for lane in self.lanes.served.values():
            turn = lane.breaker.counted(unknowns.get(lane.account, 0), self.clock.monotonic())
            say_turn(self.process, lane.account, turn)
