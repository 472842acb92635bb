"""Whatever is heard, in whatever order: an open breaker lets one order at a time through, never
keeps an account waiting for ever, and closes on an answer alone."""

from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from orderonce_executor.breaker import Breaker, BreakerLimits
from orderonce_shared.domain.venue import (
    DuplicateId,
    PlaceVerdict,
    Refused,
    RefusedUnprocessed,
    Silence,
    Unsent,
)

SILENT: list[PlaceVerdict] = [Silence("", {}), Unsent("", unreachable=True)]
NEITHER: list[PlaceVerdict] = [RefusedUnprocessed("-1003", "", {}, 1_000), Unsent("")]
ANSWERS: list[PlaceVerdict] = [Refused("-2010", "", {}), DuplicateId("", {})]
PAUSE_S = 5.0

Ending = PlaceVerdict | None
ENDINGS: list[Ending] = [None, *SILENT, *NEITHER, *ANSWERS]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("rest"), st.floats(0, 20)),
        st.tuples(st.just("take"), st.integers(1, 8)),
        st.tuples(st.just("end"), st.sampled_from(ENDINGS)),
        st.tuples(st.just("count"), st.integers(0, 12)),
    ),
    max_size=60,
)


class Story:
    """A lane as the sender drives it: takes what is ready, hears each once, gives it back."""

    def __init__(self, failures: int, unknowns: int) -> None:
        self.breaker = Breaker(BreakerLimits(failures, unknowns, PAUSE_S))
        self.now = 0.0
        self.out: list[tuple[UUID, bool]] = []  # orders on the wire; left while it was open
        self.next = 0
        self.rested_since = 0.0  # when it opened or its last probe stayed silent

    def rest(self, seconds: float) -> None:
        self.now += seconds

    def take(self, asked: int) -> None:
        was_open = self.breaker.is_open
        ready = self.breaker.ready(self.now, asked)
        if was_open:
            assert ready <= 1
            assert not (ready and any(probing for _, probing in self.out))
            assert not ready or self.now >= self.rested_since + PAUSE_S
        else:
            assert ready == asked
        for _ in range(ready):
            self.next += 1
            self.breaker.take(UUID(int=self.next))
            self.out.append((UUID(int=self.next), was_open))

    def end(self, verdict: Ending) -> None:
        if not self.out:
            return
        order, probing = self.out.pop(0)
        was_open = self.breaker.is_open
        turn = None
        if verdict is not None:
            turn = self.breaker.heard(order, verdict, self.now)
        self.breaker.give_back(order)
        if was_open and not self.breaker.is_open:
            assert probing
            assert verdict in ANSWERS
        if was_open and probing and verdict in ANSWERS:
            assert not self.breaker.is_open
        if not was_open and self.breaker.is_open:
            assert verdict in SILENT
        assert (turn is not None) == (was_open != self.breaker.is_open)
        if (not was_open and self.breaker.is_open) or (probing and verdict in SILENT):
            self.rested_since = self.now

    def count(self, unknowns: int) -> None:
        was_open = self.breaker.is_open
        turn = self.breaker.counted(unknowns, self.now)
        assert self.breaker.is_open or not was_open, "only an answer closes"
        assert (turn is not None) == (was_open != self.breaker.is_open)
        if turn is not None:
            self.rested_since = self.now


@given(st.integers(1, 4), st.integers(1, 6), STEPS)
def test_no_story_makes_it_wait_for_ever_or_lets_two_probes_out(
    failures: int, unknowns: int, steps: list[tuple[str, Any]]
) -> None:
    story = Story(failures, unknowns)
    for name, value in steps:
        getattr(story, name)(value)

    while story.out:
        story.end(None)
    story.now += PAUSE_S
    assert story.breaker.ready(story.now, 5) >= 1, "all ended and a pause later one may leave"
    story.take(5)
    while story.out:
        story.end(ANSWERS[0])
    assert not story.breaker.is_open
