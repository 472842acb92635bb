"""One request, one piece, one whole answer, or none: the transport of creates over real sockets."""

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from orderonce_shared.venues.posts import MAX_ANSWER_BYTES, Answer, NoAnswer, Posts
from orderonce_shared.venues.wire import KEEP_ALIVE_S, PASSAGE, Passage

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
LIMIT_S = 5.0


@dataclass
class Server:
    """Answers the n-th request with `script(n)`; None waits for `release`. `requests` are
    (connection, bytes)."""

    script: Callable[[int], bytes | None]
    port: int = 0
    connections: int = 0
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        mine = self.connections
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                number = len(self.requests)
                self.requests.append((mine, head + await reader.readexactly(length)))
                self.arrived.set()
                answer = self.script(number)
                if answer is None:
                    await self.release.wait()
                    answer = OK + b"%02d" % number
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
        finally:
            writer.close()


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server(lambda number: OK + b"%02d" % number)
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    made.release.set()
    listening.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def posts(server: Server, clock: Clock) -> AsyncIterator[Posts]:
    made = Posts(
        f"http://127.0.0.1:{server.port}/api/v3/order",
        ssl.create_default_context(),
        LIMIT_S,
        clock,
    )
    yield made
    made.close()


async def send(posts: Posts, body: str = "a=1") -> Answer:
    return await posts.post({"X-Key": "k"}, body, not_after=math.inf)


async def test_the_request_is_what_was_given_and_the_connection_is_used_again(
    posts: Posts, server: Server
) -> None:
    assert [(await send(posts, f"a={n}")).body for n in range(3)] == [b"00", b"01", b"02"]
    assert server.connections == 1
    first, *lines = server.requests[2][1].decode().split("\r\n")
    assert first == "POST /api/v3/order HTTP/1.1"
    assert {f"Host: 127.0.0.1:{server.port}", "X-Key: k", "Content-Length: 3", "a=2"} <= {*lines}


async def test_requests_at_once_have_a_connection_each(posts: Posts, server: Server) -> None:
    server.script = lambda _: None
    tasks = [asyncio.create_task(send(posts, f"n={n:02d}")) for n in range(20)]
    async with asyncio.timeout(LIMIT_S):
        while len(server.requests) < 20:
            server.arrived.clear()
            await server.arrived.wait()
    server.release.set()
    answers = await asyncio.gather(*tasks)
    assert server.connections == 20
    for n, answer in enumerate(answers):  # each got the answer to its own request
        assert server.requests[int(answer.body)][1].endswith(b"n=%02d" % n)


async def test_the_answer_to_a_cancelled_request_is_nobodys(posts: Posts, server: Server) -> None:
    server.script = lambda number: None if number == 0 else OK + b"ok"
    first = asyncio.create_task(send(posts))
    async with asyncio.timeout(LIMIT_S):
        await server.arrived.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        while posts._open:  # noqa: ASYNC110 (ended by us, not by the answer)
            await asyncio.sleep(0.01)
        server.release.set()
    assert (await send(posts)).body == b"ok"
    assert server.connections == 2


async def test_a_cancel_after_the_answer_leaves_the_next_request_alone(
    posts: Posts, server: Server
) -> None:
    await send(posts)
    connection = posts._idle[0][1]
    first = asyncio.create_task(send(posts))
    while connection._waiter is None:  # noqa: ASYNC110 (it is the loop that is stepped)
        await asyncio.sleep(0)
    connection.data_received(OK + b"xx")  # the answer is here, `first` has not been run yet
    first.cancel()
    second = asyncio.create_task(send(posts, "a=2"))
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.sleep(0)
    assert connection.usable
    second.cancel()


async def test_a_connection_that_rested_too_long_is_not_used(
    posts: Posts, server: Server, clock: Clock
) -> None:
    await send(posts)
    clock.now += KEEP_ALIVE_S + 1
    await send(posts)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("told", "rest_s"),
    [
        (b"timeout=5", 4), (b"timeout=5, max=100", 4), (b"max=100,Timeout = 7", 6),
        (b"timeout=60", KEEP_ALIVE_S), (b"timeout=nonsense", KEEP_ALIVE_S),
        (b"max=5", KEEP_ALIVE_S), (b"x-timeout=3", KEEP_ALIVE_S), (b"", KEEP_ALIVE_S),
        (b"timeout=3\r\nkeep-alive: timeout=9", 2),
    ],
)  # fmt: skip
async def test_a_connection_rests_no_longer_than_the_venue_keeps_it(
    posts: Posts, server: Server, clock: Clock, told: bytes, rest_s: float
) -> None:
    """A second before it says that it closes an idle one: a create that meets the close is UNKNOWN
    for nothing. Our own limit holds where it says more, or nothing."""
    server.script = lambda _: OK[:-2] + b"KEEP-Alive: " + told + b"\r\n\r\nok"
    await send(posts)
    clock.now += rest_s - 0.01
    await send(posts)
    assert server.connections == 1
    clock.now += rest_s
    await send(posts)
    assert server.connections == 2


@pytest.mark.parametrize("told", [b"timeout=1", b"timeout=0"])
async def test_a_connection_that_may_not_rest_is_ended(
    posts: Posts, server: Server, told: bytes
) -> None:
    server.script = lambda _: OK[:-2] + b"Keep-Alive: " + told + b"\r\n\r\nok"
    await send(posts)
    async with asyncio.timeout(LIMIT_S):
        await server.closed.wait()
    await send(posts)
    assert server.connections == 2


