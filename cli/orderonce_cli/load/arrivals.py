"""PURE: when each order is meant to start, decided before the first one is sent.

An open loop: the schedule does not wait for answers. A system that slows down meets the same
arrivals, and what waits for it counts as latency instead of vanishing from the rate.
"""

import random
from array import array
from typing import Literal

Arrivals = Literal["constant", "poisson"]

MOST_ORDERS = 5_000_000  # of one run: its times lie in memory, some 100 bytes an order


def schedule(kind: Arrivals, rate: float, seconds: float, seed: int) -> "array[float]":
    """Intended starts, in seconds from the run's start, ascending, all below `seconds`.

    `constant`: rate * seconds of them (rounded), evenly spaced. `poisson`: independent arrivals
    with that mean rate; their number differs from seed to seed, as it does in life.
    """
    if not 0 < rate * seconds <= MOST_ORDERS:
        raise ValueError(f"between 1 and {MOST_ORDERS:,} orders in one run")
    match kind:
        case "constant":
            count = max(1, round(rate * seconds))
            return array("d", (n / rate for n in range(count)))
        case "poisson":
            return _poisson(rate, seconds, random.Random(seed))  # noqa: S311 - no secret


def _poisson(rate: float, seconds: float, source: random.Random) -> "array[float]":
    starts = array("d")
    at = source.expovariate(rate)
    while at < seconds:
        starts.append(at)
        at += source.expovariate(rate)
    return starts
