"""The lifecycle of the code is the one that was searched: every change of state that the models
make is in the table of domain/lifecycle.py, and every entry of the table is made by a model.

Differences are listed here, each with its reason; a new one fails until somebody has thought about
it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from orderonce_shared.domain.lifecycle import FINAL, FINAL_BY_VENUE, TRANSITIONS, State

from tests.model import words
from tests.model.cancel import Cancel
from tests.model.engine import Model, explore
from tests.model.place import Place

Pair = tuple[State, State]

LETTERS = {
    words.CLAIMED: State.CLAIMED,
    words.SENDING: State.SENDING,
    words.UNKNOWN: State.UNKNOWN,
    words.OPEN: State.OPEN,
    words.FILLED: State.FILLED,
    words.REJECTED: State.REJECTED,
    words.LAPSED: State.LAPSED,
    words.NOT_PLACED: State.NOT_PLACED,
    words.CANCELED: State.CANCELED,
}

# The models let a resolver end SENDING at once; the code writes UNKNOWN first, which tells the
# client.
SHORTCUTS = {
    (State.SENDING, State.NOT_PLACED): State.UNKNOWN,
}
# Model 3 ends a row that has used up its attempts as NOT_PLACED; model 1 and the code say LAPSED.
OTHER_NAMES = {(State.CLAIMED, State.NOT_PLACED): (State.CLAIMED, State.LAPSED)}

# In the table, and made by no model: why not.
NOT_MODELLED = {
    (
        State.CLAIMED,
        State.DENIED,
    ): "a revoked key is checked in the CAS as a halt is (model 6)",
    (State.CANCELED, State.FILLED): "model 3 books late fills and keeps CANCELED; the table's word"
    " for a cancel that lost the race is the venue's later FILLED",
}


@dataclass
class Watched:
    """A model that notes every change of its row's state."""

    model: Model[Any]
    seen: set[tuple[str, str]] = field(default_factory=set)

    def init(self) -> Any:
        return self.model.init()

    def canon(self, s: Any) -> Any:
        return self.model.canon(s)

    def broken(self, s: Any) -> str | None:
        return self.model.broken(s)

    def settled(self, s: Any) -> bool:
        return self.model.settled(s)

    def steps(self, s: Any) -> Iterator[tuple[str, Any]]:
        for label, successor in self.model.steps(s):
            if s.row != successor.row:
                self.seen.add((s.row, successor.row))
            yield label, successor


def searched() -> set[Pair]:
    """The pairs made by models 1 and 3, under both policies, with every kind of fault at least
    once."""
    seen: set[tuple[str, str]] = set()
    for model in (
        Place(errors=0),
        Place(resend=True, errors=0, rejections=0),
        Cancel(repeats=0),
        Cancel(resend=True, repeats=0, losses=0),
    ):
        watched = Watched(model)
        assert explore(watched).verdict == "holds"
        seen |= watched.seen
    return {(LETTERS[before], LETTERS[after]) for before, after in seen if before != words.NO_ROW}


def test_table_and_models_agree() -> None:
    made = searched()
    for shortcut, through in SHORTCUTS.items():
        assert shortcut in made, f"the models no longer make {shortcut}: drop it from SHORTCUTS"
        assert {(shortcut[0], through), (through, shortcut[1])} <= set(TRANSITIONS)
        made.remove(shortcut)
    for pair, in_code in OTHER_NAMES.items():
        assert pair in made, f"the models no longer make {pair}: drop it from OTHER_NAMES"
        assert in_code in TRANSITIONS
        made.remove(pair)

    normal = {
        pair
        for pair, why in TRANSITIONS.items()
        if pair[0] is not pair[1] and not why.startswith("incident")
    }

    assert made <= normal, f"searched, but not allowed to the code: {made - normal}"
    unsearched = normal - made
    assert unsearched == set(NOT_MODELLED), (
        f"allowed to the code, but searched by no model: {unsearched - set(NOT_MODELLED)};"
        f" listed as not modelled, but searched: {set(NOT_MODELLED) - unsearched}"
    )


def test_incidents_are_what_the_models_call_broken() -> None:
    """A row that concluded "no order" and meets the venue's order: outside the bounds, so a
    violation."""
    for (before, after), why in TRANSITIONS.items():
        if why.startswith("incident"):
            assert before in (FINAL - FINAL_BY_VENUE) | {State.CLAIMED}
            assert after in {State.OPEN, State.FILLED, State.CANCELED}


def test_letters_cover_every_state_but_denied() -> None:
    """DENIED is never reached from a venue's word: no race to search."""
    assert set(State) - set(LETTERS.values()) == {State.DENIED}
