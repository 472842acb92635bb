"""The life of a service process: loops that survive a lost database, signals, servers on sockets of
our own, a clean end.

A loop is a step that is repeated: it logs a failure, marks the process not ready, waits a growing
pause and tries again. Nothing here may end a loop but the stop event. What a step must not repeat,
the step itself protects.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from orderonce_shared.runtime.ids import new_request_id
from orderonce_shared.runtime.logs import Logger
from orderonce_shared.runtime.tracing import OFF, Tracing

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0  # an outage ends for us at most this long after it ends for the world
MOST_DOUBLINGS = 30  # far past the longest pause; after half an hour 2**failures fits no float
STOP_LIMIT_S = 10.0  # what a supervisor grants before it kills
REQUEST_LIMIT_S = 15.0  # from its first byte to its last; past a service's own limit for bodies
MAX_OPEN_HEAD = 64 * 1024  # bytes of a request line and headers that have not ended yet


def growing_pause_s(failures: int) -> float:
    """The pause after so many failures in a row, however many they are."""
    return min(FIRST_PAUSE_S * 2.0 ** min(failures, MOST_DOUBLINGS), LONGEST_PAUSE_S)


@dataclass(slots=True)
class Health:
    """Why this process is not ready: part -> sentence. Empty means ready."""

    troubles: dict[str, str] = field(default_factory=dict)

    def trouble(self, part: str, sentence: str) -> None:
        self.troubles[part] = sentence

    def fine(self, part: str) -> None:
        self.troubles.pop(part, None)


@dataclass(slots=True)
class Process:
    """What every part of a service shares: the stop event, health, the log and traces."""

    log: Logger
    health: Health = field(default_factory=Health)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    tracing: Tracing = OFF

    async def pause(self, seconds: float, wake: asyncio.Event | None = None) -> None:
        """Waits until the time is up, `wake` is set (and clears it) or the process stops."""
        waiters = [asyncio.ensure_future(self.stopping.wait())]
        if wake is not None:
            waiters.append(asyncio.ensure_future(wake.wait()))
        try:
            await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
        if wake is not None:
            wake.clear()

    async def repeat(
        self,
        name: str,
        step: Callable[[], Awaitable[None]],
        *,
        every_s: float,
        wake: asyncio.Event | None = None,
    ) -> None:
        """Runs `step` until the process stops, `every_s` apart or as soon as `wake` is set."""
        failures = 0
        while not self.stopping.is_set():
            try:
                await step()
            except Exception as error:
                failures += 1
                self.health.trouble(name, f"{type(error).__name__}: {error}")
                self.log.warning(
                    "loop-failed", loop=name, failures=failures, exc_info=failures <= 3
                )
                await self.pause(growing_pause_s(failures))
            else:
                failures = 0
                self.health.fine(name)
                await self.pause(every_s, wake)

    async def attempt(self, what: str, work: Awaitable[object], **context: object) -> bool:
        """One of the many pieces of work of a loop, e.g. the look-up of one order: an error of it
        is logged and stops no other. Whatever it is about has to stay due, so that a later step
        tries again. Returns whether it went well.
        """
        try:
            await work
        except Exception as error:
            self.log.warning(what, error=type(error).__name__, **context)
            return False
        return True

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task whose unexpected end stops the process: half a service is worse than a restart."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self.tasks.append(task)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error("task-died", task=task.get_name(), exc_info=error)
            self.health.trouble(task.get_name(), f"died: {type(error).__name__}")
            self.stopping.set()

    async def finish(self) -> None:
        """Gives the loops STOP_LIMIT_S to end by themselves, then cancels what is left."""
        self.stopping.set()
        if self.tasks:
            _, late = await asyncio.wait(self.tasks, timeout=STOP_LIMIT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to run_service: uvicorn would stop before the consumers have handed
        over.
        """
        yield


class _Http(HttpToolsProtocol):
    """uvicorn's protocol with what it lacks: a time and a size for a request that does not end,
    and a problem document for what is no HTTP.
    """

    _limit: asyncio.TimerHandle | None = None
    _open_head: int | None = 0  # bytes of it so far; None once it is whole

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():  # refused already
            return
        super().data_received(data)
        if self._open_head is not None:
            self._open_head += len(data)
            if self._open_head > MAX_OPEN_HEAD and not self.transport.is_closing():
                self.send_400_response("the headers are too large")
        if self._limit is None and not self._answering():  # empty lines between two requests
            self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._open_head = 0
        self._arm()

    def on_headers_complete(self) -> None:
        self._open_head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._disarm()
        super().on_message_complete()

    def _arm(self) -> None:
        self._disarm()
        self._limit = self.loop.call_later(REQUEST_LIMIT_S, self._late)

    def _disarm(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _late(self) -> None:
        """Closes without a word; an answer to an earlier request of the connection goes first."""
        if self.flow.read_paused or self._answering():
            self._arm()
        else:
            self.transport.close()

    def _answering(self) -> bool:
        """Whether a request that has come whole still waits for its answer."""
        cycle = self.cycle
        whole = cycle is not None and not cycle.response_complete and not cycle.more_body
        return whole or bool(self.pipeline)

    def send_400_response(self, msg: str) -> None:
        """Not in front of the answer to an earlier request, which would be read as that one: a
        command would seem refused that was accepted. Its answer is the connection's last.
        """
        if self.pipeline:
            self.transport.close()  # no answer says nothing false
        elif self._answering():
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        else:
            self.transport.write(_no_http(msg))
            self.transport.close()


def _no_http(detail: str) -> bytes:
    """A whole answer: the problem document of a request that no service has seen."""
    request_id = new_request_id()
    document = {
        "type": "/errors/request-invalid",
        "title": "The request is malformed",
        "status": 400,
        "detail": detail,
        "request_id": request_id,
    }
    body = orjson.dumps(document)
    headers = {
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "x-request-id": request_id,
        "connection": "close",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[400] + lines.encode() + b"\r\n" + body


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, or SystemExit with a plain sentence."""
    try:
        return socket.create_server((host, port), backlog=1024)
    except OSError as error:
        raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror}") from None


def http_server(app: Any) -> uvicorn.Server:
    """Proxy headers are off: uvicorn would trust X-Forwarded-For from loopback by default."""
    config = uvicorn.Config(
        app,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        lifespan="off",
        loop="none",
        timeout_graceful_shutdown=5,
        http=_Http,
        ws="none",
    )
    return _Server(config)


async def serve(process: Process, app: Any, sock: socket.socket) -> None:
    """Serves until the process stops; requests in flight are answered."""
    server = http_server(app)
    running = asyncio.create_task(server.serve(sockets=[sock]))
    stopped = asyncio.create_task(process.stopping.wait())
    await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await running
    stopped.cancel()


def run_service(
    main: Callable[[Process], Coroutine[Any, Any, None]], log: Logger, tracing: Tracing = OFF
) -> None:
    """Runs `main(process)` until it returns; SIGTERM and SIGINT set `process.stopping`. Refuses
    `python -O`: assertions state invariants about money and stay on (R11).
    """
    if not __debug__:
        raise SystemExit("assertions are off (python -O or PYTHONOPTIMIZE); orderonce needs them")

    async def body() -> None:
        process = Process(log, tracing=tracing)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, process.stopping.set)
        log.info("started", pid=os.getpid(), python=sys.version.split()[0])
        try:
            await main(process)
        finally:
            await process.finish()
            log.info("stopped")

    try:
        uvloop.run(body())
    finally:
        tracing.close()
