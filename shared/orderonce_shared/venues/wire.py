"""What is known of one request on the wire: did it get a connection, and what came back, word for
word.

Verdicts are drawn from this record and never from ccxt's exceptions: a plain `ExchangeError` may be
half a body, an `InvalidOrder` a duplicate, and `create_order` may return although nothing is known
(docs/venues.md, traps 1 to 3). `connected` is set before the first byte can be written, so that
False proves that none was.
"""

import re
import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
import orjson

CONNECTIONS = 256  # more requests at once than the lanes of one account ever have on the wire
KEEP_ALIVE_S = 20  # below the venues' own: an idle connection that they close costs an UNKNOWN
EVIDENCE_CHARACTERS = 2_000  # of an answer that is not the one hoped for
RETRY_AFTER_MAX_MS = 3 * 24 * 3_600_000  # the longest ban that Binance documents

_SIGNATURE = re.compile(r"(?i)(signature[\"']?\s*[=:]\s*[\"']?)[A-Za-z0-9%+/=_-]+")


@dataclass(slots=True)
class Passage:
    """One request's way: filled in while it travels."""

    dialled: bool = False  # it had to make a connection first
    connected: bool = False  # it held a connection: from here on bytes may be out
    status: int | None = None
    text: str | None = None  # the whole body as received; None when none was read to its end
    retry_after_ms: int | None = None
    error: str = ""  # class names only: the messages of ccxt carry the signed address

    @property
    def surely_unsent(self) -> bool:
        """No byte of it was written."""
        return not self.connected and self.status is None


PASSAGE: ContextVar[Passage | None] = ContextVar("orderonce_venue_passage", default=None)


class Session:
    """The aiohttp session as ccxt sees it: never follows a redirect, never re-sends, traces each
    request.

    ccxt calls `session.post(url, **options)`, reads `session.headers` and nothing more.
    """

    def __init__(self) -> None:
        trace = aiohttp.TraceConfig()
        for signal in (
            trace.on_connection_create_end,
            trace.on_connection_reuseconn,
            trace.on_request_headers_sent,
        ):
            signal.append(_connected)
        self.ssl_context = ssl.create_default_context()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S, ssl=self.ssl_context
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace],
            trust_env=False,
        )
        # aiohttp re-sends GET, PUT and DELETE once on a dropped connection, and has no public
        # switch for it.
        assert self._session._retry_connection is True, "aiohttp has changed: look again"
        self._session._retry_connection = False

    @property
    def headers(self) -> Any:
        return self._session.headers

    def get(self, url: Any, **options: Any) -> Any:
        return self._request("GET", url, options)

    def post(self, url: Any, **options: Any) -> Any:
        return self._request("POST", url, options)

    def delete(self, url: Any, **options: Any) -> Any:
        return self._request("DELETE", url, options)

    def _request(self, method: str, url: Any, options: dict[str, Any]) -> Any:
        return self._session.request(
            method, url, allow_redirects=False, trace_request_ctx=PASSAGE.get(), **options
        )

    async def close(self) -> None:
        await self._session.close()


async def _connected(_session: Any, context: SimpleNamespace, _parameters: Any) -> None:
    passage = context.trace_request_ctx
    if passage is not None:
        passage.connected = True


def note_answer(status: int, headers: dict[str, str], text: str) -> None:
    """Keeps the answer in the passage of the request under way."""
    passage = PASSAGE.get()
    if passage is not None:
        passage.status = status
        passage.text = text
        passage.retry_after_ms = _retry_after_ms(headers)


def _retry_after_ms(headers: dict[str, str]) -> int | None:
    for name, value in headers.items():
        if name.lower() == "retry-after" and re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
            return min(int(value) * 1_000, RETRY_AFTER_MAX_MS)
    return None


def read_json(text: str | None) -> Any:
    """The parsed body; None for anything that is not JSON, or that a database could not keep (NUL,
    surrogates).
    """
    if text is None or "\\u0000" in text:
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def scrub(text: str, secrets: tuple[str, ...]) -> str:
    """Foreign text made fit to be kept: no key, no signature, no control characters, not long."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _SIGNATURE.sub(r"\1***", text[: 4 * EVIDENCE_CHARACTERS])
    kept = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    return kept[:EVIDENCE_CHARACTERS]
