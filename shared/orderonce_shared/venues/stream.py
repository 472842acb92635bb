"""One account's orders as its venue tells of them by itself: ccxt.pro's subscription and
connection, each event as it came.

Theory of operation. ccxt.pro signs the subscription and keeps the connection alive; what its
`watch_orders` would do with an event (load all markets, merge the reports of one
order into its latest state, keep the last thousand) is left out, since an event is evidence and
must come one by one. Nothing here is needed for correctness: an event that is missed, garbled or
foreign is learned by REST. So whatever goes wrong ends the connection, and `follow` comes back
after a growing pause.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol
from urllib.parse import urlsplit

import aiohttp
import orjson

from orderonce_shared.domain.venue import VenueOrder
from orderonce_shared.venues.ccxt_one import stream_class
from orderonce_shared.venues.credentials import Credential
from orderonce_shared.venues.evidence import VenueEvidence, evidence_for
from orderonce_shared.venues.exchange import LOGGER, READ_WINDOW_MS, checked_base
from orderonce_shared.venues.spot import Unreadable, read_report, report_client_id

SUBSCRIBE_S = 10.0  # to connect and to be told that the subscription stands
PING_EVERY_MS = 5_000  # two pings without a pong: the connection is dead
PAUSE_FIRST_S = 0.25
PAUSE_LONGEST_S = 15.0
STEADY_S = 30.0  # a connection that held for so long is no failure in a row
SPOT_PATH = "/ws-api/v3"

_Binance: Any = stream_class("binance")


@dataclass(frozen=True, slots=True)
class Report:
    """One event about one order, not judged yet: most are of orders that others look after."""

    client_order_id: str
    raw: dict[str, Any]

    def read(self, symbol: str) -> VenueOrder:
        """The order as it stood then; `fills` is the trade told of, or (). Raises Unreadable."""
        return read_report(self.raw, symbol)


class Listener(Protocol):
    """Who listens. Called on the event loop, one call at a time; must not raise nor wait."""

    def on_up(self) -> None:
        """The subscription stands: what happens from here on is told. What was before is not."""

    def on_report(self, report: Report) -> None: ...

    def on_garbage(self, why: str) -> None:
        """An event that says nothing we can read."""

    def on_down(self, why: str) -> None:
        """It stands no more, or could not be made. Another try follows."""


class _EndedError(Exception):
    """The venue ended the subscription, or said what no dialect of ours has."""


class _Raw(_Binance):  # type: ignore[misc]
    """ccxt.pro's Binance class; reports go to `heard` as they came, and nothing is kept."""

    heard: Callable[[Any], None]
    venue_now_ms: Callable[[], int]
    timeout_on_exit = 0

    def nonce(self) -> int:
        return self.venue_now_ms()

    def client(self, url: str) -> Any:
        """The connection. Events are taken from it before ccxt's own dispatch, which costs more
        than all that is done with them; a frame that anybody stumbles over ends the connection,
        where ccxt would go on pinging and read no more."""
        known = url in (self.clients or {})
        made = super().client(url)
        if not known:
            others = made.handle_message

            def handle(message: Any) -> None:
                try:
                    event = _event(message)
                    if event is None:
                        others(message)
                    elif event.get("e") == "executionReport":
                        self.heard(event)
                    elif event.get("e") == "eventStreamTerminated":
                        raise _EndedError
                except Exception as error:
                    made.on_error(_EndedError(type(error).__name__))

            made.handle_message = handle
        return made


def _event(message: Any) -> dict[str, Any] | None:
    """What the subscription tells; None for answers, pings and the like. Balances are events too:
    they are the ledger's business, which reads them by REST."""
    if message.type is not aiohttp.WSMsgType.TEXT:
        return None
    frame = orjson.loads(message.data)
    event = frame.get("event") if isinstance(frame, dict) else None
    return event if isinstance(event, dict) else None


