"""Loops that survive, and an end that hands everything over."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import structlog
from orderonce_shared.runtime import process as process_module
from orderonce_shared.runtime.process import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Process,
    growing_pause_s,
    listen,
    run_service,
)
from structlog.testing import capture_logs

LIMIT_S = 5.0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Growing pauses too short to wait for."""
    monkeypatch.setattr(process_module, "FIRST_PAUSE_S", 0.0001)


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    made = Process(structlog.get_logger())
    yield made
    await made.finish()


async def test_a_step_that_fails_is_repeated_and_health_shows_it(
    process: Process, quick: None
) -> None:
    seen: list[dict[str, str]] = []

    async def step() -> None:
        seen.append(dict(process.health.troubles))
        if len(seen) <= 3:
            raise ConnectionError("database is away")
        process.stopping.set()

    with capture_logs() as logged:
        await asyncio.wait_for(process.repeat("sweeper", step, every_s=0), LIMIT_S)

    assert seen == [{}, *[{"sweeper": "ConnectionError: database is away"}] * 3]
    assert process.health.troubles == {}
    assert [line["failures"] for line in logged] == [1, 2, 3]


async def test_a_wake_ends_the_pause_and_is_used_up(process: Process) -> None:
    wake, steps = asyncio.Event(), asyncio.Event()

    async def step() -> None:
        steps.set()

    process.start(process.repeat("relay", step, every_s=3600, wake=wake), "relay")
    await asyncio.wait_for(steps.wait(), LIMIT_S)
    steps.clear()
    wake.set()

    await asyncio.wait_for(steps.wait(), LIMIT_S)
    assert not wake.is_set()


async def test_a_wake_during_a_step_is_not_lost(process: Process) -> None:
    """What arrives while the previous batch is under way goes out with the next one at once."""
    wake, count = asyncio.Event(), 0

    async def step() -> None:
        nonlocal count
        count += 1
        if count == 1:
            wake.set()
        else:
            process.stopping.set()

    await asyncio.wait_for(process.repeat("relay", step, every_s=3600, wake=wake), LIMIT_S)

    assert count == 2


async def test_stopping_ends_a_pause(process: Process) -> None:
    process.start(process.pause(3600), "sleeper")

    await asyncio.wait_for(process.finish(), LIMIT_S)


def test_pauses_grow_to_a_bound_however_long_the_outage() -> None:
    pauses = [growing_pause_s(failures) for failures in (1, 2, 3, 10, 1_100, 1_000_000)]

    assert pauses[0] == FIRST_PAUSE_S * 2
    assert pauses == sorted(pauses)
    assert pauses[-1] == pauses[-3] == LONGEST_PAUSE_S


async def test_one_piece_of_work_that_fails_stops_no_other(process: Process) -> None:
    async def work(error: Exception | None) -> str:
        if error is not None:
            raise error
        return "done"

    with capture_logs() as logged:
        assert not await process.attempt("look-up-failed", work(OSError("x")), order_id="o-1")
        assert await process.attempt("look-up-failed", work(None), order_id="o-2")

    assert logged == [
        {
            "event": "look-up-failed",
            "error": "OSError",
            "order_id": "o-1",
            "log_level": "warning",
        }
    ]


async def test_a_task_that_dies_stops_the_process(process: Process) -> None:
    async def dies() -> None:
        raise RuntimeError("bug")

    with capture_logs() as logged:
        process.start(dies(), "follower")
        await asyncio.wait_for(process.stopping.wait(), LIMIT_S)

    assert process.health.troubles == {"follower": "died: RuntimeError"}
    assert logged[0]["task"] == "follower"


async def test_finish_cancels_what_does_not_end_by_itself(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "STOP_LIMIT_S", 0.05)
    ended: list[str] = []

    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("deaf")

    process.start(deaf(), "deaf")
    await asyncio.sleep(0)
    await asyncio.wait_for(process.finish(), LIMIT_S)

    assert ended == ["deaf"]


def test_a_port_in_use_is_a_sentence() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"cannot listen on 127.0.0.1:{port}"):
            listen("127.0.0.1", port)


def test_a_service_ends_with_its_main_and_after_its_tasks() -> None:
    order: list[str] = []

    async def main(process: Process) -> None:
        async def loop() -> None:
            await process.stopping.wait()
            order.append("loop handed over")

        process.start(loop(), "loop")
        await asyncio.sleep(0)
        order.append("main returned")

    run_service(main, structlog.get_logger())

    assert order == ["main returned", "loop handed over"]
