"""VERB: make commands ours, once (R3). A row that an insert returned is ownership; everything else
is answered or refused.

One transaction per batch: rows, cancel marks, the consumer's position, and the events that say
`claimed`. It dies before the commit: nothing happened, Kafka hands the batch to somebody again.
After the commit: the rows are claimed and the batch comes again; each command is then a repeat, and
its present state is said once more, which heals lost events too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from orderonce_shared.contracts.commands import CancelCommand, PlaceCommand
from orderonce_shared.domain.lifecycle import MIGHT_BE_LIVE, State
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.database import Connection

from orderonce_executor.claim_store import ClaimStore, StoredCommand
from orderonce_executor.core import CancelAsked, decide
from orderonce_executor.events import event_letter
from orderonce_executor.placement import Placement
from orderonce_executor.ports import Change, Letter, Posted

Name = tuple[str, str]  # (client, key)


@dataclass(frozen=True, slots=True)
class Asked:
    """One decoded command with where it came from. `dead_letter(why)` is what goes to the DLQ if it
    is refused."""

    command: PlaceCommand | CancelCommand
    payload_hash: str
    traceparent: str
    dead_letter: Callable[[str], Letter]

    @property
    def name(self) -> Name:
        return self.command.client, self.command.key


@dataclass(slots=True)
class Claim:
    """What a batch came to."""

    claimed: list[Placement] = field(default_factory=list)  # ours now, to be sent
    to_cancel: list[Placement] = field(default_factory=list)  # marked, and perhaps live
    canceled: list[Placement] = field(default_factory=list)  # before they were sent
    repeats: int = 0
    alarms: list[tuple[Asked, str]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)

    def add(self, other: "Claim") -> None:
        self.claimed += other.claimed
        self.to_cancel += other.to_cancel
        self.canceled += other.canceled
        self.repeats += other.repeats
        self.alarms += other.alarms
        self.letters += other.letters
        self.posted += other.posted


async def claim(
    store: ClaimStore,
    connection: Connection,
    asked: Sequence[Asked],
    clock: Clock,
) -> Claim:
    """Inside the caller's transaction. Raises RacedError when another process claims the same keys
    at this moment."""
    result = Claim()
    places = [a for a in asked if isinstance(a.command, PlaceCommand)]
    cancels = [a for a in asked if isinstance(a.command, CancelCommand)]
    places = await _at_their_venue(store, connection, places, result)
    left = await _claim_new_places(store, connection, places, result)
    if left:
        await _answer_known_places(store, connection, left, result)
    if cancels:
        await _claim_cancels(store, connection, cancels, clock, result)
    result.letters += [a.dead_letter(why) for a, why in result.alarms]
    result.posted = await store.post(connection, result.letters)
    return result


async def _at_their_venue(
    store: ClaimStore, connection: Connection, places: list[Asked], result: Claim
) -> list[Asked]:
    """Refuses what names another venue than its account has: no sender could ever take it. An
    account that is not admitted may still be, so its orders are claimed and lapse if it is not."""
    if not places:
        return places
    venues = await store.venues(connection, sorted({a.command.account for a in places}))
    fits: list[Asked] = []
    for one in places:
        if venues.get(one.command.account, one.command.venue) == one.command.venue:
            fits.append(one)
        else:
            result.alarms.append((one, "the account is at another venue"))
    return fits


async def _claim_new_places(
    store: ClaimStore, connection: Connection, places: list[Asked], result: Claim
) -> list[Asked]:
    """Inserts what is new; returns the commands that an insert did not take."""
    first: dict[Name, Asked] = {}
    ids: set[UUID] = set()
    left: list[Asked] = []
    for one in places:
        if one.name in first or one.command.order_id in ids:
            left.append(one)
        else:
            first[one.name] = one
            ids.add(one.command.order_id)
    won = await store.claim_places(connection, list(first.values())) if first else []
    names = {(p.client, p.key) for p in won}
    result.claimed += won
    result.letters += [event_letter(p, claimed_keys=(p.key,)) for p in won]
    return [one for name, one in first.items() if name not in names] + left


async def _answer_known_places(
    store: ClaimStore, connection: Connection, left: list[Asked], result: Claim
) -> None:
    rows = await store.present_placements(
        connection, [a.command.order_id for a in left], [a.name for a in left]
    )
    commands = await store.present_commands(connection, [a.name for a in left])
    by_name = {(p.client, p.key): p for p in rows}
    ids = {p.order_id for p in rows}
    for one in left:
        command = one.command
        assert isinstance(command, PlaceCommand)
        row = by_name.get(one.name)
        if one.name in commands:
            result.alarms.append((one, "the key is that of another command"))
        elif row is None and command.order_id in ids:
            result.alarms.append((one, "the order id is that of another key"))
        elif row is None:
            result.alarms.append((one, "the client order id is that of another order"))
        elif row.payload_hash is None:
            row = await store.learn_terms(connection, row, one)
            by_name[one.name] = row
            result.letters.append(_answer(row, one))
        elif row.payload_hash == one.payload_hash:
            result.repeats += 1
            result.letters.append(_answer(row, one))
        else:
            result.alarms.append((one, "the same key with another payload"))


async def _claim_cancels(
    store: ClaimStore,
    connection: Connection,
    cancels: list[Asked],
    clock: Clock,
    result: Claim,
) -> None:
    first: dict[Name, Asked] = {}
    for one in cancels:
        first.setdefault(one.name, one)
    won = await store.claim_commands(connection, list(first.values()))
    known = await store.present_commands(connection, [a.name for a in cancels])
    rows = {p.order_id: p for p in await store.rows_of_cancels(connection, cancels)}
    by_name = {(p.client, p.key): p for p in rows.values()}
    for one in cancels:
        trouble = _cancel_trouble(one, known, rows)
        if trouble is not None:
            result.alarms.append((one, trouble))
            continue
        command = one.command
        assert isinstance(command, CancelCommand)
        row = rows.get(command.order_id) or by_name.get((command.client, command.place_key))
        if row is None:
            row = await store.claim_cancel_first(connection, one)
        elif one.name in won and one is first[one.name]:
            row = await _mark(store, connection, row, clock, result)
        else:
            result.repeats += 1
        rows[row.order_id] = by_name[(row.client, row.key)] = row
        result.letters.append(_answer(row, one))


def _cancel_trouble(
    one: Asked, known: dict[Name, StoredCommand], rows: dict[UUID, Placement]
) -> str | None:
    """Why a cancel is refused, or None."""
    command = one.command
    assert isinstance(command, CancelCommand)
    stored = known.get(one.name)
    if stored is None:
        return "the key is that of a place"
    if stored.payload_hash != one.payload_hash:
        return "the same key with another payload"
    row = rows.get(command.order_id)
    if row is not None and (row.client, row.key, row.account) != (
        command.client,
        command.place_key,
        command.account,
    ):
        return "the order is not the one that the cancel speaks of"
    return None


async def _mark(
    store: ClaimStore, connection: Connection, row: Placement, clock: Clock, result: Claim
) -> Placement:
    """The durable mark first (R10); what the venue has to be told follows after the commit, and by
    the mark alone if this process dies in between."""
    after, _ = decide(row, CancelAsked(), clock.now())
    if after is row:
        return row
    recorded = await store.record_in(connection, [Change(row, after)])
    (saved,) = recorded.rows
    assert saved is not None, "the row is locked by this transaction"
    result.posted += recorded.posted
    if saved.state in MIGHT_BE_LIVE:
        result.to_cancel.append(saved)
    if saved.state is State.CANCELED:
        result.canceled.append(saved)
        result.claimed[:] = [p for p in result.claimed if p.order_id != saved.order_id]
    return saved


def _answer(row: Placement, one: Asked) -> Letter:
    other = one.command.order_id if one.command.order_id != row.order_id else None
    return event_letter(row, claimed_keys=(one.command.key,), asked_order_id=other)
