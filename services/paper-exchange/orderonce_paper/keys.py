"""Who may speak for which account: the keys of DIR/keys.json, made on first start and kept.

Each account has a `trade` key and a `read` key; a read key that tries to trade is told -2015.
"""

import json
import os
import secrets
import string
from dataclasses import dataclass
from pathlib import Path

ALPHABET = string.ascii_letters + string.digits
KEY_CHARS = 64  # as the real venue's keys
FIRST_UID = 1001


@dataclass(frozen=True, slots=True)
class Key:
    account: str
    uid: int
    secret: bytes
    may_trade: bool


def _random_key(may_trade: bool) -> dict[str, str]:
    # The prefix tells a person which kind a key is; the venue itself looks the key up.
    prefix = "ptrade" if may_trade else "pread"
    body = "".join(secrets.choice(ALPHABET) for _ in range(KEY_CHARS - len(prefix)))
    secret = "".join(secrets.choice(ALPHABET) for _ in range(KEY_CHARS))
    return {"api_key": prefix + body, "secret": secret}


def make_keys_file(path: Path, accounts: tuple[str, ...]) -> None:
    """Write the file whole or not at all; it is never readable by others."""
    made = {
        name: {"uid": FIRST_UID + n, "trade": _random_key(True), "read": _random_key(False)}
        for n, name in enumerate(accounts)
    }
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"accounts": made}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def load_keys(path: Path) -> dict[str, Key]:
    """Keys by api_key. A file that is not what this module writes raises ValueError."""
    try:
        accounts = json.loads(path.read_text())["accounts"]
        return {
            entry[kind]["api_key"]: Key(
                name, int(entry["uid"]), entry[kind]["secret"].encode(), kind == "trade"
            )
            for name, entry in accounts.items()
            for kind in ("trade", "read")
        }
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as broken:
        raise ValueError(f"{path} is not a keys file of this venue") from broken
