"""What a fresh stack needs before a bot can use it: an admin key, the paper accounts, a demo key.

Each part is done once and safe to repeat: a start that was killed half-way goes on here.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx

from orderonce_cli.problems import Problem
from orderonce_cli.stack.layout import Layout, write_private
from orderonce_cli.stack.services import ACCOUNTS, FIRST_UID, VENUE, Plan

REQUEST_LIMIT_S = 10.0
INSTRUMENTS_LIMIT_S = 60.0
LOOK_AGAIN_S = 0.1
THERE_ALREADY = (200, 201, 204, 409)
DEMO_SCOPES = ["orders:read", "orders:write", "orders:cancel", "ledger:read"]


def keep_key(layout: Layout, name: str, told: dict[str, Any]) -> None:
    """Write a new key's secret part to its file."""
    write_private(layout.root / f"{name}.key", str(told["key"]))


def read_key(layout: Layout, name: str) -> str | None:
    """The kept key, or None when there is none yet."""
    path = layout.root / f"{name}.key"
    return path.read_text().strip() if path.exists() else None


def admit_accounts(plan: Plan) -> None:
    """Make paper-1 to paper-8 known; an account that is there already stays as it is."""
    with _admin(plan) as client:
        for number, account in enumerate(ACCOUNTS):
            body = {"account": account, "venue": VENUE, "venue_uid": str(FIRST_UID + number)}
            answer = client.post("/v1/accounts", json=body)
            if answer.status_code not in THERE_ALREADY:
                raise Problem(f"The account {account} could not be added: {_said(answer)}")


def make_demo_key(plan: Plan) -> None:
    """A bot's key for every account, kept in demo.key."""
    if read_key(plan.layout, "demo") is not None:
        return
    body = {"client": "demo", "name": "demo", "scopes": DEMO_SCOPES, "accounts": ["*"]}
    with _admin(plan) as client:
        answer = client.post("/v1/keys", json=body)
    if answer.status_code not in (200, 201):
        raise Problem(f"The demo key could not be made: {_said(answer)}")
    keep_key(plan.layout, "demo", answer.json())


def wait_for_instruments(plan: Plan, gone: Callable[[], bool]) -> None:
    """Until the executor has told the order API what can be traded."""
    key = read_key(plan.layout, "demo") or ""
    url = f"{plan.address('order-api-1')}/v1/instruments"
    deadline = time.monotonic() + INSTRUMENTS_LIMIT_S
    said = "no answer"
    with httpx.Client(timeout=REQUEST_LIMIT_S, trust_env=False) as client:
        while time.monotonic() < deadline and not gone():
            try:
                answer = client.get(
                    url, params={"account": ACCOUNTS[0]}, headers={"Authorization": f"Bearer {key}"}
                )
                if answer.status_code == 200 and symbols(answer.json()):
                    return
                said = _said(answer)
            except httpx.TransportError as error:
                said = type(error).__name__
            time.sleep(LOOK_AGAIN_S)
    raise Problem(f"The order API lists no instruments yet: {said}")


def symbols(body: Any) -> list[Any]:
    """The entries of GET /v1/instruments, a bare list or under `instruments`."""
    found = body.get("instruments", []) if isinstance(body, dict) else body
    return list(found)


def _admin(plan: Plan) -> httpx.Client:
    key = read_key(plan.layout, "admin")
    return httpx.Client(
        base_url=plan.address("order-api-admin-1"),
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
