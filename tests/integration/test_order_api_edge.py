"""The edge on a real socket: what a strange or lazy peer sends must end in an answer, soon."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from orderonce_api import incoming
from orderonce_api.incoming import MAX_HEADER_BYTES, MAX_HEADER_LINES
from orderonce_shared.runtime import process as runtime
from orderonce_shared.runtime.logs import configure_logs
from orderonce_shared.runtime.process import Process, listen, serve

from tests.unit.order_api.world import World, fresh_key, limit_order, place, problem, world

SOON_S = 5.0


@asynccontextmanager
async def served(database: Any, port: int) -> AsyncIterator[World]:
    """The bots' port of a world, behind the house's own server."""
    async with world(database) as made:
        process = Process(configure_logs("test"))
        running = asyncio.create_task(serve(process, made.api.bots, listen("127.0.0.1", port)))
        try:
            yield made
        finally:
            process.stopping.set()
            await running


async def say(port: int, raw: bytes) -> bytes:
    """Everything that comes back until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        return await asyncio.wait_for(reader.read(), SOON_S)
    finally:
        writer.close()


def answer(raw: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert len(body) == int(headers["content-length"]), raw
    return int(first.split()[1]), headers, json.loads(body)


def head(made: World, *lines: str, path: str = "/v1/orders") -> bytes:
    return "\r\n".join(
        [
            f"POST {path} HTTP/1.1",
            "Host: api",
            f"Authorization: Bearer {made.key}",
            f"Idempotency-Key: {fresh_key()}",
            "Content-Type: application/json",
            *lines,
            "\r\n",
        ]
    ).encode("latin-1")


def refused(raw: bytes) -> dict[str, str]:
    """The headers of the answer, which must be the house's 400 with a closed connection."""
    status, headers, document = answer(raw)
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert document["type"] == "/errors/request-invalid"
    assert (document["status"], headers["connection"]) == (400, "close")
    assert document["request_id"] == headers["x-request-id"]
    return headers


@pytest.mark.parametrize(
    "path", ["/v1/orders", "/v1/orders/00000000-0000-7000-8000-000000000000/cancel"]
)
async def test_a_body_that_never_comes_has_a_limit(
    database: Any, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(incoming, "BODY_LIMIT_S", 0.2)
    port = free_port()
    async with served(database, port) as made:
        refused(await say(port, head(made, "Content-Length: 100", path=path) + b'{"a'))


async def test_a_head_that_never_ends_has_a_limit(
    database: Any, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "REQUEST_LIMIT_S", 0.2)
    port = free_port()
    async with served(database, port):
        assert await say(port, b"") == b""
        assert await say(port, b"GET / HTTP/1.1\r\nHost: api\r\nX-A: ") == b""
        assert await say(port, b"\r\n") == b""


async def test_the_limit_of_a_request_is_not_one_of_its_answer(
    database: Any, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "REQUEST_LIMIT_S", 0.2)
    port = free_port()
    body = json.dumps(limit_order()).encode()
    async with served(database, port) as made, made.owner.transaction():
        await made.owner.execute("LOCK TABLE control.account IN EXCLUSIVE MODE")
        raw = head(made, f"Content-Length: {len(body)}", "Connection: close") + body
        assert answer(await say(port, raw))[0] == 503  # a second later


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 2", "Content-Length: 3"),
        ("Content-Length: 2", "Transfer-Encoding: chunked"),
        ("X-A: a\0b", "Content-Length: 2"),
        ("X-A: a\x01b", "Content-Length: 2"),
        ("X A: a", "Content-Length: 2"),
    ],
)
async def test_what_is_no_http_gets_a_problem_document(
    database: Any, free_port: Callable[[], int], lines: tuple[str, ...]
) -> None:
    port = free_port()
    async with served(database, port) as made:
        refused(await say(port, head(made, *lines) + b"{}"))
        refused(await say(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))


async def test_a_bad_chunk_gets_a_problem_document(
    database: Any, free_port: Callable[[], int]
) -> None:
    port = free_port()
    async with served(database, port) as made:
        refused(await say(port, head(made, "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n"))


async def test_rubbish_after_a_command_does_not_take_its_answer(
    database: Any, free_port: Callable[[], int]
) -> None:
    """A 400 in front of it would be read as the command's own, which says that nothing was
    stored.
    """
    port = free_port()
    body = json.dumps(limit_order()).encode()
    async with served(database, port) as made:
        raw = head(made, f"Content-Length: {len(body)}") + body
        status, headers, _ = answer(await say(port, raw + b"\0\0\0"))
        assert (status, headers["connection"]) == (202, "close")


async def test_headers_are_bounded(database: Any, free_port: Callable[[], int]) -> None:
    port = free_port()
    async with served(database, port) as made:
        start = b"GET / HTTP/1.1\r\nX-A: "
        refused(await say(port, start.ljust(runtime.MAX_OPEN_HEAD + 1, b"a")))
        async with made.client() as bot:
            many = {f"X-{n}": "a" for n in range(MAX_HEADER_LINES)}
            large = {"X-A": "a" * MAX_HEADER_BYTES}
            for headers in (many, large):
                assert problem(await bot.get("/v1/orders", headers=headers)) == "request-invalid"
            fair = {f"X-{n}": "a" * 200 for n in range(MAX_HEADER_LINES - 10)}
            assert (await bot.get("/v1/orders", headers=fair)).status_code == 200
            assert (await place(bot)).status_code == 202
