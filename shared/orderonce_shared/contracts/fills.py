"""fill.v1 on `orders.fills`: one venue trade of one of our orders, keyed by account. The ledger
books it once by natural key.
"""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from orderonce_shared.contracts.commands import Name, Symbol
from orderonce_shared.contracts.events import FeeTotal
from orderonce_shared.contracts.wire import Amount, BookedAmount, Record, Timestamp
from orderonce_shared.domain.order import Side


class FillRecord(Record):
    """Natural key: (venue, account, symbol, trade_id, venue_order_id, side). `cost` is price times
    quantity as the venue states it, in the quote asset. `raw` is the venue's own row, evidence
    only.
    """

    schema_: Literal["fill.v1"] = Field(default="fill.v1", alias="schema")
    venue: Name
    account: Name
    symbol: Symbol
    trade_id: str
    venue_order_id: str
    client_order_id: str
    order_id: UUID
    client: str
    side: Side
    quantity: Amount
    price: Amount
    cost: BookedAmount
    fees: tuple[FeeTotal, ...]
    liquidity: Literal["maker", "taker"]
    traded_at: Timestamp
    raw: dict[str, Any] = Field(default_factory=dict)
