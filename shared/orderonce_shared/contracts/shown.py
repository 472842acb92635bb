"""Answers about what went wrong or twice: idempotency keys and dead letters. More of http.py."""

from typing import Literal

from orderonce_shared.contracts.http import Shown, ShownTime


class ConflictShown(Shown):
    """One key that was used for another request. `order_id` is of the one that stands, `kid` names
    the API key that asked.
    """

    at: ShownTime
    idempotency_key: str
    order_id: str
    differs: list[str]
    kid: str


class IdempotencyShown(Shown):
    """What became of a client's keys since the start of a minute; the newest conflicts first."""

    client: str
    since: ShownTime
    first_accepts: int
    denials: int
    replays: int
    conflicts: int
    expired: int
    last_conflicts: list[ConflictShown]


class BlobShown(Shown):
    """Bytes of a stranger, safe to show. `bytes` is their number; `whole` is false where `text` is
    only their beginning.
    """

    encoding: Literal["utf-8", "base64"]
    text: str
    bytes: int
    whole: bool


class LetterShown(Shown):
    """A dead letter. `offset` is where its record lay last, `times` how often it was refused;
    `changed_by` is the API key that replayed or discarded it.
    """

    letter_id: str
    state: Literal["waiting", "replaying", "replayed", "discarded"]
    replayable: bool
    topic: str
    partition: int
    offset: int
    error: str
    order_id: str | None
    client: str | None
    first_seen: ShownTime
    last_seen: ShownTime
    times: int
    replays: int
    changed_at: ShownTime | None
    changed_by: str | None
    reason: str | None
    value: BlobShown


class HeaderShown(Shown):
    name: str
    value: BlobShown


class WholeLetterShown(LetterShown):
    key: BlobShown | None
    headers: list[HeaderShown]
    header_count: int


class LetterPage(Shown):
    letters: list[LetterShown]
    next_cursor: str | None
