"""A bot that cannot lose or double an order by its own fault: it keeps its key before it sends.

After any failure it sends the same bytes with the same key again, to any API. It records every
request and every reply; the auditor judges the run from that record and the venue's book.
Stands on httpx alone, so that a demo or a load test can use it too.
"""

import asyncio
import itertools
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

Json = dict[str, Any]

REQUEST_LIMIT_S = 4.0  # one request; a frozen API costs this long
TOTAL_LIMIT_S = 90.0  # one order, with all its retries
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
CONNECTIONS = 64
RETRY_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Attempt:
    """One request as it went out, and what came back. Times are seconds since 1970."""

    key: str
    path: str
    body: bytes
    url: str
    sent_at: float
    status: int | None = None  # None: no reply was heard
    reply: bytes = b""
    replayed: bool = False
    error: str = ""

    @property
    def decided(self) -> bool:
        """Whether the service took a decision that it must repeat for ever."""
        return self.status is not None and (self.status == 202 or self.denied)

    @property
    def denied(self) -> bool:
        return self.status == 422 and b"/errors/order-denied" in self.reply

    def asked(self) -> Json:
        asked: Json = json.loads(self.body)
        return asked

    def told(self) -> Json:
        told: Json = json.loads(self.reply)
        return told


@dataclass
class Record:
    """Everything that a bot said and heard. `keys` is written before anything is sent."""

    keys: dict[str, tuple[str, Json]] = field(default_factory=dict)  # key -> (path, body)
    attempts: list[Attempt] = field(default_factory=list)

    def of_key(self, key: str) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.key == key]

    def placed_keys(self) -> list[str]:
        """Keys of places (not of cancels) that the service has accepted or denied."""
        heard = {attempt.key for attempt in self.attempts if attempt.decided}
        return [key for key, (path, _) in self.keys.items() if path == PLACE and key in heard]


PLACE = "/v1/orders"


