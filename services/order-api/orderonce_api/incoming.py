"""What comes in over HTTP, read strictly: header lines once, keys in their alphabet, bodies
bounded and JSON.

Two lines of a header that must be one are refused: proxies and servers disagree on which of them
counts.
"""

import asyncio
import re
import urllib.request
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import http_sf
from orderonce_shared.contracts.reading import BodyInvalidError, read_body, read_members
from orderonce_shared.runtime.bearer import KEY_IN_TEXT
from pydantic import BaseModel
from starlette.requests import Request

from orderonce_api import errors

MAX_BODY = 16 * 1024  # an order has some 300 bytes
BODY_LIMIT_S = 10.0  # an order fits one packet; who sends slower holds a connection for nothing
MAX_HEADER_LINES = 64  # a bot sends some ten, proxies add a few
MAX_HEADER_BYTES = 16 * 1024  # names and values; ours are far below 1 KiB
MAX_AHEAD = timedelta(
    minutes=5
)  # a UUIDv7 key from further in the future was not made by a sane clock
ONCE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"transfer-encoding",
    }
)
_KEY = re.compile(r"[A-Za-z0-9_.:\-]{16,64}", re.ASCII)
_UUID7 = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_MEDIA_TYPE = re.compile(r'application/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?', re.IGNORECASE)

Model = TypeVar("Model", bound=BaseModel)


def refuse_malformed(headers: Iterable[tuple[bytes, bytes]], query: bytes, path: str) -> None:
    """Before any routing. Raises ApiProblem."""
    seen: set[bytes] = set()
    size = 0
    for count, (name, value) in enumerate(headers, 1):
        size += len(name) + len(value)
        if count > MAX_HEADER_LINES or size > MAX_HEADER_BYTES:
            raise errors.RequestInvalid(
                f"a request has at most {MAX_HEADER_LINES} header lines"
                f" and {MAX_HEADER_BYTES} bytes in them",
                close=True,
            )
        if name in ONCE:
            if name in seen:
                if name == b"idempotency-key":
                    raise errors.KeyInvalid("two Idempotency-Key lines: send one")
                raise errors.RequestInvalid(f"two {name.decode()} header lines: send one")
            seen.add(name)
    if (query and KEY_IN_TEXT.search(query.decode("latin-1"))) or KEY_IN_TEXT.search(path):
        raise errors.RequestInvalid(
            "an API key does not belong into a URL, where logs keep it: revoke that key and send"
            " the new one in the Authorization header"
        )


def header(request: Request, name: bytes) -> str | None:
    """The first line of that name, in lower case. Starlette's own look-up makes a mapping of all of
    them first.
    """
    for found, value in request.scope["headers"]:
        if found == name:
            text: str = value.decode("latin-1")
            return text
    return None


def idempotency_key(request: Request, now: datetime) -> str:
    """The key, bare or quoted. Raises KeyMissing or KeyInvalid."""
    raw = header(request, b"idempotency-key")
    if raw is None:
        raise errors.KeyMissing
    key = _unquoted(raw) if raw.startswith('"') else raw
    if not _KEY.fullmatch(key):
        raise errors.KeyInvalid("a key is 16 to 64 of A-Z a-z 0-9 _ . : - (a UUID fits)")
    if _UUID7.fullmatch(key):
        made_ms = int(key[:8] + key[9:13], 16)
        if made_ms > (now + MAX_AHEAD).timestamp() * 1000:
            raise errors.KeyInvalid(
                "this UUIDv7 lies more than 5 minutes in the future: check the clock that made it"
            )
    return key


def wait_preferred(lines: Iterable[str], longest_s: int) -> int:
    """Seconds of `Prefer: wait=N` (RFC 7240), at most `longest_s`; 0 for none. A preference is a
    wish: one that is malformed or unknown is ignored, and of two equal names the first counts.

    Not http_sf: a Prefer line may have upper case and blanks around "=", which structured fields
    refuse, and there the last of two equal names would count.
    """
    for part in urllib.request.parse_http_list(",".join(lines)):
        name, _, value = part.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            text = value.strip().removeprefix('"').removesuffix('"').lstrip("0")
            if not (text.isascii() and text.isdigit()):
                return 0
            return longest_s if len(text) > len(str(longest_s)) else min(int(text), longest_s)
    return 0


def _unquoted(raw: str) -> str:
    """A structured-field string without parameters."""
    try:
        value = http_sf.parse(raw.encode("latin-1"), tltype="item")
    except ValueError:
        raise errors.KeyInvalid("not a structured-field string") from None
    if isinstance(value, tuple):
        text, parameters = value
        if parameters or not isinstance(text, str):
            raise errors.KeyInvalid("a quoted key has no parameters")
        return text
    if not isinstance(value, str):
        raise errors.KeyInvalid("not a structured-field string")
    return value


async def body_bytes(request: Request) -> bytes:
    """The raw body. Raises BodyTooLarge as soon as more than MAX_BODY is announced or has come,
    RequestInvalid when it is not there within BODY_LIMIT_S.
    """
    announced = header(request, b"content-length") or ""
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > MAX_BODY:
        raise errors.BodyTooLarge(MAX_BODY)
    body, more = b"", True
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise errors.RequestInvalid("the connection ended before the body did")
                body += message.get("body", b"")
                if len(body) > MAX_BODY:
                    raise errors.BodyTooLarge(MAX_BODY)
                more = message.get("more_body", False)
    except TimeoutError:
        raise errors.RequestInvalid(
            f"the body was not here within {BODY_LIMIT_S:g} s", close=True
        ) from None
    return body


async def body_of(request: Request, model: type[Model], *, may_be_empty: bool = False) -> Model:
    """The body as its model. Raises MediaTypeUnsupported, BodyTooLarge or BodyInvalid."""
    raw = await body_bytes(request)
    if not raw and may_be_empty:
        return model()
    if not _MEDIA_TYPE.fullmatch((header(request, b"content-type") or "").strip()):
        raise errors.MediaTypeUnsupported
    try:
        return read_body(model, raw)
    except BodyInvalidError as error:
        raise errors.BodyInvalid(error.errors) from None


def query_of(request: Request, model: type[Model]) -> Model:
    """The query string as its model; a parameter given twice is refused. Raises RequestInvalid."""
    pairs = request.query_params.multi_items()
    members = dict(pairs)
    if len(members) != len(pairs):
        raise errors.RequestInvalid("a query parameter is given twice")
    try:
        return read_members(model, members)
    except BodyInvalidError as error:
        raise errors.RequestInvalid("see errors", error.errors) from None


def order_id_of(request: Request) -> UUID:
    """The path's order id. What is no UUID names no order: NotFound."""
    text = request.path_params["order_id"]
    if not _UUID.fullmatch(text):
        raise errors.NotFound("no such order")
    return UUID(text)
