"""PURE: the noun of this service, one row per order."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from orderonce_shared.domain.lifecycle import State
from orderonce_shared.domain.order import OrderTerms
from orderonce_shared.domain.venue import Fee


class Placement(NamedTuple):
    """The executor's row for one order. `terms` is None while only its cancel is known.

    A tuple, not a dataclass: an order's way makes six of them, and `_replace` takes a fifth of the
    time that `dataclasses.replace` takes on a frozen class of 33 fields.
    """

    order_id: UUID
    client: str
    key: str
    account: str
    venue: str
    symbol: str
    client_order_id: str
    terms: OrderTerms | None
    expires_at: datetime | None
    traceparent: str
    timeline: str
    version: int
    state: State
    attempt: int
    signed_at_ms: int | None
    window_ms: int | None
    sent_at: datetime | None
    cancel_requested: bool
    venue_order_id: str | None
    filled_quantity: Decimal
    filled_cost: Decimal
    fees: tuple[Fee, ...]
    reason_code: str | None
    reason_detail: str | None
    refusals: int
    last_refusal: str | None
    owner: UUID
    next_at: datetime
    settled: bool
    created_at: datetime
    updated_at: datetime
    key_id: str | None = None
    payload_hash: str | None = None
