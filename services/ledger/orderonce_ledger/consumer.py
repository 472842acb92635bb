"""The Kafka door: a batch of records from orders.fills -> one booking transaction -> (the helper
commits the offsets).

Dies before the commit: nothing is booked, the batch comes again. Dies between the commit and the
offsets: the batch comes again and every record is found known. A record that nobody can book goes
to orders.dlq with its original bytes, and only then do the offsets move on; if the brokers do not
take it there, the whole batch is tried again.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import ConsumerRecord
from orderonce_shared.contracts.fills import FillRecord
from orderonce_shared.contracts.letters import letter_headers, origin_of
from orderonce_shared.contracts.topics import DLQ, header, prefixed
from orderonce_shared.domain.venue import Fee, VenueFill
from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.kafka_consumer import Batch
from orderonce_shared.runtime.kafka_publisher import Outgoing, Publisher
from orderonce_shared.runtime.logs import Logger
from orderonce_shared.runtime.tracing import trace_id

from orderonce_ledger.book import Received, Steps, book_fills, received
from orderonce_ledger.core import Ours, Ruling, Trade
from orderonce_ledger.metrics import Metrics
from orderonce_ledger.store import Refused, Store


def read_record(raw: bytes | str) -> Received:
    """Raises ValueError for bytes that are not a fill.v1, or that no journal can say."""
    text = raw.decode() if isinstance(raw, bytes) else raw
    record = FillRecord.model_validate_json(text)
    fill = VenueFill(
        symbol=record.symbol,
        trade_id=record.trade_id,
        venue_order_id=record.venue_order_id,
        side=record.side,
        quantity=record.quantity,
        price=record.price,
        cost=record.cost,
        fees=tuple(Fee(fee.asset, fee.amount) for fee in record.fees),
        liquidity=record.liquidity,
        traded_at=record.traded_at,
    )
    ours = Ours(record.order_id, record.client, record.client_order_id)
    return received(Trade(record.venue, record.account, fill), ours, text)


class NotParkedError(RuntimeError):
    """The brokers did not take a dead letter: the batch must be tried again."""


@dataclass(slots=True)
class FillConsumer:
    """`handle` is what the subscription calls, again and again until it returns."""

    store: Store
    publisher: Publisher
    metrics: Metrics
    clock: Clock
    log: Logger
    steps: Steps
    topic_prefix: str

    async def handle(self, records: Batch) -> None:
        good: list[tuple[ConsumerRecord, Received]] = []
        for record in records:
            try:
                good.append((record, read_record(record.value or b"")))
            except ValueError as error:
                await self._dead_letter(record, error)
        if good:
            await self._book(good)

    async def _book(self, good: Sequence[tuple[ConsumerRecord, Received]]) -> None:
        """All in one transaction; if Postgres refuses a row, one by one, so that it falls alone."""
        started = self.clock.monotonic()
        try:
            counts = await book_fills(self.store, [fill for _, fill in good], self.steps)
        except Refused as error:
            if len(good) == 1:
                await self._dead_letter(good[0][0], error)
                return
            for one in good:
                await self._book([one])
            return
        self.metrics.batch_size.observe(len(good))
        self.metrics.book_seconds.observe(self.clock.monotonic() - started)
        now_ms = self.clock.now().timestamp() * 1000
        self.metrics.lag_seconds.observe(max(0.0, now_ms - good[0][0].timestamp) / 1000)
        count_rulings(self.metrics, self.log)(counts)

    async def _dead_letter(self, record: ConsumerRecord, error: Exception) -> None:
        words = f"{type(error).__name__}: {error}"[:1000]
        self.log.error(
            "fill-refused",
            partition=record.partition,
            offset=record.offset,
            error=words,
            trace_id=trace_id(header(record.headers, "traceparent")),
        )
        self.metrics.refused.inc()
        headers = letter_headers(origin_of(record, words, self.clock.now()))
        letter = Outgoing(
            prefixed(self.topic_prefix, DLQ), record.key, record.value or b"", headers
        )
        if not all(await self.publisher.publish([letter])):
            raise NotParkedError("orders.dlq did not take a record")


def count_rulings(metrics: Metrics, log: Logger) -> Callable[[Mapping[Ruling, int]], None]:
    """Counts what became of fills, wherever they were booked."""

    def count(counts: Mapping[Ruling, int]) -> None:
        for ruling, number in Counter(counts).items():
            metrics.fills.labels(ruling.value).inc(number)
        if counts.get(Ruling.AMENDED):
            log.error("fill-amended", fills=counts[Ruling.AMENDED])

    return count