class Bot:
    """Places and cancels through any of `urls`, with one bearer key."""

    def __init__(self, urls: list[str], bearer: str, record: Record | None = None) -> None:
        self.record = record or Record()
        self.bearer = bearer
        self._urls = list(urls)
        self._next = itertools.count()
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {bearer}"},
            timeout=REQUEST_LIMIT_S,
            limits=httpx.Limits(max_connections=CONNECTIONS),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def place(self, body: Json, key: str | None = None) -> Attempt:
        """Place one order; retries blindly. Gives the decisive attempt."""
        return await self._until_decided(PLACE, body, key or new_key())

    async def cancel(self, order_id: str, key: str | None = None) -> Attempt:
        """Cancel one order; retries blindly."""
        return await self._until_decided(f"{PLACE}/{order_id}/cancel", {}, key or new_key())

    async def send(self, path: str, body: Json, key: str, url: str | None = None) -> Attempt:
        """One request, no retry."""
        self.record.keys.setdefault(key, (path, body))
        raw = json.dumps(body).encode()
        base = url or self._urls[next(self._next) % len(self._urls)]
        sent_at = time.time()
        try:
            reply = await self._http.post(
                base + path, content=raw,
                headers={"Idempotency-Key": key, "Content-Type": "application/json"},
            )  # fmt: skip
        except httpx.HTTPError as error:
            attempt = Attempt(key, path, raw, base, sent_at, error=type(error).__name__)
        else:
            replayed = reply.headers.get("Idempotent-Replayed") == "true"
            attempt = Attempt(
                key, path, raw, base, sent_at, reply.status_code, reply.content, replayed
            )
        self.record.attempts.append(attempt)
        return attempt

    async def order(self, order_id: str, url: str | None = None) -> Json:
        """The order as an API shows it now."""
        return await self.get(f"{PLACE}/{order_id}", url)

    async def get(self, path: str, url: str | None = None) -> Json:
        """One answer, from whichever API answers first in turn."""
        deadline = time.monotonic() + TOTAL_LIMIT_S
        while True:
            base = url or self._urls[next(self._next) % len(self._urls)]
            try:
                reply = await self._http.get(base + path)
            except httpx.HTTPError:
                assert time.monotonic() < deadline, f"GET {path}: no answer"
                await asyncio.sleep(FIRST_PAUSE_S)
                continue
            if reply.status_code in RETRY_STATUSES and time.monotonic() < deadline:
                await asyncio.sleep(FIRST_PAUSE_S)
                continue
            assert reply.is_success, f"GET {path}: {reply.status_code} {reply.text}"
            told: Json = reply.json()
            return told

    async def try_get(self, path: str, url: str) -> Json:
        """One answer from that API; empty when there is no such thing."""
        reply = await self._http.get(url + path)
        if reply.status_code == 404:
            return {}
        assert reply.is_success, f"GET {path}: {reply.status_code} {reply.text}"
        told: Json = reply.json()
        return told

    def in_background(self, path: str, body: Json, key: str) -> asyncio.Task[Attempt]:
        """One request whose reply nobody waits for now."""
        return asyncio.create_task(self.send(path, body, key))

    async def wait_for(self, order_id: str, *statuses: str, limit_s: float = 20.0) -> Json:
        """The order once it has one of these statuses; AssertionError with what it has instead."""
        deadline = time.monotonic() + limit_s
        while True:
            order = await self.order(order_id)
            if order["status"] in statuses:
                return order
            assert time.monotonic() < deadline, (
                f"not {' or '.join(statuses)} within {limit_s} s: {json.dumps(order)}"
            )
            await asyncio.sleep(FIRST_PAUSE_S)

    async def _until_decided(self, path: str, body: Json, key: str) -> Attempt:
        deadline, pause_s = time.monotonic() + TOTAL_LIMIT_S, FIRST_PAUSE_S
        while True:
            attempt = await self.send(path, body, key)
            if attempt.status is not None and attempt.status not in RETRY_STATUSES:
                return attempt
            assert time.monotonic() < deadline, (
                f"{key}: {attempt.status} {attempt.error} to the end"
            )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def new_key() -> str:
    """A key that nobody used before."""
    return f"key-{uuid4().hex}"


def market_order(account: str = "paper-1", **changes: Any) -> Json:
    """A market order that fills at once on the paper exchange's first quotes."""
    return {
        "account": account, "symbol": "BTC/USDT", "side": "buy", "type": "market",
        "quantity": "0.00100", **changes,
    }  # fmt: skip


def limit_order(account: str = "paper-1", **changes: Any) -> Json:
    """A limit order far below the market: it rests."""
    return {
        "account": account, "symbol": "BTC/USDT", "side": "buy", "type": "limit",
        "quantity": "0.00100", "price": "50000.00", "time_in_force": "gtc", **changes,
    }  # fmt: skip


def mixed_orders(seed: int, count: int, accounts: tuple[str, ...]) -> list[Json]:
    """Orders of every supported kind, the same for the same seed; nearly all end at once."""
    source = random.Random(seed)
    made: list[Json] = []
    for _ in range(count):
        account = source.choice(accounts)
        side = source.choice(("buy", "sell"))
        marketable = "60500.00" if side == "buy" else "59500.00"
        resting = "50000.00" if side == "buy" else "70000.00"
        quantity = f"0.00{source.randint(100, 999)}"
        kind = source.choice(("market", "limit", "ioc", "fok", "post_only"))
        match kind:
            case "market":
                body = market_order(account, side=side, quantity=quantity)
            case "ioc" | "fok":
                body = limit_order(
                    account, side=side, quantity=quantity, price=marketable, time_in_force=kind
                )
            case "post_only":
                body = limit_order(
                    account, side=side, quantity=quantity, price=resting, post_only=True
                )
            case _:
                body = limit_order(account, side=side, quantity=quantity, price=marketable)
        made.append({**body, "client_tag": f"{kind}-{len(made)}"})
    return made
