"""How much a client may ask: request weight per minute and address, orders per 10 s and account.

Windows are fixed, as the venue's are: they begin with the minute and the tenth of a minute of the
venue's clock. The order count of a day is reported and not enforced.
"""

from dataclasses import dataclass, field

from orderonce_paper.wire import VenueError

MINUTE_MS = 60_000
TEN_SECONDS_MS = 10_000
DAY_MS = 86_400_000
DAY_ORDERS = 200_000
TRACKED_LIMIT = 10_000  # addresses and accounts remembered before old windows are dropped


@dataclass(slots=True)
class Counter:
    """Counts per name within the current window."""

    window_ms: int
    window: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def read(self, name: str, now_ms: int) -> int:
        window = now_ms // self.window_ms
        if window != self.window:
            self.window = window
            self.counts.clear()
        return self.counts.get(name, 0)

    def add(self, name: str, amount: int, now_ms: int) -> int:
        total = self.read(name, now_ms) + amount
        if len(self.counts) < TRACKED_LIMIT or name in self.counts:
            self.counts[name] = total
        return total


@dataclass(slots=True)
class Limits:
    enforced: bool
    weight_per_minute: int
    orders_per_10s: int
    weight: Counter = field(default_factory=lambda: Counter(MINUTE_MS))
    orders_10s: Counter = field(default_factory=lambda: Counter(TEN_SECONDS_MS))
    orders_day: Counter = field(default_factory=lambda: Counter(DAY_MS))

    def spend_weight(self, address: str, weight: int, now_ms: int) -> int:
        """The weight used in this minute; refuses with 429 when it is too much."""
        used = self.weight.add(address, weight, now_ms)
        if self.enforced and used > self.weight_per_minute:
            raise VenueError(
                -1003,
                "Too much request weight used; current limit is "
                f"{self.weight_per_minute} request weight per 1 MINUTE. Please use WebSocket "
                "Streams for live updates to avoid polling the API.",
                status=429,
                retry_after_s=(MINUTE_MS - now_ms % MINUTE_MS) // 1000 + 1,
            )
        return used

    def check_orders(self, account: str, now_ms: int) -> None:
        if self.enforced and self.orders_10s.read(account, now_ms) >= self.orders_per_10s:
            raise VenueError(
                -1015,
                "Too many new orders; current limit is "
                f"{self.orders_per_10s} orders per 10 SECOND.",
                status=429,
            )

    def count_order(self, account: str, now_ms: int) -> None:
        self.orders_10s.add(account, 1, now_ms)
        self.orders_day.add(account, 1, now_ms)

    def used(self, weight: int, account: str | None, now_ms: int) -> list[dict[str, object]]:
        """rateLimits of one answer: the weight used, and the orders of an account that trades."""
        rows = []
        if account is not None:
            tens, day = self.orders_10s.read(account, now_ms), self.orders_day.read(account, now_ms)
            rows.append(_row("ORDERS", "SECOND", 10, self.orders_per_10s) | {"count": tens})
            rows.append(_row("ORDERS", "DAY", 1, DAY_ORDERS) | {"count": day})
        rows.append(_row("REQUEST_WEIGHT", "MINUTE", 1, self.weight_per_minute) | {"count": weight})
        return rows

    def shown(self) -> list[dict[str, object]]:
        """The rateLimits of exchangeInfo."""
        return [
            _row("REQUEST_WEIGHT", "MINUTE", 1, self.weight_per_minute),
            _row("ORDERS", "SECOND", 10, self.orders_per_10s),
            _row("ORDERS", "DAY", 1, DAY_ORDERS),
            _row("RAW_REQUESTS", "MINUTE", 5, self.weight_per_minute * 10),
        ]


def _row(kind: str, interval: str, number: int, limit: int) -> dict[str, object]:
    return {
        "rateLimitType": kind,
        "interval": interval,
        "intervalNum": number,
        "limit": limit,
    }
