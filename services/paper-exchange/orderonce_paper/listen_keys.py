"""Listen keys: the user-data stream as the venue had it until 2026-02-20, for clients of that time.

Off unless asked for (--listen-keys), since a bot that needs them cannot work at the venue any more.
A listen key is derived from its API key, so a restarted venue knows it again; it lives for an hour
after it was last asked for or kept alive.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

from orderonce_paper import wire
from orderonce_paper.keys import Key
from orderonce_paper.venue import Call, Route, Venue
from orderonce_paper.wire import VenueError

LIFE_MS = 3_600_000

Json = dict[str, Any]


def listen_key(key: Key) -> str:
    return hmac.digest(key.api_key.encode(), b"listen key " + key.secret, hashlib.sha256).hex()


@dataclass(slots=True)
class ListenKeys:
    """Which are alive. After a restart each counts as asked for at the start."""

    account_of_key: dict[str, str]
    alive_until: dict[str, int] = field(default_factory=dict)

    def account_of(self, name: str, now_ms: int) -> str | None:
        if name not in self.account_of_key or self.alive_until.get(name, now_ms) < now_ms:
            return None
        return self.account_of_key[name]

    def start(self, venue: Venue, call: Call) -> Json:
        name = listen_key(call.signer)
        self.alive_until[name] = call.now_ms + LIFE_MS
        return {"listenKey": name}

    def keep(self, venue: Venue, call: Call) -> Json:
        self.alive_until[self._given(call)] = call.now_ms + LIFE_MS
        return {}

    def end(self, venue: Venue, call: Call) -> Json:
        self.alive_until[self._given(call)] = 0
        return {}

    def routes(self) -> dict[tuple[str, str], Route]:
        path = "/api/v3/userDataStream"
        return {
            ("POST", path): Route(self.start, weight=2, keyed=True),
            ("PUT", path): Route(self.keep, weight=2, keyed=True),
            ("DELETE", path): Route(self.end, weight=2, keyed=True),
        }

    def _given(self, call: Call) -> str:
        name = call.params.get("listenKey")
        if not name:
            raise wire.missing("listenKey")
        if self.account_of(name, call.now_ms) != call.signer.account:
            raise VenueError(-1125, "This listenKey does not exist.")
        return name


def listen_keys(keys: dict[str, Key]) -> ListenKeys:
    return ListenKeys({listen_key(key): key.account for key in keys.values()})
