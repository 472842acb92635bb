"""What a fresh stack needs before a bot can use it: an admin key, the paper accounts, a demo key.

Each part is done once and safe to repeat: a start that was killed half-way goes on here. The
embedded stack and the containers share it: it knows addresses and a folder of keys, no processes.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from orderonce_cli.problems import Problem
from orderonce_cli.stack.layout import write_private

ACCOUNTS = tuple(f"paper-{n}" for n in range(1, 9))
FIRST_UID = 1001  # of paper-1 at the paper exchange
VENUE = "paper"
FIRST_KEY = ("create-key", "--client", "admin", "--scopes", "admin", "--accounts", "*",
             "--name", "admin")  # fmt: skip
CREDENTIAL_KINDS = {"executor": "trade", "ledger": "read"}
REQUEST_LIMIT_S = 10.0
INSTRUMENTS_LIMIT_S = 60.0
BOOKS_LIMIT_S = 60.0  # the ledger looks at every account at the venue once
LOOK_AGAIN_S = 0.1
THERE_ALREADY = (200, 201, 204, 409)
DEMO_SCOPES = ["orders:read", "orders:write", "orders:cancel", "ledger:read"]


@dataclass(frozen=True)
class Place:
    """Where a stack answers, and the folder with its keys."""

    order_api: str
    order_api_admin: str
    ledger: str
    keys: Path


def keep_key(keys: Path, name: str, told: dict[str, Any]) -> None:
    """Write a new key's secret part to its file."""
    write_private(keys / f"{name}.key", str(told["key"]))


def read_key(keys: Path, name: str) -> str | None:
    """The kept key, or None when there is none yet."""
    path = keys / f"{name}.key"
    return path.read_text().strip() if path.exists() else None


def split_credentials(keys_json: str) -> dict[str, str]:
    """The paper exchange's keys as one credentials file per service, by its name: the executor may
    trade, the ledger may read.
    """
    found = json.loads(keys_json)["accounts"]
    return {
        service: json.dumps(
            {"accounts": {name: {"venue": VENUE, **entry[kind]} for name, entry in found.items()}}
        )
        for service, kind in CREDENTIAL_KINDS.items()
    }


def admit_accounts(place: Place) -> None:
    """Make paper-1 to paper-8 known; an account that is there already stays as it is."""
    with _admin(place) as client:
        for number, account in enumerate(ACCOUNTS):
            body = {"account": account, "venue": VENUE, "venue_uid": str(FIRST_UID + number)}
            answer = client.post("/v1/accounts", json=body)
            if answer.status_code not in THERE_ALREADY:
                raise Problem(f"The account {account} could not be added: {_said(answer)}")


def make_demo_key(place: Place) -> None:
    """A bot's key for every account, kept in demo.key."""
    if read_key(place.keys, "demo") is not None:
        return
    body = {"client": "demo", "name": "demo", "scopes": DEMO_SCOPES, "accounts": ["*"]}
    with _admin(place) as client:
        answer = client.post("/v1/keys", json=body)
    if answer.status_code not in (200, 201):
        raise Problem(f"The demo key could not be made: {_said(answer)}")
    keep_key(place.keys, "demo", answer.json())


def wait_for_instruments(place: Place, gone: Callable[[], bool]) -> None:
    """Until the executor has told the order API what can be traded."""

    def missing(body: Any) -> str | None:
        return None if symbols(body) else "an empty list"

    url = f"{place.order_api}/v1/instruments?account={ACCOUNTS[0]}"
    said = _ask_until(place, url, missing, gone, INSTRUMENTS_LIMIT_S)
    if said is not None:
        raise Problem(f"The order API lists no instruments yet: {said}")


def wait_for_books(place: Place, gone: Callable[[], bool]) -> None:
    """Until the ledger has opened the books of every account. A fill before that moment is part of
    the opening balance and never becomes a journal, so nobody may trade earlier.
    """
    url = f"{place.ledger}/v1/accounts"
    said = _ask_until(place, url, unopened, gone, BOOKS_LIMIT_S)
    if said is not None:
        raise Problem(f"The ledger has not opened the books of every account: {said}")


def unopened(body: Any) -> str | None:
    """What the ledger's GET /v1/accounts says of books that are not open; None when all are."""
    shown = {row["account"]: row for row in body["accounts"]}
    waiting = [
        f"{account} waits for {(shown.get(account) or {}).get('waiting_for') or 'its first look'}"
        for account in ACCOUNTS
        if account not in shown or shown[account]["books"] != "open"
    ]
    return ", ".join(waiting) or None


def _ask_until(
    place: Place,
    url: str,
    missing: Callable[[Any], str | None],
    gone: Callable[[], bool],
    limit_s: float,
) -> str | None:
    """Ask with the demo key until nothing is missing; gives what was said last, None when done."""
    headers = {"Authorization": f"Bearer {read_key(place.keys, 'demo') or ''}"}
    deadline = time.monotonic() + limit_s
    said: str | None = "no answer"
    with httpx.Client(headers=headers, timeout=REQUEST_LIMIT_S, trust_env=False) as client:
        while time.monotonic() < deadline and not gone():
            try:
                answer = client.get(url)
                said = missing(answer.json()) if answer.status_code == 200 else _said(answer)
            except httpx.TransportError as error:
                said = type(error).__name__
            if said is None:
                return None
            time.sleep(LOOK_AGAIN_S)
    return said


def symbols(body: Any) -> list[Any]:
    """The entries of GET /v1/instruments, a bare list or under `instruments`."""
    found = body.get("instruments", []) if isinstance(body, dict) else body
    return list(found)


def _admin(place: Place) -> httpx.Client:
    key = read_key(place.keys, "admin")
    return httpx.Client(
        base_url=place.order_api_admin,
        headers={"Authorization": f"Bearer {key}"},
        timeout=REQUEST_LIMIT_S,
        trust_env=False,
    )


def _said(answer: httpx.Response) -> str:
    """An answer in a few words, for a sentence."""
    try:
        detail = answer.json().get("detail")
    except (json.JSONDecodeError, AttributeError):
        detail = None
    return f"{answer.status_code} {detail or answer.text[:200]}".strip()
