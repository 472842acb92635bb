"""HTTP/1.1 over asyncio: bytes in, one request at a time per connection, bytes out.

A framework would hide the transport, and half of the venue's faults are made of it: reset, hang,
half a body. httptools parses; this file decides the limits and the ways in which a reply may fail.
A request to upgrade hands the transport over to sockets.py.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, cast

import httptools

BODY_LIMIT_BYTES = 64 * 1024  # an order is under 1 KB; a market script may be longer
HEAD_LIMIT_BYTES = 16 * 1024
PIPELINE_LIMIT = 64  # requests that may wait behind another on one connection
CONNECTION_LIMIT = 4000

JSON_TYPE = "application/json;charset=UTF-8"
REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    method: str = ""
    path: str = ""
    query: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    keep_alive: bool = True
    address: str = ""


@dataclass(slots=True)
class Reply:
    status: int
    body: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)
    content_type: str = JSON_TYPE

    def encode(self, keep_alive: bool) -> bytes:
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        if not keep_alive:
            extra += "Connection: close\r\n"
        head = (
            f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Unknown')}\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n{extra}\r\n"
        )
        return head.encode("latin-1") + self.body


class Door(Protocol):
    """Where the answer to one request goes; exactly one of these is called per request."""

    speaks_http: bool

    def reply(self, reply: Reply) -> None: ...
    def half(self, reply: Reply) -> None: ...
    def hang(self, seconds: float) -> None: ...
    def reset(self) -> None: ...


class Closable(Protocol):
    def close(self) -> None: ...


Serve = Callable[[Request, "Connection"], None]
# Takes the transport over and is its protocol from then on, or says no with an HTTP status.
Upgrade = Callable[[Request, asyncio.Transport, set[Closable]], asyncio.Protocol | int]


class Connection(asyncio.Protocol):
    """One client. The application calls exactly one of reply, reset, hang, half per request."""

    speaks_http = True

    def __init__(
        self, serve: Serve, open_connections: set[Closable], upgrade: Upgrade | None = None
    ) -> None:
        self._serve = serve
        self._upgrade = upgrade
        self._open = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._queue: deque[Request] = deque()
        self._current: Request | None = None
        self._next = Request()
        self._url = b""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if peer else ""
        self._open.add(self)
        if len(self._open) > CONNECTION_LIMIT:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._queue.clear()
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._hand_over(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.status if isinstance(cause, _TooLarge) else 400)
        if self._current is None:
            self._serve_next()

    def on_message_begin(self) -> None:
        self._next = Request(address=self._address)
        self._url, self._body, self._body_bytes, self._head_bytes = b"", [], 0, 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        self._next.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > BODY_LIMIT_BYTES:
            raise _TooLarge(413)
        self._body.append(body)

    def on_message_complete(self) -> None:
        request = self._next
        request.method = self._parser.get_method().decode("latin-1")
        path, _, query = self._url.partition(b"?")
        request.path, request.query = path.decode("latin-1"), query
        request.body = b"".join(self._body)
        request.keep_alive = self._parser.should_keep_alive()
        if len(self._queue) >= PIPELINE_LIMIT:
            raise _TooLarge(429)
        self._queue.append(request)

    def reply(self, reply: Reply) -> None:
        request = self._current
        if self._transport is None or request is None:
            return
        self._transport.write(reply.encode(request.keep_alive))
        if request.keep_alive:
            self._serve_next()
        else:
            self.close()

    def reset(self) -> None:
        if self._transport is not None:
            reset(self._transport)

    def hang(self, seconds: float) -> None:
        """Say nothing for a while, then close."""
        asyncio.get_running_loop().call_later(seconds, self.close)

    def half(self, reply: Reply) -> None:
        """The head promises the whole body, half of it comes, and the connection ends."""
        if self._transport is None:
            return
        whole = reply.encode(keep_alive=True)
        self._transport.write(whole[: len(whole) - max(1, len(reply.body) // 2)])
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _serve_next(self) -> None:
        # Outside the parser's callbacks: an error in the application must not look like bad HTTP.
        self._current = self._queue.popleft() if self._queue else None
        if self._current is not None:
            self._serve(self._current, self)

    def _hand_over(self, more: bytes) -> None:
        """The connection speaks another protocol from here; `more` is what came behind the head."""
        transport, asked = self._transport, self._queue.pop() if self._queue else None
        if transport is None:
            return
        taken: asyncio.Protocol | int = 400
        if self._upgrade is not None and asked is not None and self._current is None:
            taken = self._upgrade(asked, transport, self._open)
        if isinstance(taken, int):
            self._refuse(taken)
            return
        self._transport = None
        self._open.discard(self)
        transport.set_protocol(taken)
        if more:
            taken.data_received(more)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_LIMIT_BYTES:
            raise _TooLarge(431)

    def _refuse(self, status: int) -> None:
        if self._transport is not None:
            body = b'{"code":-1100,"msg":"Illegal characters found in a parameter."}'
            self._transport.write(Reply(status, body).encode(keep_alive=False))
            self._transport.close()
            self._transport = None


def reset(transport: asyncio.Transport) -> None:
    """RST instead of FIN: the client sees its connection torn down."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class _TooLarge(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
