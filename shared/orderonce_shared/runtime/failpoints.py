"""Named places where a test may kill or stop a process between two steps. Wired in main.py only;
off, a hit costs one dictionary look-up. Spec: `name=exit`, `name@3=exit` (the third time),
`name=pause:2.5`, joined by commas.
"""

import asyncio
import os
import re
from dataclasses import dataclass, field

_SPEC = re.compile(r"([a-z_]+)(?:@([1-9][0-9]*))?=(?:exit|pause:([0-9]+(?:\.[0-9]+)?))", re.ASCII)
KILLED = 137  # what a shell reports after kill -9


@dataclass(frozen=True, slots=True)
class _Point:
    nth: int
    pause_s: float | None  # None: exit


@dataclass(slots=True)
class Failpoints:
    points: dict[str, _Point] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, spec: str) -> "Failpoints":
        """Raises ValueError for a spec that cannot be read: a typing error must not make a test
        pass.
        """
        points: dict[str, _Point] = {}
        for part in filter(None, (piece.strip() for piece in spec.split(","))):
            found = _SPEC.fullmatch(part)
            if found is None:
                raise ValueError(f"not a failpoint: {part!r}")
            name, nth, seconds = found.groups()
            if name in points:
                raise ValueError(f"failpoint {name} is given twice")
            points[name] = _Point(int(nth or 1), None if seconds is None else float(seconds))
        return cls(points)

    async def hit(self, name: str) -> None:
        point = self.points.get(name)
        if point is None:
            return
        self.hits[name] = self.hits.get(name, 0) + 1
        if self.hits[name] != point.nth:
            return
        if point.pause_s is None:
            os._exit(KILLED)
        else:
            await asyncio.sleep(point.pause_s)
