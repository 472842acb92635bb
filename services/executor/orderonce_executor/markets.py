"""VERB: which accounts this process serves, what their venues trade, and how far the venues' clocks
are off.

An account is served when it is admitted (control.account), its key is in the credentials file, and
the venue says that the key belongs to the user that was admitted. The offset of the venue's clock
to the database's decides nothing about safety (the venue's window does); it decides how many
requests are refused as too old or too new.
"""

import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.process import Process
from orderonce_shared.venues.credentials import Credential
from orderonce_shared.venues.errors import VenueUnreachable

from orderonce_executor.breaker import Breaker, BreakerLimits
from orderonce_executor.budget import Budget, BudgetLimits
from orderonce_executor.lanes import Lane, Lanes
from orderonce_executor.metrics import Metrics
from orderonce_executor.ports import Venue
from orderonce_executor.store import PgStore

ACCOUNTS_EVERY_S = 1.0
CLOCK_EVERY_S = 1.0
CLOCK_IDLE_S = 5.0
CLOCK_SAMPLES = 3  # the one with the shortest round trip is kept
INSTRUMENTS_EVERY_S = 600.0
PRICES_EVERY_S = 2.0
OFFSET_ALARM_MS = 500

OpenDoor = Callable[[Credential], Awaitable[Venue]]


@dataclass(slots=True)
class Markets:
    store: PgStore
    lanes: Lanes
    credentials: dict[str, Credential]
    open_door: OpenDoor
    limits: BudgetLimits
    patience: BreakerLimits
    process: Process
    clock: Clock
    metrics: Metrics
    symbols: dict[str, list[str]] = field(default_factory=dict)  # venue -> symbols that trade
    instruments_at: dict[str, float] = field(default_factory=dict)
    measured_at: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # account -> venue_uid it was refused for
    unserved: dict[str, Venue] = field(default_factory=dict)  # doors kept while the venue is away

    async def admit(self) -> None:
        """Serves accounts that were admitted since the last look."""
        admitted = {
            row["account"]: row for row in await self.store.accounts(list(self.credentials))
        }
        for name, row in admitted.items():
            if name not in self.lanes.served and self.refused.get(name) != row["venue_uid"]:
                await self._serve(name, row)
        for name in set(self.lanes.served) - set(admitted):
            self.lanes.remove(name)
            self.process.log.warning("account-withdrawn", account=name)
        if self.lanes.served or not self.credentials:
            self.process.health.fine("accounts")
        else:
            self.process.health.trouble("accounts", "no admitted account can be served yet")

    async def _serve(self, name: str, row: Any) -> None:
        credential = self.credentials[name]
        part = f"account {name}"
        if credential.venue != row["venue"]:
            self._refuse(
                name, row, f"the key is for {credential.venue}, admitted is {row['venue']}"
            )
            return
        door = self.unserved.get(name) or await self.open_door(credential)
        self.unserved[name] = door
        try:
            uid = await door.uid()
            if uid != row["venue_uid"]:
                self._refuse(
                    name, row, f"the key is of the venue's user {uid}, not {row['venue_uid']}"
                )
                return
            breaker = Breaker(self.patience)
            lane = Lane(name, row["venue"], door, Budget(self.limits), breaker)
            await self._measure(lane)
        except VenueUnreachable as error:
            self.process.health.trouble(part, f"the venue does not answer: {error}")
            return
        del self.unserved[name]
        self.lanes.served[name] = lane
        self.lanes.wake.set()
        self.process.health.fine(part)
        self.process.log.info("account-served", account=name, venue=row["venue"])
        gc.freeze()  # the door holds the venue's markets for as long as we live: never look again

    def _refuse(self, name: str, row: Any, why: str) -> None:
        """Loudly, and not asked again until it is admitted anew: orders must not go to another's
        account."""
        self.refused[name] = row["venue_uid"]
        self.process.health.trouble(f"account {name}", why)
        self.process.log.error("account-refused", account=name, why=why)

    async def measure_clocks(self) -> None:
        """Each account's offset: every second while it trades, after a refusal for its time at
        once."""
        now = self.clock.monotonic()
        for lane in list(self.lanes.served.values()):
            busy = lane.queue or lane.budget.creates_in_flight
            pause = CLOCK_EVERY_S if busy else CLOCK_IDLE_S
            due = now - self.measured_at.get(lane.account, -CLOCK_IDLE_S) >= pause
            if due or not lane.clock_trusted:
                try:
                    await self._measure(lane)
                except VenueUnreachable as error:
                    self.process.health.trouble(f"clock {lane.account}", str(error))
                else:
                    self.process.health.fine(f"clock {lane.account}")

    async def _measure(self, lane: Lane) -> None:
        """Database clock before and after the venue's; the midpoint of the shortest round trip
        counts."""
        best: tuple[int, int] | None = None
        for _ in range(CLOCK_SAMPLES):
            before = await self.store.database_clock_ms()
            venue_ms = await lane.door.time_ms()
            after = await self.store.database_clock_ms()
            half = max(0, after - before + 1) // 2
            if best is None or half < best[1]:
                best = (venue_ms - before - half, half)
        assert best is not None
        await self.store.save_clock(lane.account, lane.venue, *best)
        lane.clock_trusted = True
        self.measured_at[lane.account] = self.clock.monotonic()
        self.metrics.offset_s.labels(lane.account).set(best[0] / 1000)
        if abs(best[0]) > OFFSET_ALARM_MS:
            self.process.log.warning("clock-offset", account=lane.account, offset_ms=best[0])
        self.lanes.wake.set()

    async def refresh_instruments(self) -> None:
        """Instruments at the start and every ten minutes, reference prices every two seconds, once
        per venue."""
        now = self.clock.monotonic()
        for venue, lane in {lane.venue: lane for lane in self.lanes.served.values()}.items():
            try:
                if (
                    now - self.instruments_at.get(venue, -INSTRUMENTS_EVERY_S)
                    >= INSTRUMENTS_EVERY_S
                ):
                    rows = await lane.door.instruments()
                    await self.store.save_instruments(venue, rows)
                    self.symbols[venue] = [row.symbol for row in rows]
                    self.instruments_at[venue] = now
                prices = await lane.door.reference_prices(self.symbols[venue])
            except VenueUnreachable as error:
                self.process.health.trouble(f"market {venue}", str(error))
                continue
            await self.store.save_reference_prices(venue, prices)
            self.process.health.fine(f"market {venue}")

    async def close(self) -> None:
        for door in [*self.unserved.values(), *(lane.door for lane in self.lanes.served.values())]:
            await door.close()
