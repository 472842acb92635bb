"""Failpoints: read exactly or not at all, and only the named hit of the named point does
something."""

import asyncio
import os

import pytest
from orderonce_shared.runtime.failpoints import KILLED, Failpoints


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr(os, "_exit", found.append)
    return found


async def test_off_costs_nothing(exits: list[int]) -> None:
    points = Failpoints.parse("")

    await points.hit("claim_before_commit")

    assert (points.points, points.hits, exits) == ({}, {}, [])


async def test_the_nth_hit_of_a_name(exits: list[int]) -> None:
    points = Failpoints.parse(" after_cas@3=exit , after_reply=exit ")

    for _ in range(2):
        await points.hit("after_cas")
    await points.hit("after_record")
    assert exits == []

    await points.hit("after_cas")
    await points.hit("after_cas")
    assert exits == [KILLED]

    await points.hit("after_reply")
    assert exits == [KILLED, KILLED]


async def test_a_pause_holds_only_its_own_hit(exits: list[int]) -> None:
    points = Failpoints.parse("after_cas=pause:30")

    held = asyncio.create_task(points.hit("after_cas"))
    await asyncio.wait_for(points.hit("after_cas"), 1)
    done, _ = await asyncio.wait({held}, timeout=0.05)
    held.cancel()

    assert not done
    assert exits == []


@pytest.mark.parametrize(
    "spec",
    [
        "after_cas",
        "after_cas=",
        "after_cas=kill",
        "after_cas=exit:3",
        "after_cas=exit3",
        "after_cas=pause",
        "after_cas=pause2",
        "after_cas=pause:",
        "after_cas=pause:1.2.3",
        "after_cas=pause:.",
        "after_cas@=exit",
        "after_cas@0=exit",  # would never be hit
        "after_cas@x=exit",
        "After_cas=exit",
        "after_cas=exit;after_reply=exit",
        "after_cas=exit,after_cas=pause:1",  # which one?
    ],
)
def test_a_typing_error_does_not_make_a_test_pass(spec: str) -> None:
    with pytest.raises(ValueError, match="failpoint"):
        Failpoints.parse(spec)