@dataclass(slots=True)
class OrderStream:
    """The stream of one account. `time_ms` is the venue's clock; it raises VenueUnreachable."""

    account: str
    exchange: Any
    session: aiohttp.ClientSession
    url: str
    time_ms: Callable[[], Awaitable[int]]
    monotonic: Callable[[], float]
    listener: Listener | None = None
    failures: int = 0

    def __repr__(self) -> str:
        return f"OrderStream(account={self.account!r})"

    async def follow(self, listener: Listener) -> NoReturn:
        """Tells `listener` until it is cancelled. Raises nothing else."""
        self.listener = listener
        self.exchange.heard = self._heard
        while True:
            begun = self.monotonic()
            try:
                why = await self._once(listener)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                why = "Cancelled"  # a future that ccxt gave up, not we
            except Exception as error:  # its text may quote what was signed
                why = type(error).__name__
            listener.on_down(why)
            await self._hang_up()
            self.failures = 0 if self.monotonic() - begun > STEADY_S else self.failures + 1
            await asyncio.sleep(pause_s(self.failures))

    async def close(self) -> None:
        try:
            await self._hang_up()
            await self.exchange.close()
        finally:
            await self.session.close()

    async def _once(self, listener: Listener) -> str:
        """One connection, from the dial to its end; returns or raises why it ended."""
        venue_ms, heard_at = await self.time_ms(), self.monotonic()
        self.exchange.venue_now_ms = lambda: venue_ms + int((self.monotonic() - heard_at) * 1_000)
        async with asyncio.timeout(SUBSCRIBE_S):
            await self.exchange.ensure_user_data_stream_ws_subscribe_signature("spot")
        ended = self.exchange.client(self.url).future("ended")
        listener.on_up()
        await ended  # nobody resolves it: ccxt rejects every future of a connection that ends
        return "ended"

    def _heard(self, event: Any) -> None:
        assert self.listener is not None
        try:
            report = Report(report_client_id(event), event)
        except Unreadable as error:
            self.listener.on_garbage(str(error))
        else:
            self.listener.on_report(report)

    async def _hang_up(self) -> None:
        self.exchange.ws_dial_backoff = {}  # the pauses are ours
        if self.exchange.clients:
            with contextlib.suppress(Exception):
                await self.exchange.close_ws_clients()
            self.exchange.clients = {}


def pause_s(failures: int) -> float:
    """The pause after so many short connections in a row; doubles, and is bounded."""
    return min(PAUSE_FIRST_S * 2.0 ** min(failures, 30), PAUSE_LONGEST_S)


def stream_url(evidence: VenueEvidence, base_url: str | None, stream_url: str | None) -> str | None:
    """Where the stream is: told (ws://host:port), or beside the REST address that was told; None is
    the venue's own. Raises ValueError with a sentence."""
    if stream_url is not None:
        parts = urlsplit(stream_url)
        if parts.scheme not in ("ws", "wss"):
            raise ValueError("a stream's address is ws://host[:port] or wss://host[:port]")
        base_url = stream_url.replace("ws", "http", 1)
    base = checked_base(evidence, base_url)
    return None if base is None else base.replace("http", "ws", 1) + SPOT_PATH


def open_stream(
    credential: Credential,
    url: str | None,
    time_ms: Callable[[], Awaitable[int]],
    monotonic: Callable[[], float],
) -> OrderStream | None:
    """None where the evidence knows no stream. Connects to nothing yet."""
    if not evidence_for(credential.venue).order_stream:
        return None
    session = _session()
    exchange = _Raw(
        {
            "apiKey": credential.api_key.reveal(),
            "secret": credential.secret.reveal(),
            "enableRateLimit": False,
            "session": session,
            "logger": LOGGER,
            "options": {"defaultType": "spot", "recvWindow": READ_WINDOW_MS},
            "streaming": {"keepAlive": PING_EVERY_MS},
        }
    )
    exchange.ssl_context = False  # else ccxt builds one that nobody uses: the session has its own
    if url is not None:
        exchange.urls["api"]["ws"]["ws-api"]["spot"] = url
    address = exchange.urls["api"]["ws"]["ws-api"]["spot"]
    assert exchange.own_session is False
    return OrderStream(credential.account, exchange, session, address, time_ms, monotonic)


def _session() -> aiohttp.ClientSession:
    """Follows no redirect: the signed subscription goes to the address that was told."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse)
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[trace], trust_env=False
    )


async def _refuse(*_: object) -> None:
    raise aiohttp.ClientError("a redirect")
