"""What the demo asks for: one order of every supported kind, and eight around a kill."""

import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Json = dict[str, Any]


@dataclass
class Intent:
    """One order as a bot keeps it: the key and the body are there before anything is sent."""

    label: str
    body: Json
    key: str = field(default_factory=lambda: f"demo-{uuid.uuid4()}")
    replies: list[tuple[int, bytes]] = field(default_factory=list)
    order: Json = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        return bool(self.replies) and self.replies[-1][0] == 202


def plan_orders(instruments: dict[str, Json]) -> list[Intent]:
    """Some twenty orders of every supported kind, priced around each market's reference price."""

    def near(symbol: str, percent: int) -> str:
        row = instruments[symbol]
        tick = Decimal(row["tick_size"])
        price = Decimal(row["reference_price"]) * (100 + percent) / 100
        return format((price / tick).to_integral_value() * tick, "f")

    def order(
        label: str, account: str, symbol: str, side: str, quantity: str, **more: Any
    ) -> Intent:
        kind = "limit" if "price" in more else "market"
        body = {
            "account": account,
            "symbol": symbol,
            "side": side,
            "type": kind,
            "quantity": quantity,
            **more,
        }
        return Intent(label, body)

    def limit(label: str, side: str, percent: int, tif: str = "gtc", **more: Any) -> Intent:
        price = near("ETH/USDT", percent)
        return order(
            label, "paper-2", "ETH/USDT", side, "0.0500", price=price, time_in_force=tif, **more
        )

    by_quote = {"account": "paper-1", "symbol": "BTC/USDT", "side": "buy", "type": "market",
                "quote_quantity": "60.00"}  # fmt: skip
    tiny = "0.123456789012345678"
    return [
        order("market buy BTC", "paper-1", "BTC/USDT", "buy", "0.00100"),
        Intent("market buy for 60 USDT", by_quote),
        order("market sell BTC", "paper-1", "BTC/USDT", "sell", "0.00050"),
        order("market buy, 18 digits", "paper-3", "WEI/USDT", "buy", tiny),
        limit("limit gtc that crosses", "buy", 1),
        limit("resting limit gtc", "buy", -5),
        limit("limit ioc, fills", "sell", -1, "ioc"),
        limit("limit ioc, nothing to take", "buy", -5, "ioc"),
        limit("limit fok, fills", "buy", 1, "fok"),
        limit("resting post-only", "sell", 5, post_only=True),
        limit("post-only that would take", "buy", 1, post_only=True),
        order("venue executes and never answers", "paper-4", "SOL/USDT", "buy", "1.500"),
        order("venue says 429 first", "paper-3", "SOL/USDT", "sell", "2.000"),
        order("quantity off the step: denied", "paper-1", "BTC/USDT", "buy", "0.000015"),
        *[
            order(f"around the kill, {side} {n}", f"paper-{n}", "BTC/USDT", side, "0.00100")
            for n in (1, 2, 3, 4)
            for side in ("buy", "sell")
        ],
    ]
