"""Where orders go in: over HTTP as a bot does it, or straight onto `orders.commands`.

Over HTTP a request without a decision is repeated with the same key, as every bot must; each
refusal and each repetition is counted. Straight to Kafka the client does the repeating.
"""

import asyncio
import itertools
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import aiohttp
import orjson

from orderonce_cli.load import records
from orderonce_cli.load.kafka import KafkaError, Producer
from orderonce_cli.load.orders import Spread
from orderonce_cli.load.tally import Tally

ATTEMPT_LIMIT_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})
EXPIRES_S = 30.0  # of a record that we write ourselves: the order API's default for market orders

Now = Callable[[], float]  # seconds since the run's start


class Door(Protocol):
    """Sends order n and tells the tally what was answered."""

    async def place(self, number: int) -> None: ...

    async def cancel(self, numbers: Sequence[int]) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Patience:
    """How long a request is repeated: not at all, or until so long after its intended start."""

    retry: bool = True
    limit_s: float = 30.0


class HttpDoor:
    """POST /v1/orders, over so many connections, addresses by turns."""

    def __init__(
        self, urls: Sequence[str], key: str, connections: int, tally: Tally, spread: Spread,
        now: Now, patience: Patience,
    ) -> None:  # fmt: skip
        self._urls = itertools.cycle([f"{url.rstrip('/')}/v1/orders" for url in urls])
        self._tally, self._spread = tally, spread
        self._now, self._patience = now, patience
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=ATTEMPT_LIMIT_S),
            auto_decompress=False,
        )

    async def place(self, number: int) -> None:
        tally = self._tally
        body = orjson.dumps(self._spread.order(number).body(tally.run))
        headers = {"Idempotency-Key": tally.key(number)}
        tally.started(number, self._now())
        deadline = tally.intended[number] + self._patience.limit_s
        pause_s = FIRST_PAUSE_S
        while True:
            after_s = await self._try(number, body, headers)
            if after_s is None:
                return
            wait_s = max(pause_s, after_s)
            if not self._patience.retry or self._now() + wait_s > deadline:
                tally.unanswered(number)
                return
            tally.retries += 1
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _try(self, number: int, body: bytes, headers: dict[str, str]) -> float | None:
        """One request. None: decided. Else the seconds that the service asks us to wait."""
        tally = self._tally
        try:
            async with self._session.post(next(self._urls), data=body, headers=headers) as answer:
                said = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            tally.refusals[f"no answer ({type(error).__name__})"] += 1
            return 0.0
        if answer.status == 202:
            tally.acked(number, self._now(), orjson.loads(said)["order_id"])
            return None
        kind, told = _problem(said)
        if answer.status == 422 and kind == "order-denied":
            tally.denied(number, self._now(), str(told.get("code")))
            return None
        if answer.status in AGAIN:
            tally.refusals[f"{answer.status} {kind}".strip()] += 1
            after = answer.headers.get("Retry-After", "")
            return float(after) if after.isdigit() else 0.0
        tally.refused(number, f"{answer.status} {kind}".strip())
        return None

    async def cancel(self, numbers: Sequence[int]) -> None:
        """Once each, at most a page at a time: what is left open at the end is taken back."""
        for number in numbers:
            url = f"{next(self._urls)}/{self._tally.ids[number]}/cancel"
            headers = {"Idempotency-Key": f"{self._tally.key(number)}-c"}
            try:
                async with self._session.post(url, data=b"{}", headers=headers) as answer:
                    await answer.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self._tally.refusals[f"cancel: no answer ({type(error).__name__})"] += 1

    async def close(self) -> None:
        await self._session.close()


class KafkaDoor:
    """place.v1 straight to `orders.commands`."""

    def __init__(
        self, producer: Producer, topic: str, sender: records.Sender, tally: Tally, spread: Spread,
        now: Now,
    ) -> None:  # fmt: skip
        self._producer, self._topic, self._sender = producer, topic, sender
        self._tally, self._spread, self._now = tally, spread, now

    async def place(self, number: int) -> None:
        tally = self._tally
        asked = self._spread.order(number)
        order_id = str(uuid.uuid4())
        moment = datetime.now(UTC)
        command = records.place(
            self._sender, order_id, tally.key(number), asked,
            _rfc3339(moment), _rfc3339(moment + timedelta(seconds=EXPIRES_S)),
        )  # fmt: skip
        tally.started(number, self._now())
        tally.ids[number] = order_id  # before the send: its events may come first
        try:
            await (await self._producer.send(self._topic, command))
        except (KafkaError, OSError, TimeoutError) as error:
            tally.refusals[f"not acknowledged ({type(error).__name__})"] += 1
            tally.unanswered(number)
            return
        tally.acked(number, self._now(), order_id)

    async def cancel(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            order_id = self._tally.ids[number]
            assert order_id is not None, "it was sent under an id of ours"
            key = self._tally.key(number)
            placed = key, self._spread.order(number)
            moment = _rfc3339(datetime.now(UTC))
            command = records.cancel(self._sender, order_id, f"{key}-c", placed, moment)
            await (await self._producer.send(self._topic, command))

    async def close(self) -> None:
        """The producer is closed with its cluster."""


def _problem(said: bytes) -> tuple[str, dict[str, Any]]:
    """The type of a problem document, and its members."""
    try:
        told = json.loads(said)
        return str(told.get("type", "")).rsplit("/", 1)[-1], told
    except (ValueError, AttributeError):
        return "", {}


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
