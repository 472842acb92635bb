"""Breadth-first search over every order of steps of a small model, with every fault that its
budgets allow.

Two questions are answered for each model. Safety: can a state be reached that breaks a promise?
Breadth first, so that the trace of the first one found is a shortest one. Progress: can a settled
state be reached from every reachable state
*without further faults*? If not, the states that cannot are `stuck`.
"""

import sys
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

LIMIT = 4_000_000  # states of one variant; more do not fit the memory of a small machine
# A label that starts with it is a fault or an act of the world: progress may not count on it.
FAULT = "!"

State = TypeVar("State")
Item = TypeVar("Item")
Verdict = Literal["holds", "unsafe", "stuck"]


class Model(Protocol[State]):
    """What a model tells the search. States are tuples: hashable, compared by value."""

    def init(self) -> State: ...

    def steps(self, s: State) -> Iterator[tuple[str, State]]:
        """Every (label, next state) that can happen now."""
        ...

    def canon(self, s: State) -> State:
        """One representative of all states that differ only in which of two equal workers is
        which."""
        ...

    def broken(self, s: State) -> str | None:
        """The promise that this state breaks."""
        ...

    def settled(self, s: State) -> bool:
        """Whether everything that was promised has come to its end."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What the search found: a violation with its trace, or the number of stuck states with a trace
    to one of them."""

    states: int
    violation: str = ""
    stuck: int = 0
    trace: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.violation:
            return "unsafe"
        return "stuck" if self.stuck else "holds"


@dataclass(slots=True)
class _Graph:
    """States are numbered in the order of their discovery; edges without faults are kept for the
    question of progress."""

    parent: "array[int]" = field(default_factory=lambda: array("i", [-1]))
    labels: list[str] = field(default_factory=lambda: [""])
    settled: bytearray = field(default_factory=lambda: bytearray(1))
    source: "array[int]" = field(default_factory=lambda: array("I"))
    target: "array[int]" = field(default_factory=lambda: array("I"))

    def trace(self, state: int) -> str:
        labels = []
        while state > 0:
            labels.append(self.labels[state])
            state = self.parent[state]
        return " > ".join(reversed(labels))


def explore(model: Model[State], only: str | None = None, limit: int = LIMIT) -> Found:
    """Searches the whole model. `only`: violations whose text lacks it are passed over."""
    graph = _Graph()
    parent, labels, settled = graph.parent, graph.labels, graph.settled
    source, target = graph.source, graph.target
    canon, steps, broken = model.canon, model.steps, model.broken
    first = model.init()
    index = {canon(first): 0}
    frontier = deque([(0, first)])
    while frontier:
        here, state = frontier.popleft()
        violation = broken(state)
        if violation and (not only or only in violation):
            return Found(len(index), violation=violation, trace=graph.trace(here))
        settled[here] = model.settled(state)
        for label, successor in steps(state):
            name = canon(successor)
            there = index.get(name)
            if there is None:
                there = index[name] = len(parent)
                parent.append(here)
                labels.append(sys.intern(label))
                settled.append(0)
                frontier.append((there, successor))
                if there > limit:
                    return Found(there, violation="BOUND: too many states")
            if label[0] != FAULT:
                source.append(here)
                target.append(there)
    _spread_backwards(graph)
    stuck = len(parent) - sum(settled)
    return Found(len(parent), stuck=stuck, trace=graph.trace(settled.index(0)) if stuck else "")


def _spread_backwards(graph: _Graph) -> None:
    """Marks every state from which a settled one can be reached, along fault-free edges. The edges
    are first sorted by target (a counting sort in flat arrays: lists of lists would take ten times
    the memory)."""
    settled, count = graph.settled, len(graph.parent)
    start = array("I", bytes(4 * (count + 1)))
    for target in graph.target:
        start[target + 1] += 1
    for state in range(count):
        start[state + 1] += start[state]
    free = start[:count]
    sources = array("I", bytes(4 * len(graph.source)))
    for source, target in zip(graph.source, graph.target, strict=True):
        sources[free[target]] = source
        free[target] += 1
    todo = [state for state in range(count) if settled[state]]
    while todo:
        state = todo.pop()
        for source in sources[start[state] : start[state + 1]]:
            if not settled[source]:
                settled[source] = 1
                todo.append(source)


def put(items: tuple[Item, ...], place: int, item: Item) -> tuple[Item, ...]:
    """The tuple with one item replaced."""
    return (*items[:place], item, *items[place + 1 :])


def drop(items: tuple[Item, ...], place: int) -> tuple[Item, ...]:
    """The tuple without one item."""
    return items[:place] + items[place + 1 :]
