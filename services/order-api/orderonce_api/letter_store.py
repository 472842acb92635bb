"""The store of dead letters. A listing never carries a whole value: one may have a mebibyte."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from orderonce_api.store import Row, Store, columns

PREVIEW_BYTES = 200
SHOWN_BYTES = 16 * 1024


class LetterStore(Store):
    async def keep_letters(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """One line each, in the order of the query's arrays; no letter twice."""
        if rows:
            await self._fetch("keep_letters", *columns(rows))

    async def list_letters(
        self,
        below: tuple[datetime, UUID],
        *,
        waiting: bool,
        state: str | None,
        topic: str | None,
        limit: int,
    ) -> list[Row]:
        """Newest first; `waiting` leaves out what a person has dealt with."""
        return await self._after(
            "plan_anew", "list_letters", *below, waiting, state, topic, PREVIEW_BYTES, limit
        )

    async def letter(self, letter_id: UUID) -> Row | None:
        """The first SHOWN_BYTES of the value as `preview`."""
        return await self._one("letter", letter_id, SHOWN_BYTES)

    async def count_letters(self) -> int:
        count: int = (await self._fetch("count_letters"))[0]["count"]
        return count

    async def forget_letters(self, before: datetime, limit: int) -> int:
        """How many of those that a person dealt with before then were taken out."""
        return len(await self._fetch("forget_letters", before, limit))

    async def begin_replay(self, letter_id: UUID, by: str, take_over_s: float) -> Row | None:
        """The whole letter, ours to replay now; None when it is not to be had."""
        return await self._one("begin_replay", letter_id, by, take_over_s)

    async def end_replay(self, letter_id: UUID, times: int, done: bool) -> Row | None:
        rows = await self._fetch("end_replay", letter_id, times, done)
        return await self.letter(letter_id) if rows else None

    async def discard_letter(self, letter_id: UUID, reason: str | None, by: str) -> Row | None:
        rows = await self._fetch("discard_letter", letter_id, reason, by)
        return await self.letter(letter_id) if rows else None
