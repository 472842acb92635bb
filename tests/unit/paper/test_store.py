"""The journal: nothing answered is forgotten, a torn tail is cut, a damaged middle is refused."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from orderonce_paper.store import Journal, JournalDamaged


def fail(error: OSError) -> None:
    raise AssertionError(error)


def opened(path: Path) -> Journal:
    return Journal(path, fsync=False, on_broken=fail)


def request(n: int) -> dict[str, Any]:
    return {"t": "request", "seq": n, "events": []}


async def written(path: Path, count: int) -> None:
    journal = opened(path)
    assert list(journal.replay()) == []
    done: list[int] = []
    for n in range(1, count + 1):
        journal.append(request(n), lambda n=n: done.append(n))  # type: ignore[misc]
        if n % 7 == 0:
            await asyncio.sleep(0)
    await journal.barrier()
    assert done == list(range(1, count + 1)), "in order, each once"
    journal.close()


async def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    await written(path, 50)
    journal = opened(path)
    assert [r["seq"] for r in journal.replay()] == list(range(1, 51))
    assert journal.last_request == 50
    assert [r["seq"] async for r in journal.requests(47)] == [48, 49, 50]
    journal.append(request(51))
    assert [r["seq"] async for r in journal.requests(49)] == [50, 51]
    assert [r async for r in journal.requests(51)] == []
    journal.close()


@pytest.mark.parametrize("torn", [1, 5, 20])
async def test_a_torn_tail_is_cut_off_and_written_over(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "journal.log"
    await written(path, 3)
    path.write_bytes(path.read_bytes()[:-torn])
    journal = opened(path)
    assert [r["seq"] for r in journal.replay()] == [1, 2]
    journal.append(request(3))
    await journal.barrier()
    journal.close()
    journal = opened(path)
    assert [r["seq"] for r in journal.replay()] == [1, 2, 3]
    journal.close()


async def test_damage_before_the_end_is_not_forgotten_away(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    await written(path, 3)
    content = bytearray(path.read_bytes())
    content[15] ^= 1
    path.write_bytes(content)
    journal = opened(path)
    with pytest.raises(JournalDamaged, match="damaged at byte 0"):
        list(journal.replay())
    journal.close()


async def test_nothing_is_done_when_the_disk_says_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[OSError] = []
    told = asyncio.Event()

    def on_broken(error: OSError) -> None:
        broken.append(error)
        told.set()

    def no_space(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    journal = Journal(tmp_path / "journal.log", fsync=False, on_broken=on_broken)
    assert list(journal.replay()) == []
    monkeypatch.setattr("orderonce_paper.store.os.write", no_space)
    done: list[int] = []
    journal.append(request(1), lambda: done.append(1))
    async with asyncio.timeout(5):
        await told.wait()
    journal.append(request(2), lambda: done.append(2))
    await asyncio.sleep(0)
    assert [error.errno for error in broken] == [28]
    assert done == []
    monkeypatch.undo()
    journal.close()


@pytest.mark.parametrize("fsync", [True, False])
async def test_many_records_share_one_flush_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: bool
) -> None:
    flushed: list[int] = []
    answered: list[int] = []
    journal = Journal(tmp_path / "journal.log", fsync=fsync, on_broken=fail)
    assert list(journal.replay()) == []
    monkeypatch.setattr(
        "orderonce_paper.store.os.fdatasync", lambda descriptor: flushed.append(len(answered))
    )
    for n in range(1, 101):
        journal.append(request(n), lambda n=n: answered.append(n))  # type: ignore[misc]
    await journal.barrier()
    assert len(answered) == 100
    assert flushed[:1] == ([0] if fsync else []), "the disk has it before anybody is answered"
    assert len(flushed) <= 2, "one flush carries what had queued"
    journal.close()
