"""Where a run goes to: addresses, accounts and markets, from the options or the running stack.

A run against the stack of this machine makes a key of its own and revokes it at the end; against
other addresses it uses the key it is given.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from orderonce_cli.api import Api, Given, connect
from orderonce_cli.load.kafka import Access
from orderonce_cli.load.orders import Kind, Market, markets_of, paper_markets
from orderonce_cli.load.plan import EXECUTOR_GROUP, Measured, Target, Via
from orderonce_cli.problems import Exit, Problem
from orderonce_cli.stack import layout, running

SCOPES = ("orders:read", "orders:write", "orders:cancel", "ledger:read")
DEFAULT_SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")


@dataclass(frozen=True)
class Chosen:
    """The options that say where."""

    via: Via
    measured: Measured = "line"
    accounts: str = "8"
    symbols: tuple[str, ...] = ()
    quantity: str | None = None
    kind: Kind = "market"
    api: tuple[str, ...] = ()
    ledger: str | None = None
    kafka: Access | None = None
    prefix: str = ""
    group: str = EXECUTOR_GROUP
    venue: str = "paper"
    data: Path | None = None
    key_file: Path | None = None


@contextmanager
def resolved(chosen: Chosen) -> Iterator[Target]:
    """The target while the run lasts. Raises Problem where something is missing or refused."""
    if chosen.api or chosen.kafka is not None:
        yield _given(chosen)
        return
    where = layout.data_folder(chosen.data)
    view = running.view(where)
    kafka = Access(view["kafka"])
    if chosen.measured == "kafka":
        yield _without_api(chosen, kafka)
        return
    if "order_api" not in view:
        raise Problem(
            "Only Postgres and Kafka run here. Start all: orderonce down, then orderonce up; or "
            "measure Kafka alone with --measure kafka.",
            Exit.UNAVAILABLE,
        )
    with _key_of_our_own(chosen) as key:
        yield _over_api(chosen, tuple(view["order_api"]), key, kafka, view["ledger"])


def _given(chosen: Chosen) -> Target:
    """Addresses from the command line alone: nothing of a local stack is touched."""
    if not chosen.api:
        if chosen.via == "http" and chosen.measured == "line":
            raise Problem("--via http needs --api URL (with --key-file).", Exit.USAGE)
        return _without_api(chosen, chosen.kafka)
    if chosen.via == "kafka" and chosen.kafka is None:
        raise Problem("--via kafka needs --bootstrap host:port.", Exit.USAGE)
    key = _given_key(chosen)
    return _over_api(chosen, chosen.api, key, chosen.kafka, chosen.ledger)


def _given_key(chosen: Chosen) -> str:
    if chosen.key_file is not None:
        try:
            return chosen.key_file.read_text().strip()
        except OSError as error:
            raise Problem(f"{chosen.key_file} cannot be read: {error.strerror}.") from error
    if found := os.environ.get("ORDERONCE_KEY"):
        return found.strip()
    raise Problem("--api needs an API key: --key-file FILE, or set ORDERONCE_KEY.", Exit.USAGE)


@contextmanager
def _key_of_our_own(chosen: Chosen) -> Iterator[str]:
    """A key of this run's, revoked when it has ended however it ends. Killed before that, it stays
    and `orderonce key list` shows it as a client load-…"""
    if chosen.key_file is not None:
        yield _given_key(chosen)
        return
    admin = connect("order_api_admin", Given(chosen.data))
    name = f"load-{token_hex(4)}"
    told = admin.post(
        "/v1/keys", {"client": name, "name": name, "scopes": list(SCOPES), "accounts": ["*"]}
    )
    try:
        yield str(told["key"])
    finally:
        try:
            admin.post(f"/v1/keys/{told['kid']}/revoke")
        except Problem as problem:  # the report must not be lost for it
            print(
                f"orderonce: the run's key is still alive ({problem.sentence}). Revoke it: "
                f"orderonce key revoke {told['kid']}",
                file=sys.stderr,
            )


def _over_api(
    chosen: Chosen, api: tuple[str, ...], key: str, kafka: Access | None, ledger: str | None
) -> Target:
    """Asks the first address who we are, for accounts, and for the markets' steps. Only accounts of
    the chosen venue count: a run must not trade a real one because its name sorts first.
    """
    door = Api(api, key)
    rows = door.get("/v1/accounts")["accounts"]
    listed = [str(row["account"]) for row in rows if row["venue"] == chosen.venue]
    accounts = _accounts(chosen.accounts, sorted(listed, key=_natural))
    if elsewhere := sorted(set(accounts) - set(listed)):
        raise Problem(
            f"Not at the venue {chosen.venue}: {', '.join(elsewhere)}. Orders of a run are sent in "
            "earnest; name another venue with --venue if that is meant.",
            Exit.USAGE,
        )
    instruments = door.get("/v1/instruments", account=accounts[0])["instruments"]
    known = {row["symbol"] for row in instruments}
    symbols = chosen.symbols or tuple(s for s in DEFAULT_SYMBOLS if s in known)
    try:
        markets = markets_of(symbols or sorted(known)[:1], instruments, chosen.quantity)
    except ValueError as error:
        raise Problem(f"{error}.", Exit.USAGE) from error
    return _target(chosen, accounts, markets, kafka, (api, key, ledger))


def _without_api(chosen: Chosen, kafka: Access | None) -> Target:
    """Nothing can be asked: accounts are paper-1, paper-2, … unless they are named."""
    try:
        markets = paper_markets(chosen.symbols or DEFAULT_SYMBOLS, chosen.quantity)
    except ValueError as error:
        raise Problem(f"{error}.", Exit.USAGE) from error
    counted = [f"paper-{n}" for n in range(1, _count(chosen.accounts) + 1)]
    accounts = _accounts(chosen.accounts, counted)
    return _target(chosen, accounts, markets, kafka, ((), "", None))


def _target(
    chosen: Chosen, accounts: Sequence[str], markets: Sequence[Market], kafka: Access | None,
    services: tuple[tuple[str, ...], str, str | None],
) -> Target:  # fmt: skip
    api, key, ledger = services
    return Target(
        accounts=tuple(accounts), markets=tuple(markets), api=api, key=key, ledger=ledger,
        kafka=kafka, prefix=chosen.prefix, venue=chosen.venue, group=chosen.group,
    )  # fmt: skip


def _accounts(wanted: str, listed: Sequence[str]) -> list[str]:
    """`wanted` is a number, or names with commas."""
    if not wanted.isdigit():
        names = [name.strip() for name in wanted.split(",") if name.strip()]
        if not names:
            raise Problem("--accounts is a number, or names with commas.", Exit.USAGE)
        return names
    count = _count(wanted)
    if count > len(listed):
        raise Problem(
            f"There are {len(listed)} accounts at the venue, not {count}. Make more, or ask for "
            "fewer with --accounts.",
            Exit.USAGE,
        )
    return list(listed[:count])


def _count(wanted: str) -> int:
    count = int(wanted) if wanted.isdigit() else 0
    if wanted.isdigit() and count < 1:
        raise Problem("--accounts is at least 1.", Exit.USAGE)
    return count


def _natural(name: str) -> tuple[Any, ...]:
    """paper-2 before paper-10."""
    head, _, tail = name.rpartition("-")
    return (head, int(tail)) if tail.isdigit() else (name, 0)
