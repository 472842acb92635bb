"""The stamp: a create goes out with exactly the signed time, window and terms that were stored, or
not at all.

Theory (rules R4 and R5): a process that froze and woke late still holds a request with the old
stamp, and the venue's window refuses it. That works only if nothing between the stored row and the
socket makes up a fresh time. ccxt asks `nonce()` for it, so `nonce()` answers from a context
variable (each concurrent order has its own); and `fetch()`, the one place that every request
passes, compares what was signed with what was stored before any byte is written.
"""

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from orderonce_shared.venues.ccxt_one import exchange_class
from orderonce_shared.venues.posts import Posts
from orderonce_shared.venues.wire import note_answer

_Binance: Any = exchange_class("binance")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What one create must carry. `parameters` are all of them, window and client id included, as
    text.
    """

    signed_at_ms: int
    parameters: Mapping[str, str]  # of characters that no address encoding changes
    not_after: float  # monotonic seconds: half the window after the door took the request


_PLAIN = re.compile(r"[A-Za-z0-9_.~=&-]*", re.ASCII)  # what urllib.parse.quote leaves alone

STAMP: ContextVar[Stamp | None] = ContextVar("orderonce_venue_stamp", default=None)


class FenceError(Exception):
    """Stopped before any byte: the request is not what was stored, or it is too late for it."""


def check_signed(stamp: Stamp | None, url: str, order_url: str, body: object) -> None:
    """Raises FenceError unless `body` is the stored request: the same parameters, the stored time,
    one signature.
    """
    if stamp is None:
        raise FenceError("a create without a stamp")
    if url != order_url:
        raise FenceError("a stamped request to another address than the venue's order endpoint")
    if not isinstance(body, str):
        raise FenceError("the signed request has no form body")
    text, _, signature = body.rpartition("&signature=")
    plain = "".join(f"&{name}={value}" for name, value in stamp.parameters.items())
    if signature and "&" not in signature and text == f"timestamp={stamp.signed_at_ms}{plain}":
        return
    pairs = parse_qsl(body, keep_blank_values=True, strict_parsing=True)
    signed = dict(pairs)
    if len(signed) != len(pairs):
        raise FenceError("the signed request names a parameter twice")
    if not signed.pop("signature", ""):
        raise FenceError("the request is not signed")
    expected = {**stamp.parameters, "timestamp": str(stamp.signed_at_ms)}
    if signed != expected:
        differing = sorted(
            name for name in {*signed, *expected} if signed.get(name) != expected.get(name)
        )
        raise FenceError(f"the signed request is not the stored one: {', '.join(differing)}")


class FencedBinance(_Binance):  # type: ignore[misc]
    """ccxt's Binance class with `nonce` and `fetch` fenced, its answer hook noted, and a shorter
    way to the same text of a create. Nothing else differs.
    """

    order_url: str
    posts: Posts
    venue_now_ms: Callable[[], int]  # for reads and cancels, which sign the venue's time of now
    monotonic: Callable[[], float]
    timeout_on_exit = 0  # ccxt waits this long in close(); its session is ours and closed by us

    def nonce(self) -> int:
        """Milliseconds on the venue's clock: the stored stamp for a create, now for everything
        else.
        """
        stamp = STAMP.get()
        return stamp.signed_at_ms if stamp is not None else self.venue_now_ms()

    def urlencode(self, params: Any, doseq: bool = False, sort: bool = False) -> Any:
        """ccxt's, but the parameters of a create, which no encoding changes, are written as they
        are: a fifth of the whole call. `check_signed` compares what was signed all the same.
        """
        if STAMP.get() is not None:
            plain = "&".join([f"{name}={value}" for name, value in params.items()])
            separators = plain.count("&") + 1, plain.count("=")
            if separators == (len(params), len(params)) and _PLAIN.fullmatch(plain):
                return plain
        return super().urlencode(params, doseq, sort)

    async def send_create(self, parameters: dict[str, Any]) -> None:
        """ccxt's signature, then the fence. What ccxt has between the two (`fetch2`: retries,
        caches, limits, all switched off here) is a seventh of the call.
        """
        signed = self.sign("order", ["private"], "POST", parameters)
        await self.fetch(signed["url"], signed["method"], signed["headers"], signed["body"])

    async def fetch(
        self, url: str, method: str = "GET", headers: Any = None, body: Any = None
    ) -> Any:
        """The choke point. Raises FenceError before any byte; else whatever ccxt raises."""
        stamp = STAMP.get()
        if method not in ("GET", "DELETE") or stamp is not None:
            check_signed(stamp, url, self.order_url, body)
            assert stamp is not None
            if self.monotonic() > stamp.not_after:
                raise FenceError("more than half of the window has passed")
            return await self._post(url, headers, body, stamp.not_after)
        return await super().fetch(url, method, headers, body)

    async def _post(self, url: str, headers: dict[str, str], body: str, not_after: float) -> None:
        """A create leaves on connections of its own. Nobody needs ccxt's reading of the answer."""
        answer = await self.posts.post(headers, body, not_after)
        self.on_rest_response(
            answer.status, "", url, "POST", answer.headers, answer.text(), headers, body
        )

    def on_rest_response(
        self,
        code: int,
        reason: str,
        url: str,
        method: str,
        response_headers: dict[str, str],
        response_body: str,
        request_headers: Any,
        request_body: Any,
    ) -> Any:
        """ccxt's hook for the raw answer, called when a body was read to its end."""
        note_answer(code, response_headers, response_body)
        return super().on_rest_response(
            code,
            reason,
            url,
            method,
            response_headers,
            response_body,
            request_headers,
            request_body,
        )
