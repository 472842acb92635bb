"""The form of a key, its checksum, its MAC: from the definition, not from the code."""

import asyncio
import hashlib
import hmac
import re
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from orderonce_shared.runtime import bearer
from orderonce_shared.runtime.bearer import Bearer, CredentialsInvalidError
from pydantic import SecretStr

PEPPER = bytes(range(32))


def test_form() -> None:
    key = bearer.mint_key()
    assert re.fullmatch(r"oo_test_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", key.text)
    assert bearer.split_key(key.text) == (key.kid, key.secret)
    assert key.secret not in repr(key)
    assert key.text not in repr(key)


def test_keys_differ() -> None:
    assert len({bearer.mint_key().text for _ in range(1000)}) == 1000


def test_checksum_is_crc32_in_base62() -> None:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for text in ("", "a", "oo_test_x", "123456789"):
        number = 0
        for digit in bearer.checksum(text):
            number = number * 62 + digits.index(digit)
        assert number == zlib.crc32(text.encode())
        assert len(bearer.checksum(text)) == 6


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: text.replace("oo_test", "oo_live"),
        lambda text: text[:20] + ("A" if text[20] != "A" else "B") + text[21:],
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text.swapcase(),
        lambda text: text[:30] + "é" + text[31:],
        lambda text: text[:30] + "\0" + text[31:],
        lambda text: text[:30] + "٣" + text[31:],
    ],
)
def test_what_is_no_key(change: Any) -> None:
    assert bearer.split_key(change(bearer.mint_key().text)) is None


def test_mac_by_its_definition() -> None:
    expected = hmac.new(PEPPER, b"oo1\0KID\0SECRET", hashlib.sha256).digest()
    assert bearer.mac(PEPPER, "KID", "SECRET") == expected
    assert bearer.mac(PEPPER, "KI", "DSECRET") != expected
    assert bearer.mac(bytes(32), "KID", "SECRET") != expected


@pytest.mark.parametrize("text", ["", "zz" * 32, "ab" * 31, "ab" * 33])
def test_a_bad_pepper_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="64 hex digits") as caught:
        bearer.read_pepper(SecretStr(text))
    assert not text or text not in str(caught.value)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Rows:
    """A pool of one table."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.asked = 0

    async def fetchrow(self, _: str, kid: str) -> dict[str, Any] | None:
        self.asked += 1
        await asyncio.sleep(0)
        row = self.rows.get(kid)
        return dict(row) if row else None

    def add(self, key: bearer.MintedKey, **changes: Any) -> None:
        self.rows[key.kid] = {
            "kid": key.kid,
            "client": "bot",
            "secret_mac": bearer.mac(PEPPER, key.kid, key.secret),
            "pepper_id": 1,
            "scopes": ["orders:read"],
            "accounts": ["paper-1"],
            "max_quantity": None,
            "max_notional": None,
            "orders_per_second": None,
            "status": "active",
            "expires_at": None,
            **changes,
        }


def made() -> tuple[Bearer, Rows, Clock]:
    rows, clock = Rows(), Clock()
    return Bearer(cast(Any, rows), PEPPER, clock), rows, clock


async def test_a_good_key() -> None:
    who, rows, _ = made()
    key = bearer.mint_key()
    rows.add(key)
    caller = await who.identify(f"Bearer {key.text}")
    assert (caller.client, caller.kid) == ("bot", key.kid)
    assert caller.may("orders:read")
    assert not caller.may("orders:write")
    assert caller.sees("paper-1")
    assert not caller.sees("paper-2")
    assert (await who.identify(f"bearer  {key.text}")).kid == key.kid


async def test_every_account() -> None:
    who, rows, _ = made()
    key = bearer.mint_key()
    rows.add(key, accounts=["*"])
    assert (await who.identify(f"Bearer {key.text}")).sees("anything")


async def test_malformed_keys_ask_nobody() -> None:
    who, rows, _ = made()
    key = bearer.mint_key()
    rows.add(key)
    for header in (
        None,
        "",
        "Bearer",
        "Bearer ",
        key.text,
        f"Basic {key.text}",
        f"Bearer {key.text}x",
        f"Bearer {key.text}, Bearer {key.text}",
        f"Bearer {key.text}\n",
    ):
        with pytest.raises(CredentialsInvalidError):
            await who.identify(header)
    assert rows.asked == 0


async def test_wrong_secret_unknown_revoked_expired_are_one_answer() -> None:
    who, rows, clock = made()
    good, unknown, revoked, expired, other_pepper = (bearer.mint_key() for _ in range(5))
    rows.add(good)
    rows.add(revoked, status="revoked")
    rows.add(expired, expires_at=clock.now())
    rows.add(other_pepper, pepper_id=2)
    body = f"oo_test_{good.kid}_{unknown.secret}"
    forged = body + bearer.checksum(body)
    for text in (forged, unknown.text, revoked.text, expired.text, other_pepper.text):
        with pytest.raises(CredentialsInvalidError) as caught:
            await who.identify(f"Bearer {text}")
        assert str(caught.value) == "credentials invalid"


async def test_a_revocation_shows_within_two_seconds() -> None:
    who, rows, clock = made()
    key = bearer.mint_key()
    rows.add(key)
    await who.identify(f"Bearer {key.text}")
    rows.add(key, status="revoked")
    clock.seconds = 1.9
    await who.identify(f"Bearer {key.text}")
    assert rows.asked == 1
    clock.seconds = 2.0
    with pytest.raises(CredentialsInvalidError):
        await who.identify(f"Bearer {key.text}")


async def test_forget_shows_it_at_once() -> None:
    who, rows, _ = made()
    key = bearer.mint_key()
    rows.add(key)
    await who.identify(f"Bearer {key.text}")
    rows.add(key, status="revoked")
    who.forget(key.kid)
    with pytest.raises(CredentialsInvalidError):
        await who.identify(f"Bearer {key.text}")


async def test_expiry_counts_for_a_cached_key_too() -> None:
    who, rows, clock = made()
    key = bearer.mint_key()
    rows.add(key, expires_at=clock.now() + timedelta(seconds=1))
    await who.identify(f"Bearer {key.text}")
    clock.seconds = 1.0
    with pytest.raises(CredentialsInvalidError):
        await who.identify(f"Bearer {key.text}")


async def test_many_requests_of_one_key_ask_once() -> None:
    who, rows, clock = made()
    key = bearer.mint_key()
    rows.add(key)
    for round_ in range(1, 4):
        callers = await asyncio.gather(*(who.identify(f"Bearer {key.text}") for _ in range(50)))
        assert {caller.kid for caller in callers} == {key.kid}
        assert rows.asked == round_
        clock.seconds += 2


async def test_a_requester_that_gives_up_does_not_take_the_others_along() -> None:
    who, rows, _ = made()
    key = bearer.mint_key()
    rows.add(key)
    first = asyncio.create_task(who.identify(f"Bearer {key.text}"))
    second = asyncio.create_task(who.identify(f"Bearer {key.text}"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).kid == key.kid
