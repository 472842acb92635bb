"""Group commit: what queued while the previous commit ran shares the next one, so a lone request
waits for nobody, and under load the batches grow by themselves up to a cap. In between, where a few
wait again at each commit's end, the next one gathers a moment longer: half of what a small batch
costs is the statement, not its rows.

A batch that the database refuses is repeated one by one, so that one poisoned request cannot fail
its neighbours. A batch that waited for a lock in vain is not repeated: each of its members could
wait as long again, one after the other. A batch whose answer was lost is not repeated: nobody
knows whether it was committed, and each sender is told so.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from orderonce_api import errors, store

CAP = 64  # beyond it a batch gains little and its first member waits for its last
# That many waiting at a commit's end are gathered for: fewer are better answered at once, and more
# share the statement's cost well enough.
FEW, ENOUGH = 2, 16
GATHER_S = 0.004
MAX_WAITING = 4_096  # about a second of work: later ones are told to come again
MAX_REPEATS = 5  # deadlocks and serialization failures in a row

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


class GroupCommit(Generic[Ask, Answer]):
    """`commit(asks)` gives one answer or exception per ask, in order, or raises for the whole
    batch.
    """

    def __init__(
        self, commit: Callable[[Sequence[Ask]], Awaitable[Sequence[Answer | Exception]]]
    ) -> None:
        self._commit = commit
        self._waiting: deque[tuple[Ask, asyncio.Future[Answer]]] = deque()
        self._drain: asyncio.Task[None] | None = None

    async def submit(self, ask: Ask) -> Answer:
        """The answer, after its commit. Raises ApiProblem."""
        if len(self._waiting) >= MAX_WAITING:
            raise errors.Unavailable("too many requests are waiting for their commit")
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, waiter))
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._run(), name="group commit")
        return await waiter

    async def _run(self) -> None:
        while self._waiting:
            size = min(len(self._waiting), CAP)
            batch = [self._waiting.popleft() for _ in range(size)]
            try:
                self._hand_out(batch, await self._together([ask for ask, _ in batch]))
            finally:  # whatever went wrong here, nobody is left waiting
                for _, waiter in batch:
                    if not waiter.done():
                        waiter.set_exception(errors.Internal())
            if FEW <= len(self._waiting) < ENOUGH:
                await asyncio.sleep(GATHER_S)

    def _hand_out(
        self,
        batch: Sequence[tuple[Ask, asyncio.Future[Answer]]],
        answers: Sequence[Answer | Exception],
    ) -> None:
        for (_, waiter), answer in zip(batch, answers, strict=True):
            if waiter.done():  # its sender has gone
                continue
            if isinstance(answer, BaseException):
                waiter.set_exception(answer)
            else:
                waiter.set_result(answer)

    async def _together(self, asks: Sequence[Ask]) -> Sequence[Answer | Exception]:
        for _ in range(MAX_REPEATS):
            try:
                return await self._commit(asks)
            except store.TryAgain:
                continue
            except store.Lost as error:
                return [_lost(error) for _ in asks]
            except store.Busy as error:
                twin = len(asks) == 1 and isinstance(error, store.KeyHeld)
                return [errors.KeyBusy()] if twin else [_held_up(error) for _ in asks]
            except Exception as error:  # handed to each waiting request
                return [error] if len(asks) == 1 else await self._one_by_one(asks)
        return [errors.Unavailable("the database is busy") for _ in asks]

    async def _one_by_one(self, asks: Sequence[Ask]) -> Sequence[Answer | Exception]:
        answers: list[Answer | Exception] = []
        for position, ask in enumerate(asks):
            answers += await self._together([ask])
            cause = answers[-1].__cause__ if isinstance(answers[-1], Exception) else None
            if isinstance(cause, store.Busy):  # the others would wait for it as well
                return answers + [_held_up(cause) for _ in asks[position + 1 :]]
        return answers


def _held_up(error: store.Busy) -> errors.Unavailable:
    problem = errors.Unavailable("a lock in the database is held too long; nothing was decided")
    problem.__cause__ = error
    return problem


def _lost(error: store.Lost) -> errors.Unavailable:
    problem = errors.Unavailable(
        "the database did not answer; whether this was accepted is known when the same request"
        " comes again"
    )
    problem.__cause__ = error
    return problem
