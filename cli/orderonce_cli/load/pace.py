"""Starts orders at their moments, come what may: it never waits for an answer.

When the loop is busy it catches up, order by order, and each start's delay is on record; when too
many orders have no answer, further ones are dropped and counted. The rate is never lowered in
silence.
"""

import asyncio
from collections.abc import Callable, Sequence

BURST = 50  # starts in one go before sockets get their turn again: catching up must not stall them
SHORTEST_SLEEP_S = 0.0005


async def pace(
    intended: Sequence[float],
    now: Callable[[], float],
    start: Callable[[int], None],
    stopping: asyncio.Event,
) -> int:
    """Call `start(n)` for every order at or after its moment; gives how many moments have come.
    Less than all of them only when `stopping` was set.
    """
    number, count = 0, len(intended)
    while number < count and not stopping.is_set():
        due = now()
        last = min(count, number + BURST)
        while number < last and intended[number] <= due:
            start(number)
            number += 1
        if number == count:
            break
        wait_s = intended[number] - now()
        if wait_s <= 0:
            await asyncio.sleep(0)
            continue
        try:
            async with asyncio.timeout(max(wait_s, SHORTEST_SLEEP_S)):
                await stopping.wait()
        except TimeoutError:
            continue
    return number
