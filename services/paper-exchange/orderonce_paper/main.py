"""Composition root: settings, journal, book, two doors; all wiring by hand, in reading order."""

import asyncio
import fcntl
import gc
import json
import logging
import os
import random
import signal
import sys
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import uvloop

from orderonce_paper import matching
from orderonce_paper.clock import Clock
from orderonce_paper.control import Control
from orderonce_paper.faults import Faults
from orderonce_paper.feed import Feed
from orderonce_paper.keys import Key, load_keys, make_keys_file
from orderonce_paper.lag import BalanceLag
from orderonce_paper.limits import Limits
from orderonce_paper.listen_keys import listen_keys
from orderonce_paper.logs import start_logging
from orderonce_paper.model import Book
from orderonce_paper.recovery import book_of, genesis, replay_into
from orderonce_paper.rest import ROUTES
from orderonce_paper.server import Closable, Connection, Request, Serve, Upgrade
from orderonce_paper.settings import Settings, read_settings
from orderonce_paper.sockets import NotWebSocket, Socket
from orderonce_paper.store import Journal, JournalDamaged
from orderonce_paper.streams import open_listener, repeat_states
from orderonce_paper.symbols import ACCOUNTS
from orderonce_paper.venue import Venue
from orderonce_paper.wire import VenueError, parse_params
from orderonce_paper.ws_api import PATH, open_session
from orderonce_paper.ws_session import WS_ROUTES

log = logging.getLogger("orderonce_paper")

BACKLOG = 1024
WALK_TICKS = 5  # the farthest a price steps in one move of the random walk
STOP_GRACE_S = 2.0
# Orders and trades stay for ever and make no cycles; walking over them again and again is waste.
GC_THRESHOLDS = (50_000, 50, 1_000)
EXIT_BROKEN = 70  # a defect: the book may be half changed, a new start reads it from the journal


class CannotStart(Exception):
    """The text is what a person needs to know."""


def main(argv: list[str] | None = None) -> int:
    settings = read_settings(argv)
    start_logging(settings.log_level)
    try:
        return uvloop.run(_run(settings))
    except (CannotStart, JournalDamaged) as reason:
        sys.stderr.write(f"orderonce_paper: {reason}\n")
        return 1


