"""A bot that may be killed at any line: start it again, and every order of its plan exists once.

    ORDERONCE_API=http://127.0.0.1:8080 ORDERONCE_KEY_FILE=.data/demo.key python examples/bot.py

The name of an order in the plan is its intent: the client keeps it in bot.db with a fresh
idempotency key before anything is sent, and the same name sends the same key again. So the bot
needs no bookkeeping of its own: after a crash it goes through its plan from the top.
"""

import os
from decimal import Decimal

from orderonce import Client, NewOrder, OrderDenied

SYMBOL = "BTC/USDT"


def plan(day: str) -> dict[str, NewOrder]:
    """What to do on this day. A name never changes its meaning: another day, another name."""
    account = os.environ.get("ORDERONCE_ACCOUNT", "paper-1")
    return {
        f"{day}/open": NewOrder(account, SYMBOL, "buy", "market", Decimal("0.002")),
        f"{day}/take-half": NewOrder(account, SYMBOL, "sell", "market", Decimal("0.001")),
        f"{day}/too-small": NewOrder(account, SYMBOL, "buy", "market", Decimal("0.00000001")),
    }


def main() -> None:
    with Client(
        os.environ["ORDERONCE_API"].split(","),
        key_file=os.environ["ORDERONCE_KEY_FILE"],
        intents=os.environ.get("BOT_INTENTS", "bot.db"),
    ) as client:
        for name, order in plan(os.environ.get("BOT_DAY", "2026-11-22")).items():
            try:
                placed = client.place(order, name)
            except OrderDenied as denied:
                print(f"{name}: denied, {denied.code}: {denied.detail}")
                continue
            end = client.follow(placed.order_id)
            print(f"{name}: {end.status}, {end.filled_quantity} at {end.average_price}")


if __name__ == "__main__":
    main()
