"""Batches of a topic keep apart, unless somebody waits for what they bring."""

from dataclasses import dataclass, field
from typing import Any, cast

from orderonce_api.consumer import rest_between
from orderonce_shared.runtime.process import Process


@dataclass
class Pauses:
    """Stands for the process: notes the pauses and takes none."""

    seconds: list[float] = field(default_factory=list)

    async def pause(self, seconds: float, wake: Any = None) -> None:
        self.seconds.append(seconds)


async def test_a_batch_close_behind_another_rests_for_what_is_left() -> None:
    pauses = Pauses()
    rest = rest_between(cast(Process, pauses), 60.0, lambda: False)
    await rest()
    await rest()
    assert len(pauses.seconds) == 2
    assert all(0 < seconds <= 60.0 for seconds in pauses.seconds)


async def test_a_batch_that_comes_alone_does_not_rest() -> None:
    pauses = Pauses()
    rest = rest_between(cast(Process, pauses), 0.0, lambda: False)
    await rest()
    assert pauses.seconds == []


async def test_nothing_rests_while_somebody_waits() -> None:
    pauses = Pauses()
    rest = rest_between(cast(Process, pauses), 60.0, lambda: True)
    await rest()
    assert pauses.seconds == []
