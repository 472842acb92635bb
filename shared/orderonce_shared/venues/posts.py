"""How a create gets onto the wire: one address, warm connections, each request written once and in
one piece.

A general HTTP client spends more on an order than all of our bookkeeping (measured: 80 us against
14) on what a create must never do: follow, retry, keep cookies, decode. Here nothing can: httptools
parses what comes back, and whatever is not one whole answer is an error. Theory: `connected` is set
between the last await and the write, so that False proves that no byte was handed to a socket; from
there on any end but a whole answer leaves the order SENDING, which is looked up (R7).
"""

import asyncio
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools
from aiohappyeyeballs import start_connection

from orderonce_shared.venues.wire import KEEP_ALIVE_S, PASSAGE

MAX_ANSWER_BYTES = (
    1024 * 1024
)  # an order's answer has a few KiB, a proxy's error page not much more
CLOSES_SOONER_S = 1
NEXT_ADDRESS_S = 0.25  # RFC 8305's advice
_TIMEOUT = re.compile(r"(?:^|[\s,;])timeout\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE | re.ASCII)


class NoAnswer(Exception):
    """The connection ended, or said something that is not one whole HTTP answer."""


@dataclass(slots=True)
class Answer:
    """One whole answer. A header that came twice is joined by a comma."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def idle_limit_s(keep_alive: str) -> float:
    """How long a connection may rest after an answer with this `Keep-Alive` header; 0: not at all.
    The venue has counted since before its answer was here, hence the margin.
    """
    told = [int(text) for text in _TIMEOUT.findall(keep_alive)]
    return min([KEEP_ALIVE_S, *(max(0, seconds - CLOSES_SOONER_S) for seconds in told)])


class Posts:
    """POST to one address. Safe for any number of concurrent calls: each holds a connection alone.
    How many there are is the lanes' business (`creates_in_flight`).
    """

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext,
        timeout_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._host = parts.hostname
        self._tls = tls if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Accept-Encoding: identity\r\nUser-Agent: orderonce\r\n"
        )
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._idle: deque[tuple[float, _Connection]] = deque()  # until when each may be used
        self._open: set[_Connection] = set()

    async def post(self, headers: Mapping[str, str], body: str, not_after: float) -> Answer:
        """Not written after `not_after`, however long connecting took. Raises NoAnswer, OSError
        (no connection: nothing was written) or TimeoutError.
        """
        raw = body.encode()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
            raise NoAnswer("a header holds a line break: nothing was sent")
        request = f"{self._head}{lines}Content-Length: {len(raw)}\r\n\r\n".encode() + raw
        left_s = self._timeout_s
        connection = self._warm()
        if connection is None:
            if (dialling := PASSAGE.get()) is not None:
                dialling.dialled = True
            begun = self._monotonic()
            async with asyncio.timeout(left_s):
                connection = await self._connect()
            now = self._monotonic()
            left_s -= now - begun
            if left_s <= 0 or now > not_after or not connection.usable:
                connection.abort()
                raise TimeoutError("too late when the connection stood: nothing was written")
        passage = PASSAGE.get()
        if passage is not None:
            passage.connected = True
        return await connection.send(request, left_s)

    def close(self) -> None:
        """Ends all connections; requests under way raise NoAnswer."""
        for connection in list(self._open):
            connection.abort()

    def _warm(self) -> "_Connection | None":
        """The connection that rested for the shortest time; those that rested too long are ended:
        the venue is about to do so, and a create that meets that is UNKNOWN."""
        now = self._monotonic()
        while self._idle and self._idle[0][0] <= now:
            self._idle.popleft()[1].abort()
        while self._idle:
            ends, connection = self._idle.pop()
            if ends > now and connection.usable:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> "_Connection":
        """To whichever of the host's addresses answers first: an IPv6 that is a black hole must not
        cost an order its deadline. uvloop's own connecting tries one after the other.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        connected = await start_connection(
            found, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1, loop=loop
        )
        _, connection = await loop.create_connection(
            lambda: _Connection(self._rest, self._open),
            sock=connected,
            ssl=self._tls,
            server_hostname=self._host if self._tls else None,
            ssl_handshake_timeout=self._timeout_s if self._tls else None,
        )
        return connection

    def _rest(self, connection: "_Connection", idle_s: float) -> None:
        self._idle.append((self._monotonic() + idle_s, connection))


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; it ends with whatever is not a whole answer."""

    def __init__(
        self, rest: Callable[["_Connection", float], None], registry: set["_Connection"]
    ) -> None:
        self._rest = rest
        self._registry = registry
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._answer = Answer()
        self._chunks: list[bytes] = []
        self._size = 0

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, request: bytes, limit_s: float) -> Answer:
        """A timer of its own: `asyncio.timeout` costs three times as much, on every order."""
        assert self._transport is not None
        assert self._waiter is None, "one request at a time"
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Answer] = loop.create_future()
        self._waiter = waiter
        self._parser = httptools.HttpResponseParser(self)
        self._size = 0
        self._begin()
        self._transport.write(request)
        timer = loop.call_later(limit_s, self._give_up)
        try:
            return await waiter
        finally:
            timer.cancel()
            if self._waiter is waiter:  # else it rests already, or carries another request
                self.abort()  # an answer that is still to come belongs to nobody

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no such class
        self._registry.add(self)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done() or self._parser is None:
            self.abort()  # nobody asked
            return
        self._size += len(data)  # heads and interim answers count: nobody may fill our memory
        if self._size > MAX_ANSWER_BYTES:
            self._fail("the answer is too long")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"not HTTP: {type(error).__name__}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._registry.discard(self)
        self._fail("the connection ended before a whole answer")

    # what httptools calls

    def on_message_begin(self) -> None:
        if self._waiter is None:
            self.abort()  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers = self._answer.headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._waiter is None or self._waiter.done():
            return
        status = self._parser.get_status_code()
        if 100 <= status <= 199:
            self._begin()  # interim: the answer follows
            return
        idle_s: float = KEEP_ALIVE_S
        for name, text in self._answer.headers.items():
            match name.lower():
                case "content-encoding" if text.lower() != "identity":
                    self._fail("the answer is encoded, which was not asked for")
                    return
                case "keep-alive":
                    idle_s = min(idle_s, idle_limit_s(text))
        self._answer.status, self._answer.body = status, b"".join(self._chunks)
        waiter, self._waiter = self._waiter, None
        waiter.set_result(self._answer)
        self._begin()  # what may still follow is no part of it
        if idle_s > 0 and self._parser.should_keep_alive():
            self._rest(self, idle_s)
        else:
            self.abort()

    def _begin(self) -> None:
        self._answer, self._chunks = Answer(), []

    def _give_up(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError("no answer within the time-out"))

    def _fail(self, why: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(NoAnswer(why))
        self.abort()
