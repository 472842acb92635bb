"""VERB: bring what clients see up to what the executor said. Snapshots in any order, any number of
times.

One statement per batch applies only higher (timeline, version), keeps history and closes the
outbox rows of claimed commands. The process dies before it: the batch comes again. After it and
before the offsets: it comes again and changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from orderonce_shared.contracts.events import OrderEvent
from orderonce_shared.contracts.fills import FillRecord
from orderonce_shared.domain.money import render_amount
from orderonce_shared.runtime.logs import Logger

from orderonce_api.metrics import Metrics
from orderonce_api.store import StatementFailed, Store, TryAgain

MAX_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Follower:
    store: Store
    metrics: Metrics
    log: Logger

    async def events(self, values: Sequence[bytes | None]) -> None:
        """A batch of `orders.events`. Raises StoreError: the batch is to be offered again."""
        decoded = [event for value in values if (event := self._event(value)) is not None]
        if decoded:
            await self._apply(decoded)

    async def fills(self, values: Sequence[bytes | None]) -> None:
        """A batch of `orders.fills`."""
        decoded = [fill for value in values if (fill := self._fill(value)) is not None]
        if decoded:
            await self._keep(decoded)

    def _event(self, value: bytes | None) -> OrderEvent | None:
        try:
            return OrderEvent.decode(value or b"")
        except ValueError as error:
            self._undecodable("orders.events", error)
            self.metrics.events.labels("undecodable").inc()
            return None

    def _fill(self, value: bytes | None) -> FillRecord | None:
        try:
            return FillRecord.decode(value or b"")
        except ValueError as error:
            self._undecodable("orders.fills", error)
            self.metrics.fills.labels("undecodable").inc()
            return None

    def _undecodable(self, topic: str, error: ValueError) -> None:
        """Stepped over: a snapshot is repeated by the next change, and a fill stands in the
        ledger.
        """
        self.log.error("undecodable-record", topic=topic, error=str(error)[:500])

    async def _apply(self, events: Sequence[OrderEvent]) -> None:
        claims = [(event.client, key) for event in events for key in event.claimed_keys]
        for _ in range(MAX_REPEATS):
            try:
                counts = await self.store.follow_events([_event_row(e) for e in events], claims)
            except TryAgain:
                continue
            except StatementFailed as error:
                if len(events) > 1:
                    for event in events:
                        await self._apply([event])
                else:
                    self.metrics.events.labels("refused").inc()
                    self.log.error(
                        "event-refused", order_id=str(events[0].order_id), error=str(error)
                    )
                return
            else:
                count = self.metrics.events.labels
                count("applied").inc(counts["applied"])
                count("stale").inc(counts["known"] - counts["applied"])
                count("unknown").inc(counts["told"] - counts["known"])
                return
        raise TryAgain(f"{len(events)} events met a deadlock {MAX_REPEATS} times")

    async def _keep(self, fills: Sequence[FillRecord]) -> None:
        for _ in range(MAX_REPEATS):
            try:
                kept = await self.store.follow_fills([_fill_row(f) for f in fills])
            except TryAgain:
                continue
            except StatementFailed as error:
                if len(fills) > 1:
                    for fill in fills:
                        await self._keep([fill])
                else:
                    self.metrics.fills.labels("refused").inc()
                    self.log.error(
                        "fill-refused", order_id=str(fills[0].order_id), error=str(error)
                    )
                return
            else:
                self.metrics.fills.labels("kept").inc(kept)
                self.metrics.fills.labels("known_or_foreign").inc(len(fills) - kept)
                return
        raise TryAgain(f"{len(fills)} fills met a deadlock {MAX_REPEATS} times")


def _event_row(event: OrderEvent) -> tuple[Any, ...]:
    """One line for `follow_events`, in the order of its arrays."""
    return (
        event.client,
        event.key,
        event.timeline,
        event.version,
        event.status.value,
        event.final,
        event.reason.code if event.reason else None,
        _text(event.reason.detail) if event.reason else None,
        _text(event.venue_order_id),
        event.filled_quantity,
        event.filled_cost,
        _fees(event),
        event.attempt,
        event.cancel_requested,
        event.sent_at,
        event.at,
        event.order_id,
    )


def _fill_row(fill: FillRecord) -> tuple[Any, ...]:
    """One line for `follow_fills`, in the order of its arrays."""
    return (
        fill.venue,
        fill.account,
        fill.symbol,
        fill.trade_id,
        fill.venue_order_id,
        fill.side.value,
        fill.order_id,
        fill.quantity,
        fill.price,
        fill.cost,
        _fees(fill),
        fill.liquidity,
        fill.traded_at,
        fill.client,
    )


def _fees(record: OrderEvent | FillRecord) -> str:
    if not record.fees:
        return "[]"
    fees = [{"asset": fee.asset, "amount": render_amount(fee.amount)} for fee in record.fees]
    return orjson.dumps(fees).decode()


def _text(words: str | None) -> str | None:
    """The venue's own words may hold what Postgres refuses in text."""
    return None if words is None else words.replace("\0", "?")