async def test_a_connection_that_may_rest_longer_hides_none_that_may_not(
    posts: Posts, server: Server, clock: Clock
) -> None:
    """Two rest at once, the one that came back last for a shorter time: the other is used."""
    server.script = lambda _: None
    tasks = [asyncio.create_task(send(posts)) for _ in range(2)]
    async with asyncio.timeout(LIMIT_S):
        while len(server.requests) < 2:
            server.arrived.clear()
            await server.arrived.wait()
    server.release.set()
    await asyncio.gather(*tasks)
    (longer, first), (_, last) = posts._idle
    posts._idle.clear()
    posts._idle.extend([(longer, first), (clock.now + 2, last)])
    clock.now += 3
    assert posts._warm() is first
    assert not last.usable


async def test_an_address_that_does_not_answer_holds_nobody_up(
    posts: Posts, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with a dead IPv6 and a living IPv4: the second is tried a moment later, on uvloop too,
    whose own connecting would wait for the first."""
    loop = asyncio.get_running_loop()
    alive = await loop.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM)
    full = socket.socket()  # its queue is full: a further connection waits for ever
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(full.getsockname())
    dead = await loop.getaddrinfo(*full.getsockname(), type=socket.SOCK_STREAM)

    async def both(*_: object, **__: object) -> list[object]:
        return [*dead, *alive]

    monkeypatch.setattr(loop, "getaddrinfo", both)
    try:
        async with asyncio.timeout(LIMIT_S / 2):
            assert (await send(posts)).body == b"00"
    finally:
        for one in (full, *waiting):
            one.close()


@pytest.mark.parametrize(
    "extra", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"garbage", b"HTTP/1.1 200 OK\r\n"]
)
async def test_more_than_one_answer_ends_the_connection(
    posts: Posts, server: Server, extra: bytes
) -> None:
    server.script = lambda number: OK + b"ok" + (extra if number == 0 else b"")
    assert (await send(posts)).body == b"ok"
    async with asyncio.timeout(LIMIT_S):
        await server.closed.wait()
    assert (await send(posts)).body == b"ok"
    assert server.connections == 2


async def test_a_second_answer_adds_nothing_to_the_first(posts: Posts, server: Server) -> None:
    second = b"HTTP/1.1 429 Too Many\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n"
    server.script = lambda _: OK + b"ok" + second
    answer = await send(posts)
    assert (answer.status, answer.body, list(answer.headers)) == (200, b"ok", ["Content-Length"])


async def test_an_interim_answer_is_not_the_answer(posts: Posts, server: Server) -> None:
    server.script = lambda _: b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"ok"
    assert (await send(posts)).body == b"ok"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * MAX_ANSWER_BYTES)
        + b"x" * (MAX_ANSWER_BYTES + 1),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MAX_ANSWER_BYTES + 1),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_ANSWER_BYTES // 20),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok",
        b"SSH-2.0-x\r\n\r\n",
    ],
)
async def test_what_is_not_one_plain_answer_is_none(
    posts: Posts, server: Server, raw: bytes
) -> None:
    server.script = lambda _: raw
    with pytest.raises(NoAnswer):
        await send(posts)
    assert len(server.requests) == 1


async def test_a_header_that_comes_twice_is_joined(posts: Posts, server: Server) -> None:
    server.script = lambda _: b"HTTP/1.1 429 X\r\nA: 1\r\nA: 2\r\nContent-Length: 0\r\n\r\n"
    answer = await send(posts)
    assert (answer.status, answer.headers["A"]) == (429, "1, 2")


async def test_a_header_with_a_line_break_is_not_sent(posts: Posts, server: Server) -> None:
    with pytest.raises(NoAnswer):
        await posts.post({"X-Key": "k\r\nX-Other: 1"}, "", math.inf)
    assert server.requests == []


@pytest.mark.parametrize("late", ["past half of the window", "no time is left", "it ended at once"])
async def test_what_is_too_late_when_the_connection_stands_is_not_written(
    posts: Posts, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """Connecting may take seconds, and a frozen process longer: the check before it is old then."""
    connect = posts._connect

    async def slowly() -> Any:
        connection = await connect()
        clock.now += LIMIT_S + 1 if late == "no time is left" else 1.0
        if late == "it ended at once":
            connection.abort()
        return connection

    monkeypatch.setattr(posts, "_connect", slowly)
    passage, not_after = Passage(), clock.now + (0.5 if late.startswith("past") else math.inf)
    token = PASSAGE.set(passage)
    try:
        with pytest.raises(TimeoutError):
            await posts.post({"X-Key": "k"}, "a=1", not_after)
    finally:
        PASSAGE.reset(token)
    assert passage.surely_unsent
    assert server.requests == []


async def test_connected_is_said_only_with_a_connection(posts: Posts, server: Server) -> None:
    for address, expected in (("", False), (str(server.port), True)):
        passage = Passage()
        token = PASSAGE.set(passage)
        if not address:
            posts._port, port = 1, posts._port
            with pytest.raises(OSError):  # noqa: PT011 (whatever the system calls it)
                await send(posts)
            posts._port = port
        else:
            await send(posts)
        PASSAGE.reset(token)
        assert passage.connected is expected


def test_it_works_on_the_loop_of_the_services() -> None:
    async def once() -> tuple[bytes, bytes]:
        server = Server(lambda number: OK + b"%02d" % number)
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        address = f"http://127.0.0.1:{port}/"
        posts = Posts(address, ssl.create_default_context(), LIMIT_S, Clock())
        answers = (await send(posts)).body, (await send(posts)).body
        posts.close()
        listening.close()
        return answers

    with ThreadPoolExecutor(1) as thread:  # the tests' own loop stays as it is
        assert thread.submit(uvloop.run, once()).result(LIMIT_S) == (b"00", b"01")
