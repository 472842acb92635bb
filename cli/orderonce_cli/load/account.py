"""PURE: sent = accepted = claimed = final, with every difference named.

Each order is counted once, by what is known of it at the end. What is missing at one step is a line
of its own before the next step's total, so that the column can be added up by hand.
"""

from collections import Counter
from dataclasses import dataclass

from orderonce_cli.load.tally import FINAL, Outcome, Tally


@dataclass(frozen=True)
class Line:
    """One row: a total (`step`), or a difference that leads to the next total."""

    name: str
    count: int
    step: bool
    meaning: str


@dataclass(frozen=True)
class Account:
    """The whole column, what has to be explained by somebody, and the counts by name."""

    lines: tuple[Line, ...]
    failures: tuple[str, ...]
    counts: dict[str, int]

    @property
    def holds(self) -> bool:
        """Whether every accepted order has a final status or is known to be unknown."""
        return not self.failures


def account(tally: Tally, come: int) -> Account:
    """`come`: how many orders' moments had come when the sending ended."""
    return account_of(_counts(tally, come), tally.whole_line)


def account_of(counts: dict[str, int], whole_line: bool) -> Account:
    """The column of these counts: one run's, or the sums of several."""
    lines = tuple(_door_lines(counts) + _line_lines(counts, whole_line))
    return Account(lines, tuple(_failures(counts, lines)), counts)


def _counts(tally: Tally, come: int) -> dict[str, int]:
    outcomes = Counter(tally.outcome)
    counts = {
        "scheduled": len(tally),
        "not_started": len(tally) - come,
        "dropped": outcomes[Outcome.DROPPED],
        "denied_at_once": outcomes[Outcome.DENIED],
        "refused": outcomes[Outcome.REFUSED],
        "unanswered": outcomes[Outcome.UNANSWERED] + outcomes[Outcome.SENT],
        "accepted": outcomes[Outcome.ACKED],
        "surfaced": 0,
        "unclaimed": 0,
        "unknown": 0,
        "no_end": 0,
        "doubled": tally.doubled,
    }
    counts["sent"] = len(tally) - outcomes[Outcome.SCHEDULED] - counts["dropped"]
    ends: Counter[str] = Counter()
    for outcome, claimed, status in zip(tally.outcome, tally.claimed, tally.status, strict=True):
        if outcome == Outcome.ACKED and not claimed:
            counts["unclaimed"] += 1
        if outcome in (Outcome.SENT, Outcome.UNANSWERED) and claimed:
            counts["surfaced"] += 1
        if not claimed:
            continue
        if status in FINAL:
            ends[status] += 1
        else:
            counts["unknown" if status == "unknown" else "no_end"] += 1
    counts["claimed"] = sum(tally.claimed)
    counts["final"] = sum(ends.values())
    if not tally.whole_line:
        counts["final"], counts["no_end"] = counts["claimed"], 0
    return counts | {f"final_{status}": ends[status] for status in FINAL}


def _door_lines(counts: dict[str, int]) -> list[Line]:
    def less(name: str, key: str, meaning: str) -> Line:
        return Line(name, counts[key], False, meaning)

    return [
        Line("scheduled", counts["scheduled"], True, "orders of the plan"),
        less("not started", "not_started", "the run was interrupted before their moment"),
        less("dropped by the generator", "dropped", "its limit of orders in flight was reached"),
        Line("sent", counts["sent"], True, "at least one request or record went out"),
        less("denied at once", "denied_at_once", "422 order-denied: decided, never placed"),
        less("refused", "refused", "a definite no that is no order: 400, 401, 403, 404 …"),
        less("unanswered", "unanswered", "given up: accepted or not, no answer said so"),
        Line("accepted", counts["accepted"], True, "202, or acknowledged by Kafka"),
    ]


def _line_lines(counts: dict[str, int], whole_line: bool) -> list[Line]:
    if not whole_line:
        return [
            Line("not read back", counts["unclaimed"], False, "no consumer saw the record"),
            Line("read back", counts["claimed"], True, "a consumer has read the record"),
        ]
    ends = [
        Line(f"  {status}", counts[f"final_{status}"], False, "of the final ones")
        for status in FINAL
        if counts[f"final_{status}"]
    ]
    return [
        Line("not claimed", counts["unclaimed"], False, "accepted, and not claimed by an executor"),
        Line("surfaced", counts["surfaced"], False, "claimed although no answer was heard (adds)"),
        Line("claimed", counts["claimed"], True, "an executor's row exists"),
        Line("unknown", counts["unknown"], False, "sent, the venue's word is missing: looked up"),
        Line("without an end", counts["no_end"], False, "claimed, neither final nor unknown"),
        Line("final", counts["final"], True, "a final status"),
        *ends,
    ]


def _failures(counts: dict[str, int], lines: tuple[Line, ...]) -> list[str]:
    """Sentences; none means that nothing accepted is without an end."""
    found = []
    if counts["unclaimed"]:
        found.append(f"{counts['unclaimed']} accepted orders were not claimed within the limit")
    if counts["no_end"]:
        found.append(f"{counts['no_end']} claimed orders have no end within the limit")
    if counts["refused"] == counts["sent"] > 0:
        found.append("every order was refused: nothing was measured")
    if counts["doubled"]:
        found.append(f"{counts['doubled']} times a key had a second order id: a defect, report it")
    for name, total, rest in _sums(counts):
        if total != rest:
            found.append(f"the account does not add up at '{name}': {total} is not {rest}")
    return found


def _sums(c: dict[str, int]) -> list[tuple[str, int, int]]:
    """(step, its own count, what the lines before it leave). The left sides are counted order by
    order, the right ones are differences."""
    sent = c["scheduled"] - c["not_started"] - c["dropped"]
    accepted = c["sent"] - c["denied_at_once"] - c["refused"] - c["unanswered"]
    claimed = c["accepted"] - c["unclaimed"] + c["surfaced"]
    final = c["claimed"] - c["unknown"] - c["no_end"]
    return [
        ("sent", c["sent"], sent),
        ("accepted", c["accepted"], accepted),
        ("claimed", c["claimed"], claimed),
        ("final", c["final"], final),
    ]
