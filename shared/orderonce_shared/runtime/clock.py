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


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
