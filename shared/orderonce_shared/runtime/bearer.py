"""Bearer keys: their form, their MAC at rest, and who is asking. For each service that bots call.

`oo_test_<kid:12>_<secret:43><crc32:6>`, all base62. The kid is public and finds the row; of the
secret only HMAC-SHA256(pepper, "oo1\\0" + kid + "\\0" + secret) is stored. The checksum is no
security: it turns away typing errors before any database is asked. An unknown kid takes the same
path as a wrong secret.
"""

import asyncio
import hashlib
import hmac
import re
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

from pydantic import SecretStr

from orderonce_shared.runtime.clock import Clock
from orderonce_shared.runtime.database import Pool
from orderonce_shared.runtime.ids import random_below
from orderonce_shared.runtime.queries import load_queries

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KID_LENGTH = 12
SECRET_LENGTH = 43  # 43 * log2(62) = 256 bits
CHECKSUM_LENGTH = 6  # 62^6 > 2^32
PEPPER_BYTES = 32
PEPPER_ID = 1  # one pepper is alive for now; rows name theirs so that a second can come beside it
CACHE_S = 2.0  # a revoked key stops answering at most this long after the revocation's reply
CACHE_KEYS = 10_000
EVERY_ACCOUNT = "*"

# \Z and not $: the latter accepts a trailing newline.
_KEY = re.compile(r"oo_test_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})\Z", re.ASCII)
_HEADER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S+)\Z", re.ASCII)
KEY_IN_TEXT = re.compile(r"oo_(?:test|live)_[0-9A-Za-z]", re.ASCII)  # a key in a URL

_DUMMY_MAC = b"\0" * 32
_QUERIES = Path(str(files("orderonce_shared.control"))) / "queries.sql"


class CredentialsInvalidError(Exception):
    """No key, or a malformed, unknown, revoked or expired one: answered all alike.

    `reason` is for the audit log."""

    def __init__(self, reason: str) -> None:
        super().__init__("credentials invalid")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: the client behind the key, what it may do, and its limits (None: no limit)."""

    client: str
    kid: str
    scopes: frozenset[str]
    accounts: frozenset[str]
    max_quantity: Decimal | None = None
    max_notional: Decimal | None = None
    orders_per_second: int | None = None
    expires_at: datetime | None = None

    def may(self, scope: str) -> bool:
        return scope in self.scopes

    def sees(self, account: str) -> bool:
        return EVERY_ACCOUNT in self.accounts or account in self.accounts


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new key. `text` is shown once and never stored or logged."""

    kid: str
    secret: str
    text: str

    def __repr__(self) -> str:
        return f"MintedKey({self.kid})"


def checksum(text: str) -> str:
    """CRC32 of `text` in base62, padded to six."""
    number, digits = zlib.crc32(text.encode("ascii")), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    assert number == 0
    return digits


def mint_key() -> MintedKey:
    kid = "".join(ALPHABET[random_below(62)] for _ in range(KID_LENGTH))
    secret = "".join(ALPHABET[random_below(62)] for _ in range(SECRET_LENGTH))
    body = f"oo_test_{kid}_{secret}"
    return MintedKey(kid, secret, body + checksum(body))


def split_key(text: str) -> tuple[str, str] | None:
    """(kid, secret) of a well-formed key with a right checksum, else None. Asks nobody."""
    found = _KEY.match(text)
    if found is None or checksum(text[:-CHECKSUM_LENGTH]) != found[3]:
        return None
    return found[1], found[2]


def mac(pepper: bytes, kid: str, secret: str) -> bytes:
    """What is stored of a key: 32 bytes."""
    return hmac.digest(pepper, b"oo1\0" + kid.encode() + b"\0" + secret.encode(), hashlib.sha256)


def read_pepper(pepper: SecretStr) -> bytes:
    """64 hex digits to 32 bytes. Raises ValueError that does not quote the value."""
    try:
        raw = bytes.fromhex(pepper.get_secret_value())
    except ValueError:
        raise ValueError("the pepper is 64 hex digits") from None
    if len(raw) != PEPPER_BYTES:
        raise ValueError("the pepper is 64 hex digits")
    return raw


@dataclass(frozen=True, slots=True)
class _Row:
    caller: Caller
    secret_mac: bytes
    active: bool


class Bearer:
    """Turns an Authorization header into a Caller. Rows are kept by kid for at most CACHE_S."""

    def __init__(self, pool: Pool, pepper: bytes, clock: Clock) -> None:
        assert len(pepper) == PEPPER_BYTES
        self._pool = pool
        self._pepper = pepper
        self._clock = clock
        self._query = load_queries(_QUERIES)["key_by_kid"]
        self._cache: OrderedDict[str, tuple[float, _Row]] = OrderedDict()
        self._asking: dict[str, asyncio.Future[_Row | None]] = {}

    async def identify(self, authorization: str | None) -> Caller:
        """Raises CredentialsInvalidError; OSError, TimeoutError or asyncpg's errors when the
        database is not there."""
        if authorization is None:
            raise CredentialsInvalidError("no authorization header")
        header = _HEADER.match(authorization)
        parts = split_key(header[1]) if header else None
        if parts is None:
            raise CredentialsInvalidError("malformed")
        kid, secret = parts
        row = await self._row(kid)
        expected = row.secret_mac if row else _DUMMY_MAC
        matches = hmac.compare_digest(mac(self._pepper, kid, secret), expected)
        if row is None or not matches:
            raise CredentialsInvalidError("unknown kid or wrong secret")
        if not row.active:
            raise CredentialsInvalidError("revoked")
        if row.caller.expires_at is not None and row.caller.expires_at <= self._clock.now():
            raise CredentialsInvalidError("expired")
        return row.caller

    def forget(self, kid: str) -> None:
        """After a revocation by this process: its next request asks the database."""
        self._cache.pop(kid, None)

    async def _row(self, kid: str) -> _Row | None:
        cached = self._cache.get(kid)
        if cached is not None and self._clock.monotonic() - cached[0] < CACHE_S:
            return cached[1]
        asking = self._asking.get(kid)
        if asking is None:  # one look-up for all who wait: a busy key must not crowd the pool
            asking = asyncio.ensure_future(self._ask(kid))
            self._asking[kid] = asking
            asking.add_done_callback(lambda _: self._asking.pop(kid, None))
        return await asyncio.shield(asking)

    async def _ask(self, kid: str) -> _Row | None:
        now = self._clock.monotonic()
        record = await self._pool.fetchrow(self._query, kid)
        if record is None:
            self._cache.pop(kid, None)  # unknown kids are not kept: they would crowd out real ones
            return None
        caller = Caller(
            client=record["client"],
            kid=record["kid"],
            scopes=frozenset(record["scopes"]),
            accounts=frozenset(record["accounts"]),
            max_quantity=record["max_quantity"],
            max_notional=record["max_notional"],
            orders_per_second=record["orders_per_second"],
            expires_at=record["expires_at"],
        )
        active = record["status"] == "active" and record["pepper_id"] == PEPPER_ID
        row = _Row(caller, record["secret_mac"], active)
        self._cache[kid] = (now, row)  # the time before the look-up: never older than it says
        self._cache.move_to_end(kid)
        while len(self._cache) > CACHE_KEYS:
            self._cache.popitem(last=False)
        return row
