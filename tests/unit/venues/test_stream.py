"""The stream door and a server that says what it likes: it never dies of it, and never spins."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from orderonce_shared.venues.credentials import Credential, Secret
from orderonce_shared.venues.evidence import BINANCE, PAPER
from orderonce_shared.venues.stream import PAUSE_LONGEST_S, Report, open_stream, pause_s, stream_url

API_KEY, SECRET = "the-api-key-of-the-test", "the-secret-of-the-test"
LIMIT_S = 10.0


@dataclass
class Heard:
    """A listener that keeps what it is told."""

    ups: int = 0
    downs: list[str] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    garbage: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def on_up(self) -> None:
        self.ups += 1
        self.changed.set()

    def on_report(self, report: Report) -> None:
        self.reports.append(report)
        self.changed.set()

    def on_garbage(self, why: str) -> None:
        self.garbage.append(why)
        self.changed.set()

    def on_down(self, why: str) -> None:
        self.downs.append(why)
        self.changed.set()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not done():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def following(*texts: str) -> AsyncIterator[tuple[Heard, list[dict[str, Any]]]]:
    """A stream whose server says `texts` on its first connection, and nothing on the others;
    yields what was heard and the subscriptions that the server got."""
    asked: list[dict[str, Any]] = []

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        subscribe = json.loads(await socket.receive_str())
        asked.append(subscribe)
        told = {"id": subscribe["id"], "status": 200, "result": {"subscriptionId": 0}}
        await socket.send_str(json.dumps(told))
        for text in texts if len(asked) == 1 else ():
            await socket.send_str(text)
        async for _ in socket:
            pass
        return socket

    app = web.Application()
    app.router.add_get("/ws-api/v3", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    credential = Credential("paper-1", "paper", Secret(API_KEY), Secret(SECRET))

    async def time_ms() -> int:
        return 1_760_000_000_000

    url = stream_url(PAPER, f"http://{host}:{port}", None)
    stream = open_stream(credential, url, time_ms, time.monotonic)
    assert stream is not None
    heard = Heard()
    task = asyncio.create_task(stream.follow(heard))
    try:
        yield heard, asked
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stream.close()
        await runner.cleanup()


def event(**fields: Any) -> str:
    return json.dumps({"subscriptionId": 0, "event": {"e": "executionReport", **fields}})


@pytest.mark.parametrize(
    "text",
    ["{half a", "[]", "[1]", '"text"', "not json", "null", "7"],
)
async def test_a_frame_that_is_nothing_does_not_make_it_deaf(text: str) -> None:
    """Either it is passed over, or the connection ends and another one is made."""
    async with following(text, event(c="one")) as (heard, asked):
        await heard.until(lambda: bool(heard.reports) or heard.ups == 2)
        assert heard.reports or len(asked) == 2


async def test_an_event_that_says_nothing_is_told_as_such() -> None:
    async with following(event(c=7), event(c="one", C="")) as (heard, _):
        await heard.until(lambda: bool(heard.reports))
        assert [one.client_order_id for one in heard.reports] == ["one"]
        assert len(heard.garbage) == 1
        assert not heard.downs


async def test_a_subscription_that_the_venue_ends_is_made_again() -> None:
    ended = json.dumps({"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": 1}})
    async with following(ended) as (heard, asked):
        await heard.until(lambda: heard.ups == 2)
        assert (len(heard.downs), len(asked)) == (1, 2)


async def test_it_signs_the_venues_time_and_shows_no_secret() -> None:
    async with following() as (heard, asked):
        await heard.until(lambda: heard.ups == 1)
        (said,) = asked
        assert said["method"] == "userDataStream.subscribe.signature"
        assert said["params"]["apiKey"] == API_KEY
        assert 0 <= said["params"]["timestamp"] - 1_760_000_000_000 < 60_000
        assert SECRET not in json.dumps(asked)


def test_pauses_grow_and_are_bounded() -> None:
    pauses = [pause_s(n) for n in range(1, 12)]
    assert pauses == sorted(pauses)
    assert pauses[0] > 0
    assert pause_s(10**6) == PAUSE_LONGEST_S


def test_where_the_stream_is() -> None:
    assert stream_url(PAPER, "http://paper:8090", None) == "ws://paper:8090/ws-api/v3"
    assert stream_url(PAPER, "https://paper:8090/", None) == "wss://paper:8090/ws-api/v3"
    assert stream_url(PAPER, "http://paper:1", "ws://other:2") == "ws://other:2/ws-api/v3"
    assert stream_url(BINANCE, None, None) is None
    for base, told in (
        (None, "ws://venue.example:1"),  # a key in the clear
        (None, "http://venue.example:1"),
        (None, "wss://user:word@venue.example"),
        (None, "wss://venue.example/path"),
    ):
        with pytest.raises(ValueError, match=" "):
            stream_url(BINANCE, base, told)
