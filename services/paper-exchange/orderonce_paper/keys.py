"""Who may speak for which account: the keys of DIR/keys.json, made on first start and kept.

Each account has an HMAC `trade` key, an HMAC `read` key (one that tries to trade is told -2015) and
an `ed25519` key that may trade and log a WebSocket session on. The venue itself needs only the
public half of the last; the private half is in the file for the bot, since nobody uploads keys to a
paper venue. A file from before the Ed25519 keys gets them added; what it had stays as it was.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

ALPHABET = string.ascii_letters + string.digits
KEY_CHARS = 64  # as the real venue's keys
FIRST_UID = 1001
HMAC_KINDS = ("trade", "read")
ED25519_KIND = "ed25519"


@dataclass(frozen=True, slots=True)
class Key:
    """`secret` signs by HMAC; where `public` is set, signatures are Ed25519 and it is empty."""

    account: str
    uid: int
    secret: bytes
    may_trade: bool
    api_key: str = ""
    public: Ed25519PublicKey | None = None

    def signed(self, text: bytes, given: str) -> bool:
        """Whether `given` is this key's signature: HMAC in hex, either case; Ed25519 in base64."""
        if self.public is None:
            expected = hmac.digest(self.secret, text, hashlib.sha256).hex()
            return hmac.compare_digest(expected.encode(), given.lower().encode("utf-8", "replace"))
        try:
            self.public.verify(base64.b64decode(given, validate=True), text)
        except (InvalidSignature, ValueError, binascii.Error):
            return False
        return True


def _random_text(prefix: str = "") -> str:
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(KEY_CHARS - len(prefix)))


def _random_key(may_trade: bool) -> dict[str, str]:
    # The prefix tells a person which kind a key is; the venue itself looks the key up.
    return {
        "api_key": _random_text("ptrade" if may_trade else "pread"),
        "secret": _random_text(),
    }


def _random_ed25519() -> dict[str, str]:
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return {"api_key": _random_text("ped25519"), "private_key": pem.decode()}


def make_keys_file(path: Path, accounts: tuple[str, ...]) -> None:
    made = {
        name: {
            "uid": FIRST_UID + n,
            "trade": _random_key(True),
            "read": _random_key(False),
            ED25519_KIND: _random_ed25519(),
        }
        for n, name in enumerate(accounts)
    }
    _write(path, {"accounts": made})


def load_keys(path: Path) -> dict[str, Key]:
    """Keys by api_key. A file that is not what this module writes raises ValueError."""
    try:
        whole = json.loads(path.read_text())
        accounts = whole["accounts"]
        old = [entry for entry in accounts.values() if ED25519_KIND not in entry]
        for entry in old:
            entry[ED25519_KIND] = _random_ed25519()
        if old:
            _write(path, whole)
        found = [key for name, entry in accounts.items() for key in _keys_of(name, entry)]
        return {key.api_key: key for key in found}
    except (KeyError, TypeError, AttributeError, ValueError) as broken:
        raise ValueError(f"{path} is not a keys file of this venue") from broken


def _keys_of(account: str, entry: dict[str, Any]) -> list[Key]:
    uid, found = int(entry["uid"]), []
    for kind in HMAC_KINDS:
        pair = entry[kind]
        secret = pair["secret"].encode()
        found.append(Key(account, uid, secret, kind == "trade", pair["api_key"]))
    pair = entry[ED25519_KIND]
    private = load_pem_private_key(pair["private_key"].encode(), None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("the private key is of another kind")
    found.append(Key(account, uid, b"", True, pair["api_key"], private.public_key()))
    return found


def _write(path: Path, whole: dict[str, Any]) -> None:
    """Write the file whole or not at all; it is never readable by others."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(whole, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
