"""VERB: be alive, and take up what the dead leave behind (R8).

A process is alive while it holds a session advisory lock, on a connection of its own outside the
pool. When that connection ends, it stops sending and becomes somebody new: its rows are then those
of a dead process, which whoever looks first takes up, itself included. CLAIMED rows need no lease,
since the CAS excludes; SENDING ones go to R7.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from orderonce_shared.domain.lifecycle import State
from orderonce_shared.runtime.database import Connection
from orderonce_shared.runtime.ids import new_order_id
from orderonce_shared.runtime.process import Process

from orderonce_executor.core import SenderLost
from orderonce_executor.lanes import Lanes
from orderonce_executor.metrics import Metrics
from orderonce_executor.placement import Placement
from orderonce_executor.relay import Relay
from orderonce_executor.store import (
    DATABASE_TROUBLE,
    PgStore,
    begin_process,
    end_backend,
    heartbeat,
    open_session,
)

HEARTBEAT_S = 1.0
HEARTBEAT_LIMIT_S = 3.0  # a lock connection that does not answer for so long counts as gone
ADOPT_ROWS = 500


@dataclass(slots=True)
class Owner:
    """Who this process is, and whether it may send."""

    url: str
    store: PgStore
    process: Process
    alive: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, ready: asyncio.Event) -> None:
        """Holds the lock until the process has finished (`release`); takes a new one when it is
        lost."""
        backend: int | None = None
        while not self.ended.is_set():
            try:
                connection = await open_session(self.url)
            except DATABASE_TROUBLE as error:
                self.process.health.trouble("owner", f"no lock: {type(error).__name__}")
                await self._wait(HEARTBEAT_S)
                continue
            try:
                if backend is not None:
                    await end_backend(self.store.pool, backend)
                backend = connection.get_server_pid()
                await self._live(connection, ready)
            except DATABASE_TROUBLE as error:
                self.process.health.trouble("owner", f"lock lost: {type(error).__name__}")
                self.process.log.error("lock-lost", error=type(error).__name__)
            finally:
                self.alive = False
                connection.terminate()

    async def _live(self, connection: Connection, ready: asyncio.Event) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        identity = new_order_id()
        await begin_process(connection, identity, socket.gethostname(), os.getpid())
        self.store.owner = identity
        self.alive = True
        self.process.health.fine("owner")
        self.process.log.info("owner", process_id=str(identity))
        ready.set()
        while not self.ended.is_set():
            await heartbeat(connection, HEARTBEAT_LIMIT_S)
            await self._wait(HEARTBEAT_S, lost)
            if lost.is_set():
                raise ConnectionError("the lock's connection ended")

    async def _wait(self, seconds: float, other: asyncio.Event | None = None) -> None:
        events = [self.ended] if other is None else [self.ended, other]
        waiters = [asyncio.ensure_future(event.wait()) for event in events]
        await asyncio.wait(waiters, timeout=seconds, return_when="FIRST_COMPLETED")
        for waiter in waiters:
            waiter.cancel()

    def release(self) -> None:
        """After everything in hand is written: from here on others take up what is left."""
        self.ended.set()


@dataclass(slots=True)
class Adopter:
    """Takes up rows and letters of dead processes, `ADOPT_ROWS` at a time, shared out by SKIP
    LOCKED."""

    store: PgStore
    lanes: Lanes
    relay: Relay
    process: Process
    metrics: Metrics
    hear_lost: Callable[[Placement, SenderLost], Awaitable[None]]

    async def step(self) -> None:
        """Dies before the update: another adopts. After it: the rows are those of a dead process
        again."""
        dead = await self.store.dead_processes()
        if not dead:
            return
        while rows := await self.store.adopt(dead, ADOPT_ROWS):
            self.metrics.adopted.inc(len(rows))
            self.process.log.warning("rows-adopted", rows=len(rows), of=[str(d) for d in dead])
            for row in rows:
                if row.state is State.SENDING:
                    await self.hear_lost(row, SenderLost("its sender is gone"))
            self.lanes.add(row for row in rows if row.state is State.CLAIMED)
            self.lanes.adopted({row.account for row in rows})
        while posted := await self.store.adopt_outbox(dead, ADOPT_ROWS):
            self.relay.take(posted)
        await self.store.forget_processes(dead)
