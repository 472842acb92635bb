"""WebSocket connections over the HTTP server's transports: frames in, frames out, nothing more.

wsproto knows the protocol; this file decides the limits. A reader that is too slow is cut off: the
transport's own buffer is its queue, and when that is full the connection is aborted, so that one
sleeping client cannot fill the venue's memory. Silence is cut off too: pings that nobody answers.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

from orderonce_paper.server import BODY_LIMIT_BYTES, Closable, Request, reset

UNSENT_LIMIT_BYTES = 1024 * 1024  # beyond what the kernel holds; some 2,000 order events
PONGS_MISSED = 3  # the venue pings every 20 s and waits a minute
LIFE_S = 24 * 3600.0  # as at the venue: no connection lives longer
CLOSE_NORMAL, CLOSE_UNSUPPORTED, CLOSE_TOO_BIG = 1000, 1003, 1009


@dataclass(frozen=True, slots=True)
class Ears:
    """What a socket's owner does with it."""

    on_text: Callable[[str], None]
    on_gone: Callable[[], None]


class NotWebSocket(Exception):
    """The request to upgrade is not a WebSocket handshake."""


class Socket(asyncio.Protocol):
    """One WebSocket connection, already accepted when it is made."""

    def __init__(
        self,
        request: Request,
        transport: asyncio.Transport,
        open_connections: set[Closable],
        ping_s: float,
    ) -> None:
        self._ws = WSConnection(ConnectionType.SERVER)
        try:
            self._ws.initiate_upgrade_connection(list(request.headers.items()), request.path)
            next(self._ws.events())
        except (RemoteProtocolError, StopIteration) as error:
            raise NotWebSocket from error
        self.address = request.address
        self._transport: asyncio.Transport | None = transport
        self._open = open_connections
        self._ears: Ears | None = None
        self._text = ""
        self._loop = asyncio.get_running_loop()
        self._ping_s = ping_s
        self._born = self._heard = self._loop.time()
        self._open.add(self)
        self._write(self._ws.send(AcceptConnection()))
        self._timer = self._loop.call_later(ping_s, self._tick)

    def listen(self, ears: Ears) -> None:
        self._ears = ears

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def data_received(self, data: bytes) -> None:
        try:
            self._ws.receive_data(data)
            for event in self._ws.events():
                self._take(event)
        except RemoteProtocolError as error:
            if error.event_hint is not None and self._transport is not None:
                self._write(self._ws.send(error.event_hint))
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()

    def send(self, text: bytes) -> None:
        """One text frame; the connection is cut off when too much is unsent."""
        if self._transport is None:
            return
        self._write(self._ws.send(TextMessage(text.decode())))
        if self._transport.get_write_buffer_size() > UNSENT_LIMIT_BYTES:
            self.reset()

    def half(self, text: bytes) -> None:
        """Half a frame and the end of the connection."""
        if self._transport is None:
            return
        frame = self._ws.send(TextMessage(text.decode()))
        self._write(frame[: len(frame) - max(1, len(text) // 2)])
        self._end()

    def reset(self) -> None:
        if self._transport is not None:
            reset(self._transport)
            self._gone()

    def close(self, code: int = CLOSE_NORMAL) -> None:
        if self._transport is None:
            return
        self._write(self._ws.send(CloseConnection(code)))
        self._end()

    def pause(self) -> None:
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    def _take(self, event: object) -> None:
        if self._transport is None:
            return
        self._heard = self._loop.time()
        match event:
            case TextMessage():
                self._text += event.data
                if len(self._text) > BODY_LIMIT_BYTES:
                    self.close(CLOSE_TOO_BIG)
                elif event.message_finished:
                    text, self._text = self._text, ""
                    if self._ears is not None:
                        self._ears.on_text(text)
            case BytesMessage():
                self.close(CLOSE_UNSUPPORTED)
            case Ping():
                self._write(self._ws.send(event.response()))
            case CloseConnection():
                self._write(self._ws.send(event.response()))
                self._end()
            case Pong():
                pass
            case _:
                pass

    def _tick(self) -> None:
        if self._transport is None:
            return
        now = self._loop.time()
        if now - self._heard > PONGS_MISSED * self._ping_s:
            self.reset()
        elif now - self._born > LIFE_S:
            self.close()
        else:
            self._write(self._ws.send(Ping()))
            self._timer = self._loop.call_later(self._ping_s, self._tick)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _end(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._gone()

    def _gone(self) -> None:
        """Nothing more is sent or heard; told to the owner once."""
        self._transport = None
        self._timer.cancel()
        self._open.discard(self)
        ears, self._ears = self._ears, None
        if ears is not None:
            ears.on_gone()
