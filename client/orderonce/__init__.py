"""The typed client for bots: keeps its idempotency key before it sends, then retries blindly.

from orderonce import Client, NewOrder

with Client("http://127.0.0.1:8080", key_file="demo.key", intents="intents.db") as client:
    placed = client.place(NewOrder("paper-1", "BTC/USDT", "buy", "market", "0.001"), "first")
    print(client.follow(placed.order_id).status)
"""

from orderonce.client import AsyncClient, Client
from orderonce.errors import (
    IntentDiffers,
    IntentOld,
    KeyReused,
    NoAnswer,
    OrderDenied,
    OrderonceError,
    Refused,
)
from orderonce.intents import Intent, IntentStore
from orderonce.replies import Cancel, Event, Fee, Fill, Instrument, Order, Page, Placed, Reason
from orderonce.requests import NewOrder, new_key
from orderonce.talks import Patience

__all__ = [
    "AsyncClient",
    "Cancel",
    "Client",
    "Event",
    "Fee",
    "Fill",
    "Instrument",
    "Intent",
    "IntentDiffers",
    "IntentOld",
    "IntentStore",
    "KeyReused",
    "NewOrder",
    "NoAnswer",
    "Order",
    "OrderDenied",
    "OrderonceError",
    "Page",
    "Patience",
    "Placed",
    "Reason",
    "Refused",
    "new_key",
]
