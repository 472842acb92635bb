"""The two clients: `Client` blocks, `AsyncClient` awaits. Both carry out the same talks.

`place` needs either `intent`, a name of the bot's own that is kept on disk together with a fresh
key before anything is sent, or `key`, an idempotency key that the bot has kept itself.
"""

import asyncio
import logging
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from orderonce import talks
from orderonce.errors import OrderDenied
from orderonce.intents import IntentStore
from orderonce.replies import Cancel, Event, Fill, Instrument, Order, Placed, Reply
from orderonce.requests import NewOrder, Request
from orderonce.talks import Heard, Patience, Pause, Renew, Send, Step, Talk

Result = TypeVar("Result")
LOG = logging.getLogger("orderonce")
REQUEST_LIMIT_S = 10.0  # of one try; longer than the API's own wait
Filter = str | int | datetime | None


class _Bearer:
    """The API key, and where to read it again when it was rotated. Never shown."""

    def __init__(self, key: str | None, file: str | PathLike[str] | None) -> None:
        if (key is None) == (file is None):
            raise TypeError("give either api_key or key_file")
        self._file = Path(file) if file is not None else None
        self._key = key if key is not None else self._read()

    def _read(self) -> str:
        assert self._file is not None
        return self._file.read_text().strip()

    def header(self) -> str:
        return f"Bearer {self._key}"

    def renew(self) -> bool:
        """Whether the file holds another key now; not while it is being replaced."""
        try:
            found = self._read() if self._file is not None else ""
        except OSError:
            return False
        changed = found not in ("", self._key)
        if changed:
            self._key = found
        return changed


class _Base(ABC):
    """What both clients know. `url`: one address of the order API, or several, tried in turn.
    `api_key` or `key_file` (read again when the key is refused); `intents`: the file of the bot's
    intents; `patience`: how long to go on without an answer.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        api_key: str | None = None,
        key_file: str | PathLike[str] | None = None,
        intents: IntentStore | str | PathLike[str] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._urls = [one.rstrip("/") for one in ([url] if isinstance(url, str) else url)]
        if not self._urls:
            raise ValueError("at least one address of the order API is needed")
        self._bearer = _Bearer(api_key, key_file)
        self._intents: IntentStore | None
        if intents is None or isinstance(intents, IntentStore):
            self._intents = intents
        else:
            self._intents = IntentStore(intents)
        self._patience = patience or Patience()
        self._connect()

    @abstractmethod
    def _connect(self) -> None:
        """Make the HTTP client; it opens its connections when they are needed."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._urls)})"

    def _prepare(
        self, order: NewOrder, intent: str | None, key: str | None, wait_s: int, however_old: bool
    ) -> Talk[Placed]:
        """What is to be said; body and key are on disk when this returns, or are the bot's own."""
        if (intent is None) == (key is None):
            raise TypeError("give either `intent` (kept here) or `key` (kept by you) to place")
        body = order.body()
        if key is not None:
            return talks.place(body, key, wait_s, self._patience)
        assert intent is not None
        store = self._store()
        kept = store.keep(intent, body)

        def is_old() -> bool:
            return not however_old and kept.is_old(store.clock())

        return talks.place_intent(kept.body, kept.key, wait_s, self._patience, is_old)

    def _store(self) -> IntentStore:
        if self._intents is None:
            raise TypeError("an intent needs a file: Client(…, intents='intents.db')")
        return self._intents

    def _note(self, intent: str | None, order_id: str | None) -> None:
        """Never raises for the store: the API has decided, and the caller must hear it. An intent
        that was not noted is placed again one day, and answered with the same order.
        """
        if intent is None or order_id is None:
            return
        try:
            self._store().note(intent, order_id)
        except (OSError, sqlite3.Error) as error:
            LOG.warning("intent %r has order %s, which was not noted: %s", intent, order_id, error)

    def _asked(self, step: Send) -> dict[str, Any]:
        """The arguments of httpx's `request`."""
        request: Request = step.request
        return {
            "method": request.method,
            "url": self._urls[step.attempt % len(self._urls)] + request.path,
            "params": dict(request.params),
            "headers": {**request.headers, "Authorization": self._bearer.header()},
            "content": request.body,
        }

    def _renewed(self) -> Heard:
        again = Reply(200, {}, b"") if self._bearer.renew() else None
        return Heard(time.monotonic(), again)


def _heard(answer: httpx.Response) -> Heard:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Heard(time.monotonic(), Reply(answer.status_code, headers, answer.content))


def _unheard(error: httpx.RequestError) -> Heard:
    return Heard(time.monotonic(), error=f"{type(error).__name__}: {error}".rstrip(": "))


