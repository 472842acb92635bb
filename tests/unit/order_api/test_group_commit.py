"""Group commit without a database: who shares a commit with whom, and who fails with whom."""

import asyncio
from collections.abc import Sequence

import pytest
from orderonce_api import errors, group_commit, store
from orderonce_api.group_commit import GroupCommit


class Commits:
    """Answers ten times the number; notes the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.fail: Exception | None = None
        self.poison: int | None = None

    async def __call__(self, asks: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(asks))
        await asyncio.sleep(0.01)
        if self.fail is not None:
            raise self.fail
        if self.poison in asks:
            raise store.StatementFailed("poison")
        return [errors.NotFound("odd") if ask % 2 else ask * 10 for ask in asks]


async def test_what_queued_meanwhile_shares_the_next_commit() -> None:
    commits = Commits()
    group: GroupCommit[int, int] = GroupCommit(commits)
    first = asyncio.create_task(group.submit(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(group.submit(n)) for n in range(2, 12, 2)]
    assert await first == 0
    assert await asyncio.gather(*rest) == [20, 40, 60, 80, 100]
    assert commits.batches == [[0], [2, 4, 6, 8, 10]]


async def test_a_few_that_wait_gather_those_who_come_a_moment_later() -> None:
    commits = Commits()
    group: GroupCommit[int, int] = GroupCommit(commits)
    first = asyncio.create_task(group.submit(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(group.submit(n)) for n in (2, 4)]
    await first
    rest.append(asyncio.create_task(group.submit(6)))
    assert await asyncio.gather(*rest) == [20, 40, 60]
    assert commits.batches == [[0], [2, 4, 6]]


async def test_one_that_waits_alone_is_not_held_up() -> None:
    commits = Commits()
    group: GroupCommit[int, int] = GroupCommit(commits)
    first = asyncio.create_task(group.submit(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.create_task(group.submit(2))
    await first
    third = asyncio.create_task(group.submit(4))
    assert await asyncio.gather(second, third) == [20, 40]
    assert commits.batches == [[0], [2], [4]]


async def test_a_batch_has_a_cap() -> None:
    commits = Commits()
    group: GroupCommit[int, int] = GroupCommit(commits)
    await asyncio.gather(*(group.submit(2 * n) for n in range(150)))
    assert [len(batch) for batch in commits.batches] == [64, 64, 22]


async def test_an_exception_is_one_members_answer() -> None:
    group: GroupCommit[int, int] = GroupCommit(Commits())
    answers = await asyncio.gather(*(group.submit(n) for n in range(4)), return_exceptions=True)
    assert answers[0] == 0
    assert answers[2] == 20
    assert [type(answers[n]) for n in (1, 3)] == [errors.NotFound] * 2


async def test_a_refused_batch_is_repeated_one_by_one() -> None:
    commits = Commits()
    commits.poison = 4
    group: GroupCommit[int, int] = GroupCommit(commits)
    answers = await asyncio.gather(*(group.submit(n) for n in (2, 4, 6)), return_exceptions=True)
    assert (answers[0], answers[2]) == (20, 60)
    assert isinstance(answers[1], store.StatementFailed)
    assert commits.batches == [[2, 4, 6], [2], [4], [6]]


async def test_a_lost_answer_is_not_repeated() -> None:
    commits = Commits()
    commits.fail = store.Lost("cut")
    group: GroupCommit[int, int] = GroupCommit(commits)
    answers = await asyncio.gather(*(group.submit(n) for n in (2, 4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [errors.Unavailable] * 2
    assert answers[0] is not answers[1]
    assert len(commits.batches) == 1


async def test_a_deadlock_is_tried_again_and_ends() -> None:
    commits = Commits()
    commits.fail = store.TryAgain("deadlock")
    group: GroupCommit[int, int] = GroupCommit(commits)
    with pytest.raises(errors.Unavailable):
        await group.submit(2)
    assert len(commits.batches) == group_commit.MAX_REPEATS


async def test_a_sender_that_has_gone_does_not_disturb_the_others() -> None:
    group: GroupCommit[int, int] = GroupCommit(Commits())
    gone, stays = asyncio.create_task(group.submit(2)), asyncio.create_task(group.submit(4))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 40


async def test_the_queue_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING", 3)
    group: GroupCommit[int, int] = GroupCommit(Commits())
    answers = await asyncio.gather(*(group.submit(2) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, errors.Unavailable) for answer in answers) == 2


async def test_nobody_is_left_waiting_when_a_commit_miscounts() -> None:
    async def too_few(asks: Sequence[int]) -> list[int | Exception]:
        return []

    group: GroupCommit[int, int] = GroupCommit(too_few)
    with pytest.raises(errors.Internal):
        await asyncio.wait_for(group.submit(2), 1)
    drain = group._drain
    assert drain is not None
    with pytest.raises(ValueError, match="shorter"):
        await drain


async def test_a_batch_behind_a_lock_is_not_repeated() -> None:
    commits = Commits()
    commits.fail = store.KeyHeld("a twin of one of them")
    group: GroupCommit[int, int] = GroupCommit(commits)
    answers = await asyncio.gather(*(group.submit(n) for n in (2, 4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [errors.Unavailable] * 2
    assert answers[0] is not answers[1]
    assert len(commits.batches) == 1


@pytest.mark.parametrize(
    ("trouble", "told"),
    [(store.KeyHeld("twin"), errors.KeyBusy), (store.Busy("halt"), errors.Unavailable)],
)
async def test_only_a_twin_is_called_one(trouble: Exception, told: type[errors.ApiProblem]) -> None:
    commits = Commits()
    commits.fail = trouble
    group: GroupCommit[int, int] = GroupCommit(commits)
    with pytest.raises(told):
        await group.submit(2)


async def test_repeating_one_by_one_ends_at_the_first_lock() -> None:
    commits: list[list[int]] = []

    async def commit(asks: Sequence[int]) -> list[int | Exception]:
        commits.append(list(asks))
        if len(asks) > 1:
            raise store.StatementFailed("poison")
        if asks == [4]:
            raise store.Busy("halt")
        return [ask * 10 for ask in asks]

    group: GroupCommit[int, int] = GroupCommit(commit)
    answers = await asyncio.gather(*(group.submit(n) for n in (2, 4, 6)), return_exceptions=True)
    assert answers[0] == 20
    assert [type(answer) for answer in answers[1:]] == [errors.Unavailable] * 2
    assert commits == [[2, 4, 6], [2], [4]]
