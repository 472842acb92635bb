"""order.v1 on `orders.events`: the whole state of one order after a change. Readers apply only a
higher (timeline, version).

An event is a snapshot, not a difference, so that a lost, repeated or reordered one does no harm; a
repeated command makes the executor send the present snapshot again, which heals lost events.
"""

from typing import Literal
from uuid import UUID

from pydantic import Field

from orderonce_shared.contracts.commands import Name, Symbol
from orderonce_shared.contracts.wire import Amount, BookedAmount, Record, SignedAmount, Timestamp
from orderonce_shared.domain.lifecycle import Status


class Reason(Record):
    """Why an order ended without a fill, or why it is unknown. `code` is one of domain.reasons."""

    code: str
    detail: str


class FeeTotal(Record):
    asset: str
    amount: SignedAmount


class OrderEvent(Record):
    """One order as the executor's row says. `claimed_keys`: idempotency keys of the commands that
    this event confirms as claimed (their outbox rows are done). `asked_order_id`: set when a second
    record with the same (client, key) but another order id is answered with this order (F25).
    """

    schema_: Literal["order.v1"] = Field(default="order.v1", alias="schema")
    order_id: UUID
    client: str
    key: str
    account: Name
    venue: Name
    symbol: Symbol
    client_order_id: str
    status: Status
    final: bool
    reason: Reason | None = None
    venue_order_id: str | None = None
    filled_quantity: Amount
    filled_cost: BookedAmount
    fees: tuple[FeeTotal, ...] = ()
    attempt: int
    cancel_requested: bool = False
    sent_at: Timestamp | None = None
    at: Timestamp
    timeline: str
    version: int
    claimed_keys: tuple[str, ...] = ()
    asked_order_id: UUID | None = None
