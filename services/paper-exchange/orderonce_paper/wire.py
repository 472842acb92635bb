"""The venue's protocol below its routes: parameters, signatures, the time window, error codes.

The signature covers the text as it was received, query and then body with nothing between; a
parameter that is in both is taken from the query.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import unquote_plus

DEFAULT_RECV_WINDOW_MS = Decimal(5000)
MAX_RECV_WINDOW_MS = Decimal(60000)
FUTURE_ALLOWANCE_MS = 1000
PARAMETER_LIMIT = 100

SIGNATURE_PAIR = re.compile(r"(?:^|&)signature=([^&]*)")
CLIENT_ID = re.compile(r"[a-zA-Z0-9\-_]{1,36}")
SYMBOL = re.compile(r"[A-Z0-9\-_.]{1,20}")
AMOUNT = re.compile(r"([0-9]{1,20})(\.[0-9]{1,20})?")
INTEGER = re.compile(r"[0-9]{1,18}")
WINDOW = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?")


class VenueError(Exception):
    """A refusal as the venue words it. `data` goes beside code and msg where a route has it."""

    def __init__(
        self,
        code: int,
        msg: str,
        status: int = 400,
        data: object = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{code} {msg}")
        self.code, self.msg, self.status = code, msg, status
        self.data, self.retry_after_s = data, retry_after_s


def illegal(name: str, legal: str) -> VenueError:
    return VenueError(
        -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
    )


def missing(name: str) -> VenueError:
    return VenueError(
        -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    )


def not_required(name: str) -> VenueError:
    return VenueError(-1106, f"Parameter '{name}' sent when not required.")


def rejected_key() -> VenueError:
    return VenueError(-2015, "Invalid API-key, IP, or permissions for action.", status=401)


def wrong_signature() -> VenueError:
    return VenueError(-1022, "Signature for this request is not valid.")


def parse_params(query: bytes, body: bytes) -> dict[str, str]:
    """Parameters of query and body, decoded; the same name twice in one of them is -1101."""
    params = _parse(body) if body else {}
    params.update(_parse(query) if query else {})
    return params


def _parse(text: bytes) -> dict[str, str]:
    params: dict[str, str] = {}
    try:
        decoded = text.decode("ascii")
    except UnicodeDecodeError:
        raise VenueError(-1100, "Illegal characters found in a parameter.") from None
    plain = "%" not in decoded and "+" not in decoded
    for pair in decoded.split("&"):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        if not plain:
            name, value = _unquote(name), _unquote(value)
        if name in params:
            raise VenueError(-1101, "Duplicate values for a parameter detected.")
        params[name] = value
    if len(params) > PARAMETER_LIMIT:
        raise VenueError(-1101, "Too many parameters sent for this endpoint.")
    return params


def _unquote(text: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise VenueError(-1100, "Illegal characters found in a parameter.") from None


def signed_text(query: bytes, body: bytes) -> bytes:
    """What the client must have signed: query + body as received, less the signature itself."""
    parts = []
    for part in (query, body):
        text = part.decode("latin-1")
        parts.append(SIGNATURE_PAIR.sub("", text).removeprefix("&").encode("latin-1"))
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Window:
    """How long a signed request may live, in the venue's time."""

    timestamp_ms: int
    recv_window_ms: Decimal

    def check(self, now_ms: int) -> None:
        if self.timestamp_ms >= now_ms + FUTURE_ALLOWANCE_MS:
            raise VenueError(
                -1021, "Timestamp for this request was 1000ms ahead of the server's time."
            )
        if now_ms - self.timestamp_ms > self.recv_window_ms:
            raise VenueError(-1021, "Timestamp for this request is outside of the recvWindow.")


def parse_window(params: dict[str, str]) -> Window:
    timestamp = integer(params, "timestamp")
    if timestamp is None:
        raise missing("timestamp")
    given = params.get("recvWindow")
    if not given:
        return Window(timestamp, DEFAULT_RECV_WINDOW_MS)
    if not AMOUNT.fullmatch(given):
        raise illegal("recvWindow", "^[0-9]{1,20}$")
    recv_window = Decimal(given)
    if recv_window > MAX_RECV_WINDOW_MS:
        raise VenueError(-1131, "recvWindow must be less than 60000.")
    if not WINDOW.fullmatch(given):
        raise VenueError(-1111, "Parameter 'recvWindow' has too much precision.")
    return Window(timestamp, recv_window)


def integer(params: dict[str, str], name: str) -> int | None:
    given = params.get(name)
    if given is None:
        return None
    if not given:
        raise VenueError(-1105, f"Parameter '{name}' was empty.")
    if not INTEGER.fullmatch(given):
        raise illegal(name, "^[0-9]{1,20}$")
    return int(given)


def amount(params: dict[str, str], name: str, digits: int) -> Decimal | None:
    """A plain decimal, no sign, no exponent; more decimals than the asset has are -1111."""
    given = params.get(name)
    if given is None:
        return None
    if not given:
        raise VenueError(-1105, f"Parameter '{name}' was empty.")
    found = AMOUNT.fullmatch(given)
    if found is None:
        raise illegal(name, "^([0-9]{1,20})(\\.[0-9]{1,20})?$")
    decimals = found.group(2)
    if decimals and len(decimals.rstrip("0")) - 1 > digits:
        raise VenueError(-1111, f"Parameter '{name}' has too much precision.")
    return Decimal(given)


def client_id(params: dict[str, str], name: str) -> str | None:
    given = params.get(name)
    if given is None:
        return None
    if not given:
        raise VenueError(-1105, f"Parameter '{name}' was empty.")
    if not CLIENT_ID.fullmatch(given):
        raise illegal(name, "^[a-zA-Z0-9-_]{1,36}$")
    return given


def choice(params: dict[str, str], name: str, allowed: frozenset[str], error: VenueError) -> str:
    given = params.get(name)
    if not given:
        raise missing(name)
    if given not in allowed:
        raise error
    return given
