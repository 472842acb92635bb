"""The life of a placement as one table. docs/lifecycle.md is generated from it; the executor's core
may only do what it lists.

Theory: a row leaves CLAIMED only by a compare-and-set on (timeline, version). From SENDING on, an
order might exist at the venue, so only evidence moves it: the venue's word, or proof of absence.
UNKNOWN is not an error but an honest state.
"""

from enum import StrEnum


class State(StrEnum):
    """States of the executor's row. The API adds `accepted` (not claimed yet) and `denied` at
    acceptance.
    """

    CLAIMED = "claimed"
    SENDING = "sending"
    UNKNOWN = "unknown"
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    LAPSED = "lapsed"
    DENIED = "denied"
    NOT_PLACED = "not_placed"


class Status(StrEnum):
    """What a client sees."""

    ACCEPTED = "accepted"
    SENDING = "sending"
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    LAPSED = "lapsed"
    DENIED = "denied"
    NOT_PLACED = "not_placed"
    UNKNOWN = "unknown"


FINAL: frozenset[State] = frozenset(
    {State.FILLED, State.CANCELED, State.REJECTED, State.LAPSED, State.DENIED, State.NOT_PLACED}
)
FINAL_STATUSES: frozenset[Status] = frozenset(Status(state.value) for state in FINAL)

# Said by the venue: absorbs. The others are our own conclusions and yield to the venue's word, as
# an incident.
FINAL_BY_VENUE: frozenset[State] = frozenset({State.FILLED, State.CANCELED, State.REJECTED})
MIGHT_BE_LIVE: frozenset[State] = frozenset({State.SENDING, State.UNKNOWN, State.OPEN})

# (from, to) -> what makes it happen. Self-loops (a partial fill while OPEN) are changes too.
TRANSITIONS: dict[tuple[State, State], str] = {
    (State.CLAIMED, State.SENDING): "CAS: deadline, key, halt, cancel mark and timeline checked",
    (State.CLAIMED, State.LAPSED): "deadline passed, or attempts exhausted",
    (State.CLAIMED, State.DENIED): "the asking key was revoked",
    (State.CLAIMED, State.CANCELED): "cancel mark, never sent",
    (State.SENDING, State.CLAIMED): "proven unsent, or refused before processing",
    (State.SENDING, State.OPEN): "venue's word",
    (State.SENDING, State.FILLED): "venue's word",
    (State.SENDING, State.CANCELED): "venue's word",
    (State.SENDING, State.REJECTED): "venue's word",
    (State.SENDING, State.UNKNOWN): "no word, or the sender is gone",
    (State.UNKNOWN, State.OPEN): "look-up found it",
    (State.UNKNOWN, State.FILLED): "look-up found it",
    (State.UNKNOWN, State.CANCELED): "look-up found it",
    (State.UNKNOWN, State.REJECTED): "venue's word",
    (State.UNKNOWN, State.CLAIMED): "evidence kept of attempt: refused before processing",
    (State.UNKNOWN, State.NOT_PLACED): "absence proven by R7's three steps",
    (State.OPEN, State.OPEN): "partial fill",
    (State.OPEN, State.FILLED): "venue's word",
    (State.OPEN, State.CANCELED): "venue's word",
    (State.CANCELED, State.CANCELED): "late fill after the end",
    (State.CANCELED, State.FILLED): "late fill completed it",
    (State.NOT_PLACED, State.OPEN): "incident: the venue has it after all",
    (State.NOT_PLACED, State.FILLED): "incident: the venue has it after all",
    (State.NOT_PLACED, State.CANCELED): "incident: the venue has it after all",
    (State.LAPSED, State.OPEN): "incident: the venue has it after all",
    (State.LAPSED, State.FILLED): "incident: the venue has it after all",
    (State.LAPSED, State.CANCELED): "incident: the venue has it after all",
    (State.DENIED, State.OPEN): "incident: the venue has it after all",
    (State.DENIED, State.FILLED): "incident: the venue has it after all",
    (State.DENIED, State.CANCELED): "incident: the venue has it after all",
    (State.CLAIMED, State.OPEN): "incident: the venue has it after all",
    (State.CLAIMED, State.FILLED): "incident: the venue has it after all",
}


def status_of(state: State) -> Status:
    """How a placement's state is shown to clients: a claimed order is still `accepted` for them."""
    return Status.ACCEPTED if state is State.CLAIMED else Status(state.value)


def is_final(state: State) -> bool:
    return state in FINAL
