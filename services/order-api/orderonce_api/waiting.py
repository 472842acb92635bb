"""VERB: hold an answer back until its order has settled, for a sender that asked for it with
`Prefer: wait=N`.

Events are spread over partitions, and so over the processes of this service: most of what a process
waits for is applied by another. So one look at the database serves all who wait here, at most every
LOOK_EVERY_S and only while somebody waits; what this process applies itself is looked at at once.
Nothing is lost when it dies: the command was accepted before the wait began, and a retry is
answered with the acceptance.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from orderonce_shared.runtime.process import Process

from orderonce_api.metrics import Metrics
from orderonce_api.store import Store

LONGEST_WAIT_S = 5  # of one answer; well below what proxies and clients give a request
LOOK_EVERY_S = 0.03
LOOK_AGAIN_S = 1.0  # after a look that the database did not answer
MAX_WAITERS = 1_000  # of one process; each holds a connection. Further ones get their 202 at once


class End(StrEnum):
    """How a wait ended; the names are labels of a metric."""

    SETTLED = "settled"
    LATE = "late"  # the time was up
    GONE = "gone"  # the sender has hung up
    STOPPING = "stopping"  # this process ends
    FULL = "full"  # too many wait already


@dataclass(slots=True)
class _Waiter:
    order_id: UUID
    open_counts: bool
    answer: "asyncio.Future[Any]"


@dataclass(slots=True)
class Waiters:
    """All who wait in one process."""

    store: Store
    metrics: Metrics
    process: Process
    _by_id: dict[int, _Waiter] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(
        self,
        order_id: UUID,
        seconds: float,
        *,
        open_counts: bool,
        hung_up: Callable[[], Awaitable[None]],
    ) -> tuple[End, Any]:
        """(how it ended, the order's row if it settled). An order has settled when it is final or,
        with `open_counts`, when the venue has it in its book. `hung_up()` returns when the sender
        has gone.
        """
        end, row = End.FULL, None
        if self.process.stopping.is_set():
            end = End.STOPPING
        elif len(self._by_id) < MAX_WAITERS:
            end, row = await self._wait(
                order_id, min(seconds, LONGEST_WAIT_S), open_counts, hung_up
            )
        self.metrics.waits.labels(end.value).inc()
        return end, row

    async def _wait(
        self,
        order_id: UUID,
        seconds: float,
        open_counts: bool,
        hung_up: Callable[[], Awaitable[None]],
    ) -> tuple[End, Any]:
        waiter = _Waiter(order_id, open_counts, asyncio.get_running_loop().create_future())
        gone = asyncio.ensure_future(hung_up())
        stopping = asyncio.ensure_future(self.process.stopping.wait())
        self._by_id[id(waiter)] = waiter
        self._wake.set()
        try:
            await asyncio.wait(
                (waiter.answer, gone, stopping),
                timeout=seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            del self._by_id[id(waiter)]
            gone.cancel()
            stopping.cancel()
        if waiter.answer.done():
            return End.SETTLED, waiter.answer.result()
        if gone.done():
            return End.GONE, None
        return (End.STOPPING if stopping.done() else End.LATE), None

    def anybody(self) -> bool:
        """Whether somebody waits in this process."""
        return bool(self._by_id)

    def nudge(self) -> None:
        """Events were applied here: perhaps one of ours is among them."""
        if self._by_id:
            self._wake.set()

    async def run(self) -> None:
        """The looks, until the process stops."""
        stopping = self.process.stopping
        while not stopping.is_set():
            pause_s = LOOK_EVERY_S if self._by_id else LOOK_AGAIN_S
            await self.process.pause(pause_s, self._wake)
            if self._by_id and not await self.process.attempt(
                "look-for-waiters-failed", self.look()
            ):
                await self.process.pause(LOOK_AGAIN_S)

    async def look(self) -> None:
        """One look for all."""
        asked: dict[UUID, bool] = {}
        for waiter in self._by_id.values():
            asked[waiter.order_id] = asked.get(waiter.order_id, False) or waiter.open_counts
        rows = await self.store.settled_orders(list(asked.items()))
        found = {row["order_id"]: row for row in rows}
        for waiter in self._by_id.values():
            row = found.get(waiter.order_id)
            settled = row is not None and (row["final"] or waiter.open_counts)
            if settled and not waiter.answer.done():
                waiter.answer.set_result(row)
