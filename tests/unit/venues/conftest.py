"""A scripted venue on 127.0.0.1 that answers, cuts or hangs as told, and keeps what it was sent."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from orderonce_shared.domain.order import OrderTerms, OrderType, Side, TimeInForce
from orderonce_shared.domain.venue import PlaceRequest
from orderonce_shared.venues.adapter import Door
from orderonce_shared.venues.credentials import Credential, Secret

API_KEY = "the-api-key-of-the-test"
SECRET = "the-secret-of-the-test"
CLIENT_ID = "ooabcdefghijklmnopqrstuvwxyz"
STAMP_MS = 1_760_000_000_123


@dataclass(frozen=True)
class Seen:
    """One request as the venue received it."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class Reply:
    """What goes back: a whole answer, or `raw` bytes; then the connection is kept, cut or left
    hanging.
    """

    status: int = 200
    body: str = ""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    then: str = "keep"  # keep | close | reset | hang


Script = Callable[[Seen], Reply]


@dataclass
class Stub:
    """`script` is called for each request; `seen` is what came in."""

    base_url: str
    script: Script
    seen: list[Seen] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def creates(self) -> list[Seen]:
        return [one for one in self.seen if (one.method, one.path) == ("POST", "/api/v3/order")]


def as_json(status: int, document: Any, *headers: tuple[str, str]) -> Reply:
    return Reply(status=status, body=json.dumps(document), headers=headers)


def order_document(seen: Seen, **changes: Any) -> dict[str, Any]:
    """Binance's FULL answer to a create of an order that rests."""
    return {
        "symbol": seen.parameters["symbol"],
        "orderId": 28,
        "orderListId": -1,
        "clientOrderId": seen.parameters["newClientOrderId"],
        "transactTime": 1_760_000_000_200,
        "price": "0.00000000",
        "origQty": seen.parameters["quantity"],
        "executedQty": "0.00000000",
        "cummulativeQuoteQty": "0.00000000",
        "status": "NEW",
        "type": seen.parameters["type"],
        "side": seen.parameters["side"],
        "fills": [],
        **changes,
    }


def _usual(seen: Seen) -> Reply:
    if seen.path == "/api/v3/time":
        return as_json(200, {"serverTime": STAMP_MS})
    if seen.method == "POST":
        return as_json(200, order_document(seen))
    return as_json(400, {"code": -2013, "msg": "Order does not exist."})


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
    parts = urlsplit(target)
    return Seen(method, parts.path, dict(parse_qsl(parts.query) + parse_qsl(body)), headers, body)


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    if reply.raw is not None:
        writer.write(reply.raw)
    elif reply.then not in ("reset", "hang"):
        body = reply.body.encode()
        extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
        writer.write(
            f"HTTP/1.1 {reply.status} X\r\nContent-Type: {reply.content_type}\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
    await writer.drain()


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    venue = Stub(base_url="", script=_usual)
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (seen := await _read_request(reader)) is not None:
                venue.seen.append(seen)
                venue.arrived.set()
                reply = venue.script(seen)
                await _write(writer, reply)
                if reply.then == "reset":
                    writer.transport.abort()
                if reply.then == "hang":
                    await release.wait()
                if reply.then != "keep":
                    break
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    venue.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield venue
    release.set()
    server.close()


@pytest.fixture
def credential() -> Credential:
    return Credential("paper-1", "paper", Secret(API_KEY), Secret(SECRET))


OpenDoor = Callable[..., Awaitable[Door]]


@pytest.fixture
async def open_door(stub: Stub, credential: Credential) -> AsyncIterator[OpenDoor]:
    doors: list[Door] = []

    async def open_(**changes: Any) -> Door:
        settings: dict[str, Any] = {"base_url": stub.base_url, "monotonic": time.monotonic}
        door = await Door.open("paper", "paper-1", credential, **(settings | changes))
        doors.append(door)
        return door

    yield open_
    for door in doors:
        await door.close()


@pytest.fixture
async def door(open_door: OpenDoor) -> Door:
    return await open_door()


def place_request(**changes: Any) -> PlaceRequest:
    """A limit buy; terms and request fields can be changed by name."""
    terms: dict[str, Any] = {
        "account": "paper-1",
        "symbol": "BTC/USDT",
        "side": Side.BUY,
        "type": OrderType.LIMIT,
        "quantity": Decimal("0.00100"),
        "price": Decimal("20000.10"),
        "time_in_force": TimeInForce.GTC,
        "post_only": False,
    }
    request: dict[str, Any] = {
        "account": "paper-1",
        "client_order_id": CLIENT_ID,
        "signed_at_ms": STAMP_MS,
        "window_ms": 5000,
    }
    for name, value in changes.items():
        (terms if name in terms and name != "account" else request)[name] = value
    return PlaceRequest(terms=OrderTerms(**terms), **request)


@pytest.fixture
def request_of() -> Callable[..., PlaceRequest]:
    return place_request
