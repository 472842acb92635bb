"""The only source of time. Verbs take a Clock as an argument, so that a simulation can run on
virtual time.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Wall clock in UTC. For display and deadlines that the database checks again; never for
        safety.
        """
        ...

    def monotonic(self) -> float:
        """Seconds that never step: for waits and time-outs."""
        ...


def wall_ns() -> int:
    """Nanoseconds since 1970, for traces alone: the unit that they are exported in."""
    return time.time_ns()


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
