"""A small WebSocket client of the paper exchange: asks, and keeps what it is told meanwhile."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.unit.paper.process import Paper

Json = dict[str, Any]
LIMIT_S = 10


@dataclass
class Wire:
    socket: aiohttp.ClientWebSocketResponse
    paper: Paper
    told: list[Json] = field(default_factory=list)  # frames that answer nothing
    answers: dict[Any, Json] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    asked: int = 0

    async def listen(self) -> None:
        async for message in self.socket:
            assert message.type is aiohttp.WSMsgType.TEXT, message
            async with self.changed:
                frame = json.loads(message.data)
                if isinstance(frame, dict) and "id" in frame:
                    self.answers[frame["id"]] = frame
                else:
                    self.told.append(frame)
                self.changed.notify_all()
        async with self.changed:
            self.changed.notify_all()

    async def until(self, true_now: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
        async with asyncio.timeout(limit_s), self.changed:
            while not (found := true_now()):
                await self.changed.wait()
            return found

    async def ask(self, method: str, params: Json | None = None) -> Json:
        self.asked += 1
        asked: Json = {"id": f"q{self.asked}", "method": method}
        if params is not None:
            asked["params"] = params
        await self.socket.send_json(asked)
        answer: Json = await self.until(lambda: self.answers.get(asked["id"]))
        return answer

    async def signed(
        self, method: str, params: Json | None = None, account: str = "paper-1", kind: str = "trade"
    ) -> Json:
        return await self.ask(method, sign(self.paper, params or {}, account, kind))

    async def subscribe(self, account: str = "paper-1") -> int:
        answer = await self.signed("userDataStream.subscribe.signature", account=account)
        assert answer["status"] == 200, answer
        number: int = answer["result"]["subscriptionId"]
        return number

    def events(self, kind: str | None = None) -> list[Json]:
        found = [frame["event"] for frame in self.told if "event" in frame]
        return [event for event in found if kind in (None, event["e"])]

    def reports(self) -> list[tuple[str, str]]:
        return [(event["x"], event["X"]) for event in self.events("executionReport")]

    async def heard(self, count: int, kind: str = "executionReport") -> list[Json]:
        await self.until(lambda: len(self.events(kind)) >= count)
        return self.events(kind)


def sign(paper: Paper, params: Json, account: str = "paper-1", kind: str = "trade") -> Json:
    """All parameters sorted by name, key included, signed as the key's kind does."""
    entry = paper.keys["accounts"][account][kind]
    whole = {"apiKey": entry["api_key"], "timestamp": int(time.time() * 1000), **params}
    text = "&".join(f"{name}={_text(whole[name])}" for name in sorted(whole)).encode()
    if "secret" in entry:
        signature = hmac.new(entry["secret"].encode(), text, hashlib.sha256).hexdigest()
    else:
        private = load_pem_private_key(entry["private_key"].encode(), None)
        assert isinstance(private, Ed25519PrivateKey)
        signature = base64.b64encode(private.sign(text)).decode()
    return {**whole, "signature": signature}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@asynccontextmanager
async def connected(paper: Paper, path: str = "/ws-api/v3", **more: Any) -> AsyncIterator[Wire]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(paper.rest.replace("http", "ws") + path, **more) as socket,
    ):
        wire = Wire(socket, paper)
        listening = asyncio.create_task(wire.listen())
        try:
            yield wire
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
