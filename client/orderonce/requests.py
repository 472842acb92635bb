"""PURE. What a bot asks, as the bytes and headers that go out. Amounts are text, never numbers."""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

Amount = Decimal | str
_PLAIN = re.compile(r"[0-9]{1,20}(\.[0-9]{1,18})?", re.ASCII)
WAIT_CAP_S = 5  # the API waits no longer; more is asked for by `follow`


def new_key() -> str:
    """A fresh idempotency key. Keep it before you send it."""
    return str(uuid.uuid4())


def plain(amount: Amount) -> str:
    """An amount in plain decimal notation. TypeError for a number that may be rounded already,
    ValueError for text that is no amount.
    """
    if isinstance(amount, Decimal):
        amount = format(amount, "f")
    if not isinstance(amount, str):
        raise TypeError(f"an amount is a Decimal or a string, not {type(amount).__name__}")
    if not _PLAIN.fullmatch(amount):
        raise ValueError(f"not an amount in plain decimal notation: {amount!r}")
    return amount


@dataclass(frozen=True, slots=True)
class NewOrder:
    """One order to place. A market buy gives `quantity` or `quote_quantity`, a limit order a
    `price`. `expires_at` (with a time zone) is the last moment at which it may be sent.
    """

    account: str
    symbol: str
    side: Literal["buy", "sell"]
    type: Literal["market", "limit"]
    quantity: Amount | None = None
    price: Amount | None = None
    quote_quantity: Amount | None = None
    time_in_force: Literal["gtc", "ioc", "fok"] | None = None
    post_only: bool = False
    expires_at: datetime | None = None
    client_tag: str | None = None

    def body(self) -> dict[str, Any]:
        """The JSON object of POST /v1/orders; what was not given is left out."""
        shown: dict[str, Any] = {
            "account": self.account, "symbol": self.symbol, "side": self.side, "type": self.type,
        }  # fmt: skip
        for name in ("quantity", "price", "quote_quantity"):
            amount = getattr(self, name)
            if amount is not None:
                shown[name] = plain(amount)
        if self.time_in_force is not None:
            shown["time_in_force"] = self.time_in_force
        if self.post_only:
            shown["post_only"] = True
        if self.expires_at is not None:
            shown["expires_at"] = moment(self.expires_at)
        if self.client_tag is not None:
            shown["client_tag"] = self.client_tag
        return shown


def moment(at: datetime) -> str:
    """RFC 3339 in UTC. ValueError for a time without a zone: whose clock would it be?"""
    if at.tzinfo is None:
        raise ValueError("a time needs a zone: datetime.now(UTC), not datetime.now()")
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request without its host. Sending any of them again is harmless: a POST carries its
    idempotency key, a GET does no work. `shows` is a member that every success of it has.
    """

    method: Literal["GET", "POST"]
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    shows: str = "order_id"


def place(body: Mapping[str, Any], key: str, wait_s: int = 0) -> Request:
    """POST /v1/orders. `wait_s` asks for the order's end in the reply, if it comes so soon."""
    return _keyed("/v1/orders", body, key, wait_s)


def cancel(order_id: str, key: str, wait_s: int = 0) -> Request:
    return _keyed(f"/v1/orders/{quote(order_id, safe='')}/cancel", {}, key, wait_s)


def _keyed(path: str, body: Mapping[str, Any], key: str, wait_s: int) -> Request:
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    if wait_s:
        headers["Prefer"] = f"wait={min(wait_s, WAIT_CAP_S)}"
    return Request("POST", path, headers=headers, body=json.dumps(body, sort_keys=True).encode())


def get(*path: str, **params: str | int | datetime | None) -> Request:
    """GET of a path given by its segments; parameters that are None are left out."""
    shown = {
        name: moment(value) if isinstance(value, datetime) else str(value)
        for name, value in params.items()
        if value is not None
    }
    route = "/v1/" + "/".join(quote(part, safe="") for part in path)
    return Request("GET", route, shown, shows=path[0] if len(path) == 1 else "order_id")
