"""A bot light enough to measure with: posts orders over kept connections, as fast as it is answered
or at given moments, and remembers when each was meant to leave.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from hdrh.histogram import HdrHistogram

from benchmarks.report import histogram

ORDER = {"symbol": "BTC/USDT", "type": "market", "quantity": "0.00100"}
LIMIT_S = 30.0


@dataclass
class Posts:
    """What came of a run: latency of each answer from its intended moment, and those moments
    (seconds since 1970) by key."""

    latency: HdrHistogram = field(default_factory=histogram)
    intended: dict[str, float] = field(default_factory=dict)
    replayed: int = 0
    wall_s: float = 0.0


class LightBot:
    """Posts to one API with one bearer key."""

    def __init__(self, url: str, bearer: str, account: str) -> None:
        self._url = f"{url}/v1/orders"
        self._headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        self._bodies = [
            orjson.dumps({"account": account, "side": side, **ORDER}) for side in ("buy", "sell")
        ]
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        await self._http.close()

    async def closed_loop(self, keys: Sequence[str], in_flight: int) -> Posts:
        """As fast as `in_flight` at a time are answered."""
        posts, left = Posts(), iter(enumerate(keys))

        async def worker() -> None:
            for number, key in left:
                await self._post(posts, number, key, time.time())

        began = time.monotonic()
        await asyncio.gather(*(worker() for _ in range(in_flight)))
        posts.wall_s = time.monotonic() - began
        return posts

    async def open_loop(self, keys: Sequence[str], rate: float) -> Posts:
        """One each 1/rate seconds, whether or not those before are answered."""
        posts, tasks = Posts(), []
        began = time.time() + 0.05
        for number, key in enumerate(keys):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.time()))
            tasks.append(asyncio.create_task(self._post(posts, number, key, due)))
        await asyncio.gather(*tasks)
        posts.wall_s = time.time() - began
        return posts

    async def _post(self, posts: Posts, number: int, key: str, due: float) -> None:
        headers: dict[str, Any] = {**self._headers, "Idempotency-Key": key}
        timeout = aiohttp.ClientTimeout(total=LIMIT_S)
        async with self._http.post(
            self._url, data=self._bodies[number % 2], headers=headers, timeout=timeout
        ) as reply:
            told = await reply.read()
        assert reply.status == 202, f"{reply.status} {told[:300]!r}"
        posts.replayed += reply.headers.get("Idempotent-Replayed") == "true"
        posts.intended[key] = due
        posts.latency.record_value(max(1, int((time.time() - due) * 1e6)))
