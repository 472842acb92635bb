"""What became of idempotency keys, per client and minute: first accepts, denials, replays,
conflicts, refusals of keys past their life.

Counted in memory and written once a second, since a statement per replay would cost a retrying bot
as much as an order. A process that is killed loses the counts of its last second, never an order
and never an answer; the audit log has each conflict at once. Numbers are written absolute, in rows
of this process's own: a write that is repeated because its answer was lost counts nothing twice.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Protocol
from uuid import UUID

from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.ids import new_order_id

WRITE_EVERY_S = 1.0
FORGET_EVERY_S = 3_600.0
KEPT_FOR = timedelta(days=35)
MOST_CONFLICTS = 100  # kept per client; a bot with a bug makes the same one all day


class What(IntEnum):
    """The columns of api.idempotency_count, in their order."""

    FIRST_ACCEPT = 0
    DENIAL = 1
    REPLAY = 2
    CONFLICT = 3
    EXPIRED = 4


@dataclass(frozen=True, slots=True)
class Reuse:
    """One key used for another request. `order_id` is of the one that stands."""

    client: str
    key: str
    order_id: UUID
    differs: tuple[str, ...]
    kid: str


class KeepsCounts(Protocol):
    async def write_counts(self, rows: Sequence[tuple[Any, ...]]) -> None: ...
    async def write_conflicts(self, rows: Sequence[tuple[Any, ...]], most: int) -> None: ...
    async def forget_counts(self, before: datetime) -> None: ...


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _no_conflicts() -> "deque[tuple[Any, ...]]":
    return deque(maxlen=MOST_CONFLICTS)


Place = tuple[str, datetime]  # (client, minute)


@dataclass(slots=True)
class Tally:
    """The counts of one process."""

    store: KeepsCounts
    clock: Clock
    process_id: UUID = field(default_factory=new_order_id)
    _counts: dict[Place, list[int]] = field(default_factory=dict)
    _unwritten: set[Place] = field(default_factory=set)
    _conflicts: "defaultdict[str, deque[tuple[Any, ...]]]" = field(
        default_factory=lambda: defaultdict(_no_conflicts)
    )

    def count(self, client: str, what: What, times: int = 1) -> None:
        place = client, _minute(self.clock.now())
        self._counts.setdefault(place, [0] * len(What))[what] += times
        self._unwritten.add(place)

    def conflict(self, one: Reuse) -> None:
        self.count(one.client, What.CONFLICT)
        row = (one.client, new_order_id(), self.clock.now(), one.key, one.order_id,
               list(one.differs), one.kid)  # fmt: skip
        self._conflicts[one.client].append(row)

    async def write(self) -> None:
        """Raises StoreError; what was not written is written by the next call."""
        places, self._unwritten = self._unwritten, set()
        conflicts = [row for rows in self._conflicts.values() for row in rows]
        try:
            if places:
                await self.store.write_counts(
                    [(*place, self.process_id, *self._counts[place]) for place in sorted(places)]
                )
            if conflicts:
                await self.store.write_conflicts(conflicts, MOST_CONFLICTS)
        except BaseException:
            self._unwritten |= places
            raise
        self._let_go({row[1] for row in conflicts})

    def _let_go(self, written: set[UUID]) -> None:
        for client, rows in list(self._conflicts.items()):
            left = [row for row in rows if row[1] not in written]
            if left:
                self._conflicts[client] = deque(left, maxlen=MOST_CONFLICTS)
            else:
                del self._conflicts[client]
        now = _minute(self.clock.now())
        for place in [p for p in self._counts if p[1] < now and p not in self._unwritten]:
            del self._counts[place]

    async def forget(self) -> None:
        """Counts that are older than KEPT_FOR."""
        await self.store.forget_counts(self.clock.now() - KEPT_FOR)
