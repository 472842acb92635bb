"""A real paper exchange as a child process, and the two ways in which tests talk to it."""

import asyncio
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

READY_S = 20
STOP_S = 10


@dataclass
class Paper:
    process: asyncio.subprocess.Process
    rest: str
    control_url: str
    keys: dict[str, Any]
    http: httpx.AsyncClient

    def pair(self, account: str = "paper-1", scope: str = "trade") -> tuple[str, str]:
        key = self.keys["accounts"][account][scope]
        return key["api_key"], key["secret"]

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.http.request(method, f"{self.control_url}/control/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def fault(self, name: str, **fields: Any) -> int:
        armed = await self.control("POST", "faults", {"name": name, **fields})
        number: int = armed["fault"]["id"]
        return number

    async def price(self, symbol: str, bid: str, ask: str) -> None:
        await self.control("POST", "price", {"symbol": symbol, "bid": bid, "ask": ask})

    async def signed(
        self,
        method: str,
        path: str,
        params: dict[str, Any] | None = None,
        *,
        where: str = "query",
        account: str = "paper-1",
        scope: str = "trade",
        secret: str | None = None,
        timestamp: int | None = None,
    ) -> httpx.Response:
        """A signed request with its parameters in query, body, or half and half."""
        key, own_secret = self.pair(account, scope)
        stamp = timestamp if timestamp is not None else int(time.time() * 1000)
        pairs = [f"{k}={v}" for k, v in {**(params or {}), "timestamp": stamp}.items()]
        cut = {"query": len(pairs), "body": 0, "mixed": len(pairs) // 2}[where]
        query, body = "&".join(pairs[:cut]), "&".join(pairs[cut:])
        digest = hmac.new((secret or own_secret).encode(), (query + body).encode(), hashlib.sha256)
        if where == "query":
            query += f"&signature={digest.hexdigest()}"
        else:
            body += f"&signature={digest.hexdigest()}"
        return await self.http.request(
            method,
            f"{self.rest}{path}" + (f"?{query}" if query else ""),
            content=body,
            headers={
                "X-MBX-APIKEY": key,
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )

    async def order(self, **params: Any) -> httpx.Response:
        """POST order; a market buy of 0.001 BTC unless told otherwise. None leaves a field out."""
        asked = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
        asked.update(params)
        return await self.signed("POST", "/api/v3/order", {k: v for k, v in asked.items() if v})

    async def limit(self, **params: Any) -> httpx.Response:
        asked = {"type": "LIMIT", "timeInForce": "GTC", "price": "50000", **params}
        return await self.order(**asked)


async def until(true_now: Callable[[], Awaitable[bool]], limit_s: float = 10) -> None:
    """Waits for a condition of another process; fails when it does not come in time."""
    async with asyncio.timeout(limit_s):
        while not await true_now():  # noqa: ASYNC110 - the other process sends no event
            await asyncio.sleep(0.01)


def command(folder: Path, *flags: str) -> tuple[list[str], dict[str, str]]:
    argv = [sys.executable, "-m", "orderonce_paper", "--data", str(folder)]
    argv += ["--port", "0", "--control-port", "0", *flags]
    return argv, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@asynccontextmanager
async def running(folder: Path, *flags: str) -> AsyncIterator[Paper]:
    """Started, ready, and gone at the end however the test ends."""
    argv, env = command(folder, *flags)
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=env
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_S):
            ready = json.loads(await process.stdout.readline())
        keys = json.loads((folder / "keys.json").read_text())
        async with httpx.AsyncClient(timeout=10) as http:
            yield Paper(process, ready["rest"], ready["control"], keys, http)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(STOP_S):
            await process.wait()
