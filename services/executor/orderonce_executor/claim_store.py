"""The claim's statements: inserts that own, locks on what is known already, the consumer's
position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from orderonce_shared.contracts.commands import CancelCommand, PlaceCommand
from orderonce_shared.contracts.wire import render_time
from orderonce_shared.domain.identity import client_order_id
from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.money import render_amount
from orderonce_shared.domain.order import OrderTerms
from orderonce_shared.domain.reasons import REASON_TEXT, EndingCode
from orderonce_shared.runtime.database import Connection

from orderonce_executor.placement import Placement
from orderonce_executor.rows import Row, placement
from orderonce_executor.store import PgStore, Q, RacedError, TimelineError

if TYPE_CHECKING:
    from orderonce_executor.claim import Asked


@dataclass(frozen=True, slots=True)
class StoredCommand:
    order_id: UUID
    payload_hash: str


class ClaimStore(PgStore):
    """PgStore with what only the claim needs. All methods run inside the caller's transaction."""

    async def claim_places(
        self, connection: Connection, asked: "Sequence[Asked]"
    ) -> list[Placement]:
        """The rows that are ours now, made of the commands: the database tells only what it set."""
        pairs = [(a, a.command) for a in asked if isinstance(a.command, PlaceCommand)]
        ids = [client_order_id(c.client, c.key) for _, c in pairs]
        found = await connection.fetch(
            Q["claim_places"],
            [c.order_id for _, c in pairs],
            [c.client for _, c in pairs],
            [c.key for _, c in pairs],
            [c.account for _, c in pairs],
            [c.venue for _, c in pairs],
            [c.symbol for _, c in pairs],
            ids,
            [c.side.value for _, c in pairs],
            [c.type.value for _, c in pairs],
            [_text(c.quantity) for _, c in pairs],
            [_text(c.price) for _, c in pairs],
            [c.time_in_force.value for _, c in pairs],
            [c.post_only for _, c in pairs],
            [render_time(c.expires_at) for _, c in pairs],
            [a.payload_hash for a, _ in pairs],
            [c.key_id for _, c in pairs],
            [c.accept_seq for _, c in pairs],
            [c.seq for _, c in pairs],
            [a.traceparent for a, _ in pairs],
            [c.timeline for _, c in pairs],
            self.timeline,
            self.owner,
            [_text(c.quote_quantity) for _, c in pairs],
        )
        kept = {row["order_id"]: row for row in found}
        return [
            self._claimed(a, c, id, kept[c.order_id])
            for (a, c), id in zip(pairs, ids, strict=True)
            if c.order_id in kept
        ]

    def _claimed(self, asked: "Asked", c: PlaceCommand, id: str, kept: Row) -> Placement:
        """As the query `claim_places` and the columns' defaults make a row."""
        return Placement(
            order_id=c.order_id,
            client=c.client,
            key=c.key,
            account=c.account,
            venue=c.venue,
            symbol=c.symbol,
            client_order_id=id,
            terms=OrderTerms(
                c.account,
                c.symbol,
                c.side,
                c.type,
                c.quantity,
                c.price,
                c.time_in_force,
                c.post_only,
                c.quote_quantity,
            ),
            expires_at=c.expires_at,
            traceparent=asked.traceparent,
            timeline=self.timeline,
            version=1,
            state=State.CLAIMED,
            attempt=0,
            signed_at_ms=None,
            window_ms=None,
            sent_at=None,
            cancel_requested=False,
            venue_order_id=None,
            filled_quantity=Decimal(0),
            filled_cost=Decimal(0),
            fees=(),
            reason_code=None,
            reason_detail=None,
            refusals=0,
            last_refusal=None,
            owner=self.owner,
            next_at=kept["next_at"],
            settled=False,
            created_at=kept["created_at"],
            updated_at=kept["updated_at"],
            key_id=c.key_id,
            payload_hash=asked.payload_hash,
        )

    async def venues(self, connection: Connection, accounts: Sequence[str]) -> dict[str, str]:
        """account -> its venue, of those that are admitted."""
        found: Sequence[Row] = await connection.fetch(Q["accounts"], list(accounts))
        return {row["account"]: row["venue"] for row in found}

    async def claim_commands(
        self, connection: Connection, asked: "Sequence[Asked]"
    ) -> set[tuple[str, str]]:
        """The (client, key) of the cancels that are ours."""
        found = await connection.fetch(
            Q["claim_commands"],
            [a.command.client for a in asked],
            [a.command.key for a in asked],
            [a.command.order_id for a in asked],
            [a.command.account for a in asked],
            [a.command.venue for a in asked],
            [a.payload_hash for a in asked],
            [a.command.key_id for a in asked],
            [a.command.accept_seq for a in asked],
            [a.command.seq for a in asked],
            [a.command.timeline for a in asked],
            [a.traceparent for a in asked],
            self.timeline,
        )
        return {(row["client"], row["key"]) for row in found}

    async def claim_cancel_first(self, connection: Connection, one: "Asked") -> Placement:
        command = one.command
        assert isinstance(command, CancelCommand)
        found = await connection.fetch(
            Q["claim_cancels_first"],
            [command.order_id],
            [command.client],
            [command.place_key],
            [command.account],
            [command.venue],
            [command.symbol],
            [client_order_id(command.client, command.place_key)],
            [one.traceparent],
            self.timeline,
            EndingCode.CANCELED_BY_CLIENT.value,
            REASON_TEXT[EndingCode.CANCELED_BY_CLIENT],
            self.owner,
        )
        if not found:
            raise RacedError("the place of this cancel is being claimed")
        return placement(found[0])

    async def present_placements(
        self, connection: Connection, ids: Sequence[UUID], names: Sequence[tuple[str, str]]
    ) -> list[Placement]:
        found = await connection.fetch(
            Q["present_placements"], list(ids), [c for c, _ in names], [k for _, k in names]
        )
        return [placement(row) for row in found]

    async def rows_of_cancels(
        self, connection: Connection, cancels: "Sequence[Asked]"
    ) -> list[Placement]:
        commands = [a.command for a in cancels if isinstance(a.command, CancelCommand)]
        return await self.present_placements(
            connection,
            [c.order_id for c in commands],
            [(c.client, c.place_key) for c in commands],
        )

    async def present_commands(
        self, connection: Connection, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], StoredCommand]:
        found: Sequence[Row] = await connection.fetch(
            Q["present_commands"], [c for c, _ in names], [k for _, k in names]
        )
        return {
            (row["client"], row["key"]): StoredCommand(row["order_id"], row["payload_hash"])
            for row in found
        }

    async def learn_terms(self, connection: Connection, row: Placement, one: "Asked") -> Placement:
        """The place's terms for a row that its cancel made: it stays CANCELED."""
        c = one.command
        assert isinstance(c, PlaceCommand)
        assert row.state is State.CANCELED
        found = await connection.fetchrow(
            Q["learn_terms"],
            row.order_id,
            c.side.value,
            c.type.value,
            c.quantity,
            c.price,
            c.time_in_force.value,
            c.post_only,
            c.expires_at,
            one.payload_hash,
            c.key_id,
            c.accept_seq,
            c.seq,
            c.timeline,
            c.quote_quantity,
        )
        if found is None:
            raise TimelineError("the database is on another history than this row")
        return placement(found)

    async def save_positions(
        self, connection: Connection, positions: Mapping[tuple[str, int], int]
    ) -> None:
        await connection.execute(
            Q["save_positions"],
            [topic for topic, _ in positions],
            [partition for _, partition in positions],
            list(positions.values()),
            self.timeline,
        )

    async def require_timeline(self, connection: Connection) -> None:
        """Nothing is claimed on another history (R13)."""
        present = await connection.fetchval(Q["timeline"])
        if present != self.timeline:
            raise TimelineError(
                f"the database is on history {present}, these rows on {self.timeline}"
            )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else render_amount(amount)
