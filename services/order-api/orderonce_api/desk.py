"""What both verbs at the desk share: what is asked, what is answered, and the answer to a key that
is decided already.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, assert_never
from uuid import UUID

from orderonce_shared.contracts.wire import render_time
from orderonce_shared.domain.order import OrderTerms
from orderonce_shared.runtime.bearer import Caller
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.failpoints import Failpoints
from orderonce_shared.runtime.logs import Logger
from orderonce_shared.runtime.tracing import OFF, Tracing, trace_id

from orderonce_api import core, errors, store
from orderonce_api.metrics import Metrics
from orderonce_api.relay import Line, Relay
from orderonce_api.tally import Reuse, Tally, What

PLACE_ROUTE = "/v1/orders"
CANCEL_ROUTE = "/v1/orders/{order_id}/cancel"


class PlaceAsk(NamedTuple):
    """One parsed request to place. `canonical` and `print_` say what was asked for."""

    caller: Caller
    key: str
    terms: OrderTerms
    client_tag: str | None
    expires_at: datetime | None
    canonical: str
    print_: bytes
    traceparent: str
    request_id: str


@dataclass(frozen=True, slots=True)
class CancelAsk:
    caller: Caller
    key: str
    order_id: UUID
    canonical: str
    print_: bytes
    traceparent: str
    request_id: str


class Reply(NamedTuple):
    """What is answered; the same bytes to every retry."""

    status: int
    body: bytes
    order_id: str
    replayed: bool


@dataclass(frozen=True, slots=True)
class Desk:
    """What both verbs need."""

    writer: store.Writer
    relay: Relay
    line: Line
    clock: Clock
    metrics: Metrics
    log: Logger
    failpoints: Failpoints
    key_life: timedelta
    defaults: core.Defaults
    tally: Tally
    tracing: Tracing = OFF


def place_ask(
    caller: Caller,
    key: str,
    terms: OrderTerms,
    client_tag: str | None,
    expires_at: datetime | None,
    *,
    traceparent: str,
    request_id: str,
) -> PlaceAsk:
    shown = None if expires_at is None else render_time(expires_at)
    body = core.canonical_place(terms, shown, client_tag)
    canonical = core.canonical_text("POST", PLACE_ROUTE, body)
    print_ = core.fingerprint(terms.account, canonical)
    return PlaceAsk(
        caller, key, terms, client_tag, expires_at, canonical, print_, traceparent, request_id
    )


def cancel_ask(
    caller: Caller, key: str, order_id: UUID, *, traceparent: str, request_id: str
) -> CancelAsk:
    """The order names its account, so the fingerprint needs none of its own."""
    canonical = core.canonical_text("POST", CANCEL_ROUTE, {"order_id": str(order_id)})
    print_ = core.fingerprint("", canonical)
    return CancelAsk(caller, key, order_id, canonical, print_, traceparent, request_id)


def settle(desk: Desk, ask: PlaceAsk | CancelAsk, row: Any, now: datetime) -> Reply | Exception:
    """A key that is decided already: replay, conflict or expired. Never a check, never an
    execution.
    """
    stored = core.Stored(*(row[name] for name in _STORED_FIELDS))
    order_id = str(stored.order_id)
    meaning = core.meaning_of(stored, ask.print_, ask.canonical, now=now, life=desk.key_life)
    match meaning:
        case core.Replay():
            desk.metrics.replays.labels(stored.kind).inc()
            desk.tally.count(ask.caller.client, What.REPLAY)
            return Reply(stored.status, stored.body, order_id, replayed=True)
        case core.Conflict(differs):
            desk.metrics.conflicts.inc()
            desk.tally.conflict(
                Reuse(ask.caller.client, ask.key, row["order_id"], differs, ask.caller.kid)
            )
            desk.log.warning(
                "idempotency-key-reused",
                audit=True,
                client=ask.caller.client,
                kid=ask.caller.kid,
                order_id=order_id,
                differs=differs,
                request_id=ask.request_id,
                trace_id=trace_id(ask.traceparent),
            )
            return errors.KeyReused(order_id, differs)
        case core.Expired():
            desk.tally.count(ask.caller.client, What.EXPIRED)
            return errors.KeyExpired(order_id)
        case core.FromAnotherVersion():
            return errors.Unavailable("this key was made by a newer version of this service")
        case _:
            assert_never(meaning)


_STORED_FIELDS = (
    "command_id",
    "order_id",
    "kind",
    "fingerprint",
    "fingerprint_version",
    "canonical",
    "status",
    "body",
    "created_at",
)