class Client(_Base):
    """The blocking client. Safe for use from several threads; close it, or use it as a context."""

    def _connect(self) -> None:
        self._http = httpx.Client(timeout=REQUEST_LIMIT_S, trust_env=False)

    def place(
        self,
        order: NewOrder,
        intent: str | None = None,
        *,
        key: str | None = None,
        wait_s: int = 0,
        however_old: bool = False,
    ) -> Placed:
        """Place one order, whatever happens on the way, at most once.

        `wait_s` up to 5 asks for its end in the reply. Raises OrderDenied and other Refused for the
        API's no, IntentDiffers, and NoAnswer after `patience`: call again, with the same intent.
        An order without `expires_at` whose intent was kept longer ago than the API's default
        deadline is not sent any more, unless `however_old`: it gets its answer if it was accepted,
        and else IntentOld, after which it never can be.
        """
        talk = self._prepare(order, intent, key, wait_s, however_old)
        try:
            placed = self._run(talk)
        except OrderDenied as denied:
            self._note(intent, denied.order_id)
            raise
        self._note(intent, placed.order_id)
        return placed

    def cancel(self, order_id: str, *, key: str) -> Cancel:
        """Ask for the end of an order. `key` is the cancel's own: keep it before you call."""
        return self._run(talks.cancel(order_id, key, self._patience))

    def order(self, order_id: str) -> Order:
        return self._run(talks.order(order_id, self._patience))

    def order_by_key(self, key: str) -> Order:
        return self._run(talks.order_by_key(key, self._patience))

    def follow(self, order_id: str, limit_s: float = 60.0) -> Order:
        """The order once it is final, or as it stands after `limit_s` (see `final`)."""
        return self._run(talks.follow(order_id, limit_s, self._patience))

    def orders(self, **filters: Filter) -> Iterator[Order]:
        """Newest first, page by page: account, symbol, status, since, until, limit (of a page)."""
        cursor: str | None = None
        while True:
            page = self._run(talks.orders(self._patience, cursor, **filters))
            yield from page.items
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    def events(self, order_id: str) -> tuple[Event, ...]:
        return self._run(talks.events(order_id, self._patience))

    def fills(self, order_id: str) -> tuple[Fill, ...]:
        return self._run(talks.fills(order_id, self._patience))

    def instruments(self, account: str) -> tuple[Instrument, ...]:
        return self._run(talks.instruments(account, self._patience))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, talk: Talk[Result]) -> Result:
        try:
            step = next(talk)
            while True:
                step = talk.send(self._do(step))
        except StopIteration as end:
            result: Result = end.value
            return result

    def _do(self, step: Step) -> Heard:
        match step:
            case Send():
                try:
                    return _heard(self._http.request(**self._asked(step)))
                except httpx.RequestError as error:
                    return _unheard(error)
            case Pause():
                time.sleep(step.seconds)
                return Heard(time.monotonic())
            case Renew():
                return self._renewed()


class AsyncClient(_Base):
    """The same on asyncio."""

    def _connect(self) -> None:
        self._http = httpx.AsyncClient(timeout=REQUEST_LIMIT_S, trust_env=False)

    async def place(
        self,
        order: NewOrder,
        intent: str | None = None,
        *,
        key: str | None = None,
        wait_s: int = 0,
        however_old: bool = False,
    ) -> Placed:
        """As Client.place; the intent is written in a thread, so that its flush stalls nobody."""
        talk = await asyncio.to_thread(self._prepare, order, intent, key, wait_s, however_old)
        try:
            placed = await self._run(talk)
        except OrderDenied as denied:
            await asyncio.to_thread(self._note, intent, denied.order_id)
            raise
        await asyncio.to_thread(self._note, intent, placed.order_id)
        return placed

    async def cancel(self, order_id: str, *, key: str) -> Cancel:
        """As Client.cancel."""
        return await self._run(talks.cancel(order_id, key, self._patience))

    async def order(self, order_id: str) -> Order:
        return await self._run(talks.order(order_id, self._patience))

    async def order_by_key(self, key: str) -> Order:
        return await self._run(talks.order_by_key(key, self._patience))

    async def follow(self, order_id: str, limit_s: float = 60.0) -> Order:
        """As Client.follow."""
        return await self._run(talks.follow(order_id, limit_s, self._patience))

    async def orders(self, **filters: Filter) -> AsyncIterator[Order]:
        """As Client.orders."""
        cursor: str | None = None
        while True:
            page = await self._run(talks.orders(self._patience, cursor, **filters))
            for order in page.items:
                yield order
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    async def events(self, order_id: str) -> tuple[Event, ...]:
        return await self._run(talks.events(order_id, self._patience))

    async def fills(self, order_id: str) -> tuple[Fill, ...]:
        return await self._run(talks.fills(order_id, self._patience))

    async def instruments(self, account: str) -> tuple[Instrument, ...]:
        return await self._run(talks.instruments(account, self._patience))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, talk: Talk[Result]) -> Result:
        try:
            step = next(talk)
            while True:
                step = talk.send(await self._do(step))
        except StopIteration as end:
            result: Result = end.value
            return result

    async def _do(self, step: Step) -> Heard:
        match step:
            case Send():
                try:
                    return _heard(await self._http.request(**self._asked(step)))
                except httpx.RequestError as error:
                    return _unheard(error)
            case Pause():
                await asyncio.sleep(step.seconds)
                return Heard(time.monotonic())
            case Renew():
                return self._renewed()
