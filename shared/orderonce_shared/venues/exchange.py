"""One configured ccxt instance: everything that could send, round, wait or ask by itself is
switched off.

Each setting answers a trap of docs/venues.md; `build_exchange` asserts the ones that would place an
order twice.
"""

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from orderonce_shared.venues.credentials import Credential
from orderonce_shared.venues.evidence import VenueEvidence
from orderonce_shared.venues.fence import FencedBinance
from orderonce_shared.venues.posts import Posts
from orderonce_shared.venues.wire import Session

BINANCE_BASE = "https://api.binance.com"
NO_SUCH_PATH = "/closed"  # addresses of products that this door never uses
READ_WINDOW_MS = 5_000

# ccxt logs headers and bodies, key and signature among them, at DEBUG: its instances log here,
# warnings only.
LOGGER = logging.getLogger("orderonce.venues.ccxt")
LOGGER.setLevel(logging.WARNING)


def checked_base(evidence: VenueEvidence, base_url: str | None) -> str | None:
    """The address to use, None for the venue's own; raises ValueError with a sentence."""
    if base_url is None:
        if evidence.plain_http_anywhere:
            raise ValueError(f"the venue {evidence.venue} has no address of its own: base_url")
        return None
    parts = urlsplit(base_url)
    bare = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in ("http", "https") or not parts.hostname or not bare:
        raise ValueError("base_url is scheme://host[:port]")
    if parts.path not in ("", "/"):
        raise ValueError("base_url has no path: the venue's paths are added")
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme == "http" and not (local or evidence.plain_http_anywhere):
        raise ValueError("plain http would show the key to the network")
    return f"{parts.scheme}://{parts.netloc}"


def build_exchange(
    credential: Credential,
    session: Session,
    base: str | None,
    timeout_ms: int,
    venue_now_ms: Callable[[], int],
    monotonic: Callable[[], float],
) -> Any:
    """The fenced Binance class for spot alone, on our session. Sends nothing."""
    exchange = FencedBinance(
        {
            "apiKey": credential.api_key.reveal(),
            "secret": credential.secret.reveal(),
            "timeout": timeout_ms,
            "enableRateLimit": False,  # the order path has a budget of its own; ccxt's has no burst
            "session": session,
            "logger": LOGGER,
            "number": str,
            "aiohttp_trust_env": False,
            "options": {
                "defaultType": "spot",
                "fetchMarkets": {"types": ["spot"]},
                "fetchCurrencies": False,
                "fetchMargins": False,
                "maxRetriesOnFailure": 0,
                "recvWindow": READ_WINDOW_MS,
                "newOrderRespType": {"market": "FULL", "limit": "FULL"},
            },
        }
    )
    exchange.ssl_context = session.ssl_context  # else ccxt builds one that nobody uses
    address = (base or BINANCE_BASE).rstrip("/")
    exchange.urls["api"] = dict.fromkeys(exchange.urls["api"], address + NO_SUCH_PATH)
    exchange.urls["api"].update({"public": f"{address}/api/v3", "private": f"{address}/api/v3"})
    # ccxt picks the error map by the official host's name; on another host spot's own codes would
    # be plain errors.
    exchange.exceptions["exact"].update(exchange.exceptions["spot"]["exact"])
    exchange.order_url = f"{address}/api/v3/order"
    exchange.venue_now_ms = venue_now_ms
    exchange.monotonic = monotonic
    exchange.posts = Posts(exchange.order_url, session.ssl_context, timeout_ms / 1_000, monotonic)
    _assert_sends_once(exchange)
    return exchange


def _assert_sends_once(exchange: Any) -> None:
    retries, _ = exchange.handle_option_integer_and_params({}, "order", "maxRetriesOnFailure", 0)
    assert retries == 0, "ccxt would send a create again"
    assert exchange.enableRateLimit is False
    assert exchange.own_session is False, "ccxt would use a session that re-sends and redirects"
    assert exchange.number is str
