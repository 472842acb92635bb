"""PURE: the hops that are timed, and a histogram of each. Every latency counts from the order's
*intended* start, so that waiting in front of a slow system is part of it.

HdrHistogram keeps three significant digits from a microsecond to an hour at a fixed size; it can be
added to another one without losing anything, which averages of percentiles cannot.
"""

import math
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram

LOWEST_US, HIGHEST_US, DIGITS = 1, 3_600_000_000, 3
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
CURVE_TICKS = 5  # points of the percentile curve per half of what is left to 100 %

# In the order in which they are passed. What each means, and whose clock tells it: docs/load.md.
START, ACCEPT, CLAIMED, SENT, VENUE, FINAL, HEARD, BOOKED = (
    "start", "accept", "claimed", "sent", "venue", "final", "heard", "booked",
)  # fmt: skip
READ_BACK = "read_back"
HOPS = (START, ACCEPT, CLAIMED, SENT, VENUE, FINAL, HEARD, BOOKED, READ_BACK)


class Latencies:
    """One hop's histogram. Values in seconds, kept in microseconds."""

    def __init__(self) -> None:
        self._histogram: Any = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)

    @classmethod
    def decoded(cls, text: str) -> "Latencies":
        """The histogram of a report. Raises ValueError for text that is none of ours."""
        made = cls()
        try:
            found = HdrHistogram.decode(text)
            made._histogram.add(found)
        except (HdrCookieException, HdrLengthException, IndexError, zlib.error) as error:
            raise ValueError(str(error)) from error
        return made

    def record(self, seconds: float) -> None:
        """Below a microsecond counts as one, above an hour as an hour: a sample is never lost."""
        value = min(max(round(seconds * 1e6), LOWEST_US), HIGHEST_US)
        recorded = self._histogram.record_value(value)
        assert recorded, "the value was brought within the histogram's range"

    def add(self, other: "Latencies") -> None:
        """Take over every sample of another histogram of the same shape."""
        self._histogram.add(other._histogram)

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    def at(self, percentile: float) -> float:
        """Milliseconds; NaN while there is no sample."""
        if not self.count:
            return math.nan
        return float(self._histogram.get_value_at_percentile(percentile)) / 1e3

    def most(self) -> float:
        """The largest value in milliseconds; NaN while there is none."""
        return float(self._histogram.get_max_value()) / 1e3 if self.count else math.nan

    def summary(self) -> dict[str, float]:
        """count, min, mean, p50, p90, p99, p999 and max; times in milliseconds."""
        if not self.count:
            return {"count": 0}
        told = {
            "count": self.count,
            "min": round(float(self._histogram.get_min_value()) / 1e3, 3),
            "mean": round(float(self._histogram.get_mean_value()) / 1e3, 3),
        }
        told |= {name: round(self.at(level), 3) for name, level in PERCENTILES.items()}
        return told | {"max": round(self.most(), 3)}

    def curve(self) -> Iterator[tuple[float, float]]:
        """(percentile, milliseconds), denser towards 100: what a percentile plot shows."""
        for point in self._histogram.get_percentile_iterator(CURVE_TICKS):
            level = point.percentile_level_iterated_to
            yield float(level), float(point.value_iterated_to) / 1e3

    def encoded(self) -> str:
        """HdrHistogram's own V2 text: any of its implementations reads and adds it."""
        return str(self._histogram.encode().decode())


def percentile(values: Iterable[float], level: float) -> float:
    """Nearest-rank percentile of a few values (one second's); NaN of none."""
    ranked = sorted(values)
    if not ranked:
        return math.nan
    return ranked[max(0, math.ceil(level / 100 * len(ranked)) - 1)]
