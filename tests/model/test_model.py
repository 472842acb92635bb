"""Every variant of the quick ring: the rules hold, and each rule taken away is seen to be
missed."""

from typing import Any

import pytest

from tests.model.engine import Model, explore
from tests.model.variants import VARIANTS, Variant, variants

QUICK = list(variants("quick"))


@pytest.mark.parametrize("variant", QUICK, ids=lambda variant: " ".join(variant.name.split()))
def test_verdict(variant: Variant) -> None:
    found = explore(variant.model, variant.only)

    story = found.violation or f"{found.stuck} states stuck"
    assert found.verdict == variant.expected, f"{variant.name}: {story} <- {found.trace}"


def test_every_model_is_searched_with_and_without_its_rules() -> None:
    """A model without a negative twin proves nothing: its search might be blind."""
    verdicts: dict[type[Model[Any]], set[str]] = {}
    for variant in QUICK:
        verdicts.setdefault(type(variant.model), set()).add(variant.expected)

    assert len(verdicts) == 9
    assert all("holds" in found and len(found) > 1 for found in verdicts.values())


def test_names_are_unique_per_rule_and_model() -> None:
    """`python -m tests.model WORD` and the ids of these tests choose by name."""
    named = [(variant.name, variant.model) for variant in VARIANTS]

    assert len(set(map(repr, named))) == len(VARIANTS)


def test_trace_is_a_shortest_one() -> None:
    """A search in breadth tells the shortest story of a library that sends a create again."""
    [variant] = [v for v in QUICK if v.what == "the library sends a create again"]

    found = explore(variant.model)

    assert found.trace.split(" > ") == [
        "w0 reads CLAIMED",
        "w0 CAS SENDING 1",
        "w0 sends 1",
        "!venue places 1 (f), connection cut, library sends it again",
        "venue places 1 (o)",
    ]