async def _run(settings: Settings) -> int:
    _lock_folder(settings.data)
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(code: int) -> None:
        if not stopped.done():
            stopped.set_result(code)

    def broken(error: OSError) -> None:
        log.error("journal broken", extra={"fields": {"reason": str(error)}})
        sys.stderr.write(f"orderonce_paper: cannot write the journal: {error.strerror}\n")
        stop(1)

    def defect(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        log.error("defect", exc_info=context.get("exception"))
        stop(EXIT_BROKEN)

    loop.set_exception_handler(defect)
    journal = Journal(settings.data / "journal.log", settings.fsync, broken)
    gc.disable()
    book, seed = await _recover(journal, settings.seed)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    venue = _venue(settings, journal, book, seed)
    control = Control(venue)
    connections: set[Closable] = set()
    upgrade = _websockets(venue, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, 0)
    doors = [
        await _listen(settings.host, settings.port, venue.serve, connections, upgrade),
        await _listen(settings.host, settings.control_port, control.serve, connections),
    ]
    walk = loop.create_task(_walk(venue, settings.random_walk_ms))
    repeating = loop.create_task(repeat_states(venue))
    ports = [door.sockets[0].getsockname()[1] for door in doors]
    _say_ready(settings, ports)
    code = await stopped
    walk.cancel()
    repeating.cancel()
    for door in doors:
        door.close()
    if code == 0:
        with suppress(TimeoutError):  # a disk that hangs; nothing unwritten was answered
            await asyncio.wait_for(journal.barrier(), STOP_GRACE_S)
    for connection in list(connections):
        connection.close()
    await asyncio.sleep(0)
    journal.close()
    log.info("stopped", extra={"fields": {"requests": journal.last_request}})
    return code


def _venue(settings: Settings, journal: Journal, book: Book, seed: int) -> Venue:
    faults = Faults()
    return Venue(
        book=book,
        journal=journal,
        clock=Clock(),
        limits=Limits(settings.rate_limits, settings.weight_per_minute, settings.orders_per_10s),
        faults=faults,
        feed=Feed(faults),
        lag=BalanceLag(),
        keys=_keys(settings.data),
        routes=ROUTES,
        engine_delay_ms=settings.engine_delay_ms,
        max_open_orders=settings.max_open_orders,
        seed=seed,
        ids=random.SystemRandom(),
    )


def _websockets(venue: Venue, settings: Settings) -> Upgrade:
    """The WebSocket doors, on the port of REST: what a connection is, its path says."""
    old_keys = listen_keys(venue.keys)
    if settings.listen_keys:
        venue.routes = venue.routes | old_keys.routes()

    def account_of(name: str) -> str | None:
        if not settings.listen_keys:
            return None
        return old_keys.account_of(name, venue.clock.now_ms())

    def upgrade(
        request: Request, transport: asyncio.Transport, connections: set[Closable]
    ) -> asyncio.Protocol | int:
        path = request.path.rstrip("/")
        if path not in (PATH, "/ws", "/stream") and not path.startswith("/ws/"):
            return 404
        if asyncio.get_running_loop().time() < venue.feed.closed_until:
            return 503  # ws_drop
        try:
            params = parse_params(request.query, b"")
            socket = Socket(request, transport, connections, settings.ping_seconds)
        except (NotWebSocket, VenueError):
            return 400
        if path == PATH:
            open_session(venue, socket, params, WS_ROUTES)
        else:
            open_listener(venue, socket, (path, params.get("streams", "")), account_of)
        return socket

    return upgrade


async def _recover(journal: Journal, seed: int) -> tuple[Book, int]:
    """The book of the journal; a new journal begins with `seed`, an old one keeps its own."""
    records = journal.replay()
    first = next(records, None)
    if first is None:
        first = genesis(seed)
        journal.append(first)
        await journal.barrier()
        return book_of(first), seed
    book = book_of(first)
    replay_into(book, records)
    kept = int(first["seed"])
    if kept != seed:
        log.warning("seed kept", extra={"fields": {"asked": seed, "kept": kept}})
    log.info("recovered", extra={"fields": {"requests": journal.last_request}})
    return book, kept


def _keys(data: Path) -> dict[str, Key]:
    path = data / "keys.json"
    try:
        if not path.exists():
            make_keys_file(path, ACCOUNTS)
        return load_keys(path)
    except (OSError, ValueError) as error:
        raise CannotStart(f"cannot use the keys: {error}") from error


def _lock_folder(data: Path) -> None:
    """One venue per folder; the lock goes with the process, however it ends."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CannotStart(f"cannot use the folder {data}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise CannotStart(f"another paper exchange is running on the folder {data}") from None


async def _listen(
    host: str,
    port: int,
    serve: Serve,
    connections: set[Closable],
    upgrade: Upgrade | None = None,
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(
            lambda: Connection(serve, connections, upgrade), host, port, backlog=BACKLOG
        )
    except OSError as error:
        raise CannotStart(f"cannot listen on {host} port {port}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


async def _walk(venue: Venue, every_ms: int) -> None:
    """Prices move by seeded steps; the spread stays as it is."""
    source = random.Random(f"{venue.seed}:walk")  # noqa: S311 - a seed, not a secret
    while every_ms:
        await asyncio.sleep(every_ms / 1000)
        for market in venue.book.markets.values():
            tick, bid, ask = market.symbol.tick, market.bids[0][0], market.asks[0][0]
            move = Decimal(source.randint(-WALK_TICKS, WALK_TICKS)) * tick
            if not move or bid + move < tick or ask + move > market.symbol.max_price:
                continue
            events = matching.quote(
                venue.book, market.symbol.name, bid + move, ask + move, venue.clock.now_ms()
            )
            venue.journal_control(events, {"route": "walk"})


def _say_ready(settings: Settings, ports: list[int]) -> None:
    ready = {
        "event": "ready",
        "rest": f"http://{settings.host}:{ports[0]}",
        "control": f"http://{settings.host}:{ports[1]}",
        "ws_api": f"ws://{settings.host}:{ports[0]}{PATH}",
        "streams": f"ws://{settings.host}:{ports[0]}",
        "data": str(settings.data),
        "pid": os.getpid(),
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
