"""CPU seconds by part: which process of a benchmark spent how much, Postgres' backends and Kafka's
JVM included.

CPU time is what these benchmarks compare: on a machine that others use too, a rate tells who else
was busy, while the CPU that an order takes stays the same within a few percent.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator

import psutil

# A word of the command line -> the part that the process is.
PARTS = {
    "orderonce_executor": "executor",
    "orderonce_api": "order-api",
    "orderonce_ledger": "ledger",
    "orderonce_paper": "paper exchange",
    "orderonce_cli load": "load",
    "benchmarks.bare_ccxt": "bare ccxt",
    "kafka.Kafka": "kafka",
    "postgres": "postgres",
}
OWN = "load"  # this process: it makes the load


@contextlib.contextmanager
def pinned(*parts: str) -> Iterator[None]:
    """One core for `parts`, another one for everybody else of this benchmark; as before at the end.
    With a single core all share it."""
    free = cores()
    before: list[psutil.Process] = []
    try:
        for name, process in family():
            with contextlib.suppress(psutil.Error):
                process.cpu_affinity([free[0] if name in parts else free[-1]])
                before.append(process)
        yield
    finally:
        for process in before:
            with contextlib.suppress(psutil.Error):
                process.cpu_affinity(free)


def family() -> list[tuple[str, psutil.Process]]:
    """(part, process) of everything below this process, and itself."""
    found = [(OWN, psutil.Process())]
    for child in psutil.Process().children(recursive=True):
        try:
            words = " ".join(child.cmdline())
        except psutil.Error:
            continue  # it has just ended
        name = next((part for word, part in PARTS.items() if word in words), "")
        if not name and "postgres" in _name(child):
            name = "postgres"  # a backend rewrites its command line
        if name:
            found.append((name, child))
    return found


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


class Meter:
    """CPU seconds per part since it was made."""

    def __init__(self) -> None:
        self._begin = _spent(family())

    def read(self) -> dict[str, float]:
        """Seconds by part. A process that ended meanwhile is left out, one that began counts
        whole."""
        spent: dict[str, float] = {}
        for key, seconds in _spent(family()).items():
            spent[key[0]] = spent.get(key[0], 0.0) + seconds - self._begin.get(key, 0.0)
        return {part: seconds for part, seconds in sorted(spent.items()) if seconds > 0}


def _spent(processes: Iterable[tuple[str, psutil.Process]]) -> dict[tuple[str, int], float]:
    return dict(_times(processes))


def _times(
    processes: Iterable[tuple[str, psutil.Process]],
) -> Iterator[tuple[tuple[str, int], float]]:
    for part, process in processes:
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        yield (part, process.pid), used.user + used.system


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))
