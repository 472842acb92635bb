"""Judges a run from outside: what was asked, what was replied, and the venue's own book.

Theory: the auditor trusts nobody's tables. It reads the bots' own record of requests and replies,
the paper exchange's control door (its request log, orders, trades, balances) and the public HTTP
answers of the order API and the ledger, and compares. It imports nothing of the services and never
opens a database, so that a fault which they share cannot hide from it. `judge` is pure: doctored
stories show that each kind of finding fires. An empty list means: clean.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal
from enum import StrEnum
from typing import Any

import httpx

from tests.workload import Attempt, Record

Json = dict[str, Any]

ASK_LIMIT_S = 20.0
EXACT = Context(prec=96)
POLL_S = 0.3
PAGE = 200
FINAL = frozenset({"filled", "canceled", "rejected", "lapsed", "denied", "not_placed"})
NEVER_AT_VENUE = frozenset({"rejected", "lapsed", "denied", "not_placed"})
VENUE_STATUS = {
    "NEW": "open",
    "PARTIALLY_FILLED": "open",
    "FILLED": "filled",
    "CANCELED": "canceled",
    "EXPIRED": "canceled",
}
VENUE_KIND = {  # type, time_in_force, post_only -> type, time in force at the venue
    ("market", "gtc", False): ("MARKET", None),
    ("limit", "gtc", False): ("LIMIT", "GTC"),
    ("limit", "ioc", False): ("LIMIT", "IOC"),
    ("limit", "fok", False): ("LIMIT", "FOK"),
    ("limit", "gtc", True): ("LIMIT_MAKER", None),
}


class Kind(StrEnum):
    """What can be wrong. Public words: tests and people name them."""

    REPLY_DIFFERS = "two replies to one key differ"
    ID_DIFFERS = "one key has two order ids"
    LOST = "accepted, and the API does not know it"
    SHOWN_DIFFERS = "the API shows other terms than were asked for"
    NOT_FINAL = "accepted and not final"
    UNKNOWN = "an explicit unknown"
    DOUBLE_CREATE = "more than one create executed for one client order id"
    DOUBLE_KEY = "more than one order at the venue for one key"
    FOREIGN_CREATE = "an order at the venue that nobody asked for"
    LATE = "received by the venue after its deadline"
    ABSENT = "placed, says the API, and the venue does not have it"
    PRESENT = "never placed, says the API, and the venue has it"
    STATUS = "status differs from the venue's"
    FILLED_QUANTITY = "filled quantity differs from the venue's"
    TERMS = "the venue has other terms than were asked for"
    API_FILLS = "the API's fills are not the venue's trades"
    LEDGER_MISSING = "a trade at the venue that the ledger does not have"
    LEDGER_FOREIGN = "a fill in the ledger that the venue does not have"
    LEDGER_DIFFERS = "a fill in the ledger differs from the venue's trade"
    BALANCE = "a balance in the ledger differs from the venue's"
    BREAK = "an open break"
    PROOF = "the proof is not zero"
    RECONCILIATION = "the reconciliation could not be made"


@dataclass(frozen=True)
class Finding:
    kind: Kind
    subject: str  # a key, client order id, trade or account
    detail: str

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.subject}: {self.detail}"


@dataclass
class Story:
    """All that is known of a run. Rows are as the doors show them.

    `orders` and `fills` are by idempotency key; ledger rows by account. `exclusive` says that the
    record names every order of these accounts: then a create of anybody else is a finding too.
    """

    attempts: list[Attempt] = field(default_factory=list)
    bodies: dict[str, Json] = field(default_factory=dict)  # key of a place -> what was asked
    orders: dict[str, Json | None] = field(default_factory=dict)
    fills: dict[str, list[Json]] = field(default_factory=dict)
    venue_requests: list[Json] = field(default_factory=list)
    venue_orders: list[Json] = field(default_factory=list)
    venue_trades: list[Json] = field(default_factory=list)
    venue_balances: dict[str, dict[str, Json]] = field(default_factory=dict)
    ledger_fills: dict[str, list[Json]] = field(default_factory=dict)
    ledger_balances: dict[str, list[Json]] = field(default_factory=dict)
    proof: list[Json] = field(default_factory=list)
    breaks: list[Json] = field(default_factory=list)
    runs: list[Json] = field(default_factory=list)  # reconciliations, made for this story
    exclusive: bool = True


@dataclass(frozen=True)
class Doors:
    """Where to ask. `ledger` is empty when a run has none; `order_apis` are tried in turn."""

    order_apis: Sequence[str]
    paper_control: str
    ledger: str
    bearer: str
    accounts: Sequence[str]


async def audit(doors: Doors, record: Record, *, exclusive: bool = True) -> list[Finding]:
    """Collect and judge once."""
    return judge(await collect(doors, record, exclusive=exclusive))


async def audit_settled(
    doors: Doors, record: Record, *, limit_s: float, exclusive: bool = True
) -> list[Finding]:
    """Judge again and again until clean or the limit has passed; the last findings then."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            found = await audit(doors, record, exclusive=exclusive)
        except httpx.HTTPError:
            if time.monotonic() >= deadline:
                raise
        else:
            if not found or time.monotonic() >= deadline:
                return found
        await asyncio.sleep(POLL_S)


# judging


def judge(story: Story) -> list[Finding]:
    """Every rule on one story. Pure."""
    found = [*_replies(story), *_orders(story), *_creates(story), *_venue(story), *_ledger(story)]
    return sorted(found, key=lambda finding: (finding.kind, finding.subject, finding.detail))


def _replies(story: Story) -> Iterator[Finding]:
    """Every decided reply to one key is the same bytes, and names one order."""
    decided: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in story.attempts:
        if attempt.decided:
            decided[attempt.key].append(attempt)
    for key, attempts in decided.items():
        bytes_heard = {(attempt.status, attempt.reply) for attempt in attempts}
        if len(bytes_heard) > 1:
            yield Finding(Kind.REPLY_DIFFERS, key, f"{sorted(bytes_heard, key=repr)}")
        ids = {attempt.told().get("order_id") for attempt in attempts}
        order = story.orders.get(key)
        if order is not None:
            ids.add(order["order_id"])
        if len(ids) > 1:
            yield Finding(Kind.ID_DIFFERS, key, f"{sorted(map(str, ids))}")


def _orders(story: Story) -> Iterator[Finding]:
    """What was decided exists, is final, and shows what was asked for."""
    for key in _decided_keys(story):
        order = story.orders.get(key)
        if order is None:
            yield Finding(Kind.LOST, key, "GET by key: not found")
            continue
        for name, asked in story.bodies[key].items():
            if name in ("quantity", "quote_quantity", "price"):
                same = _equal(order.get(name), asked)
            elif name == "expires_at":
                same = _time(order[name]) == _time(asked)
            else:
                same = order.get(name, asked if name == "post_only" else None) == asked
            if not same:
                yield Finding(Kind.SHOWN_DIFFERS, key, f"{name}: {asked!r} -> {order.get(name)!r}")
        status = order["status"]
        if status == "unknown":
            yield Finding(Kind.UNKNOWN, key, f"order {order['order_id']}")
        elif status in ("accepted", "sending"):
            yield Finding(Kind.NOT_FINAL, key, f"order {order['order_id']} is {status}")
        if order["final"] != (status in FINAL):
            yield Finding(Kind.STATUS, key, f"{status} with final {order['final']}")


def _creates(story: Story) -> Iterator[Finding]:
    """At most one executed create for each client order id and for each key, in time."""
    executed: dict[str, list[Json]] = defaultdict(list)
    for row in story.venue_requests:
        if row["method"] == "POST" and row["path"] == "/api/v3/order" and row["executed"]:
            executed[row["client_order_id"]].append(row)
    for row in story.venue_orders:  # the book must not know more than the log
        if row["client_order_id"] not in executed and not row["client_order_id"].startswith("web_"):
            executed[row["client_order_id"]].append({**row, "received_at": None})
    owner: dict[str, str] = {}
    for key in _decided_keys(story):
        ids = _client_ids(story, key)
        owner |= dict.fromkeys(ids, key)
        rows = [row for one in ids for row in executed.get(one, [])]
        if len(rows) > 1:
            yield Finding(Kind.DOUBLE_KEY, key, f"{len(rows)} executed creates: {sorted(ids)}")
        order = story.orders.get(key)
        if order is not None:
            deadline_ms = _time(order["expires_at"]).timestamp() * 1000
            for row in rows:
                if row["received_at"] is not None and row["received_at"] > deadline_ms:
                    late = row["received_at"] - deadline_ms
                    yield Finding(Kind.LATE, key, f"{late:.0f} ms after {order['expires_at']}")
    for one, rows in executed.items():
        if len(rows) > 1:
            yield Finding(Kind.DOUBLE_CREATE, one, f"{len(rows)} executed creates")
        if story.exclusive and one not in owner and rows[0].get("account") in _accounts(story):
            yield Finding(Kind.FOREIGN_CREATE, one, "no decided key has this client order id")


def _venue(story: Story) -> Iterator[Finding]:
    """The API's word on each order is the venue's."""
    book = {row["client_order_id"]: row for row in story.venue_orders}
    trades: dict[str, list[Json]] = defaultdict(list)
    for trade in story.venue_trades:
        trades[trade["client_order_id"]].append(trade)
    for key in _decided_keys(story):
        order = story.orders.get(key)
        if order is None:
            continue
        one = order.get("client_order_id") or ""
        row, status = book.get(one), order["status"]
        if row is None:
            if order.get("venue_order_id") is not None or status in ("filled", "open"):
                yield Finding(Kind.ABSENT, key, f"{status}, venue order {order['venue_order_id']}")
            continue
        if status in NEVER_AT_VENUE:
            yield Finding(Kind.PRESENT, key, f"{status}; at the venue {row['status']}")
            continue
        if status in ("accepted", "sending", "unknown"):
            continue  # named above as not final or unknown
        yield from _compare_order(story, key, order, row)
        yield from _compare_fills(story, key, trades[one])


def _compare_order(story: Story, key: str, order: Json, row: Json) -> Iterator[Finding]:
    if order["status"] != VENUE_STATUS.get(row["status"]):
        yield Finding(Kind.STATUS, key, f"{order['status']}; at the venue {row['status']}")
    if str(order.get("venue_order_id")) != str(row["order_id"]):
        yield Finding(
            Kind.STATUS, key, f"venue order {order.get('venue_order_id')}, truly {row['order_id']}"
        )
    if not _equal(order["filled_quantity"], row["executed"]):
        yield Finding(
            Kind.FILLED_QUANTITY, key, f"{order['filled_quantity']}; truly {row['executed']}"
        )
    asked = story.bodies[key]
    kind, in_force = VENUE_KIND[
        asked["type"], asked.get("time_in_force", "gtc"), asked.get("post_only", False)
    ]
    wanted = {
        "account": asked["account"],
        "symbol": asked["symbol"].replace("/", ""),
        "side": asked["side"].upper(),
        "type": kind,
    }
    if in_force is not None:
        wanted["time_in_force"] = in_force
    wrong = [f"{n}: {value} -> {row[n]}" for n, value in wanted.items() if row[n] != value]
    # A market buy may name what it spends; the venue then shows the quantity that it came to.
    amount = "quote_quantity" if "quote_quantity" in asked else "quantity"
    if not _equal(asked[amount], row[amount]):
        wrong.append(f"{amount}: {asked[amount]} -> {row[amount]}")
    if asked.get("price") is not None and not _equal(asked["price"], row["price"]):
        wrong.append(f"price: {asked['price']} -> {row['price']}")
    if wrong:
        yield Finding(Kind.TERMS, key, "; ".join(wrong))


def _compare_fills(story: Story, key: str, trades: list[Json]) -> Iterator[Finding]:
    if key not in story.fills:
        return
    shown = {str(fill["trade_id"]): fill for fill in story.fills[key]}
    truly = {str(trade["trade_id"]): trade for trade in trades if not trade["busted"]}
    if shown.keys() != truly.keys():
        yield Finding(Kind.API_FILLS, key, f"{sorted(shown)}; truly {sorted(truly)}")
    for trade_id in shown.keys() & truly.keys():
        if wrong := _fill_differences(shown[trade_id], truly[trade_id]):
            yield Finding(Kind.API_FILLS, key, f"trade {trade_id}: {wrong}")


def _ledger(story: Story) -> Iterator[Finding]:
    """Ledger fills are the venue's trades, balances are equal, nothing is open, proof is zero."""
    for account, fills in story.ledger_fills.items():
        booked = {(f["symbol"].replace("/", ""), str(f["trade_id"]), f["side"]): f for f in fills}
        truly = {
            (trade["symbol"], str(trade["trade_id"]), trade["side"].lower()): trade
            for trade in story.venue_trades
            if trade["account"] == account and not trade["busted"]
        }
        if len(booked) != len(fills):
            yield Finding(Kind.LEDGER_DIFFERS, account, "one trade is booked more than once")
        for name in sorted(truly.keys() - booked.keys()):
            yield Finding(Kind.LEDGER_MISSING, f"{account} {name}", f"{truly[name]}")
        for name in sorted(booked.keys() - truly.keys()):
            yield Finding(Kind.LEDGER_FOREIGN, f"{account} {name}", f"{booked[name]}")
        for name in booked.keys() & truly.keys():
            if wrong := _fill_differences(booked[name], truly[name]):
                yield Finding(Kind.LEDGER_DIFFERS, f"{account} {name}", wrong)
    for account, rows in story.ledger_balances.items():
        yield from _compare_balances(account, rows, story.venue_balances.get(account, {}))
    for run in story.runs:
        if run["status"] != "ok":
            yield Finding(Kind.RECONCILIATION, str(run["id"]), f"{run['status']}: {run['runs']}")
    for row in story.breaks:
        yield Finding(Kind.BREAK, f"{row.get('account')} {row.get('type')}", f"{row}")
    for row in story.proof:
        if not _equal(row["proof"], "0"):
            yield Finding(Kind.PROOF, f"{row.get('account')} {row.get('asset')}", f"{row['proof']}")


def _compare_balances(account: str, rows: list[Json], truly: dict[str, Json]) -> Iterator[Finding]:
    booked = {row["asset"]: row["balance"] for row in rows}
    for asset in sorted(booked.keys() | truly.keys()):
        at_venue = truly.get(asset, {"free": "0", "locked": "0"})
        # Decimal's own context would round to 28 digits; 18 decimals and a fee need more.
        total = EXACT.add(_amount(at_venue["free"]), _amount(at_venue["locked"]))
        if _amount(booked.get(asset, "0")) != total:
            yield Finding(
                Kind.BALANCE, f"{account} {asset}", f"{booked.get(asset)}; at the venue {total}"
            )


def _fill_differences(fill: Json, trade: Json) -> str:
    """What differs between a fill of ours and the venue's trade; empty when nothing does."""
    wrong = [
        f"{name}: {fill[name]} -> {trade[name]}"
        for name in ("quantity", "price")
        if not _equal(fill[name], trade[name])
    ]
    ours = {fee["asset"]: _amount(fee["amount"]) for fee in fill["fees"] if _amount(fee["amount"])}
    theirs = {trade["commission_asset"]: _amount(trade["commission"])}
    theirs = {asset: amount for asset, amount in theirs.items() if amount}
    if ours != theirs:
        wrong.append(f"fees: {ours} -> {theirs}")
    return "; ".join(wrong)


def _decided_keys(story: Story) -> list[str]:
    heard = {attempt.key for attempt in story.attempts if attempt.decided}
    return [key for key in story.bodies if key in heard]


def _client_ids(story: Story, key: str) -> set[str]:
    """Every client order id that was ever named for this key."""
    order = story.orders.get(key)
    told = [a.told() for a in story.attempts if a.key == key and a.decided]
    named = {one.get("client_order_id") for one in [*told, *([order] if order else [])]}
    return {one for one in named if one}


def _accounts(story: Story) -> set[str]:
    return {body["account"] for body in story.bodies.values()}


def _amount(text: str) -> Decimal:
    assert isinstance(text, str), f"an amount is a string: {text!r}"
    return Decimal(text)


def _equal(left: str | None, right: str | None) -> bool:
    if left is None or right is None:
        return left is right
    return _amount(left) == _amount(right)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


# collecting


async def collect(doors: Doors, record: Record, *, exclusive: bool = True) -> Story:
    """Ask every door once. The venue is asked last: what the others say was true before."""
    story = Story(
        attempts=list(record.attempts),
        bodies={k: body for k, (path, body) in record.keys.items() if path == "/v1/orders"},
        exclusive=exclusive,
    )
    headers = {"Authorization": f"Bearer {doors.bearer}"}
    async with httpx.AsyncClient(timeout=ASK_LIMIT_S, headers=headers) as http:
        await asyncio.gather(*(_ask_order(http, doors, story, key) for key in _decided_keys(story)))
        if doors.ledger:
            await _ask_ledger(http, doors, story)
        await _ask_venue(http, doors, story)
    return story


async def _ask_order(http: httpx.AsyncClient, doors: Doors, story: Story, key: str) -> None:
    reply = await _ask_any(http, doors.order_apis, f"/v1/orders/by-key/{key}")
    if reply.status_code == 404:
        story.orders[key] = None
        return
    order = reply.raise_for_status().json()
    story.orders[key] = order
    fills = await _ask_any(http, doors.order_apis, f"/v1/orders/{order['order_id']}/fills")
    story.fills[key] = _rows(fills.raise_for_status().json(), "fills")


async def _ask_any(http: httpx.AsyncClient, bases: Sequence[str], path: str) -> httpx.Response:
    """The answer of the first base that gives one; the others may be dead."""
    for base in bases[:-1]:
        with contextlib.suppress(httpx.TransportError):
            return await http.get(base + path)
    return await http.get(bases[-1] + path)


async def _ask_ledger(http: httpx.AsyncClient, doors: Doors, story: Story) -> None:
    for account in doors.accounts:
        run = await http.post(f"{doors.ledger}/v1/reconciliations", json={"account": account})
        run.raise_for_status()
        story.runs.append(run.json())
        story.ledger_fills[account] = [
            row async for row in _pages(http, f"{doors.ledger}/v1/fills", account, "fills")
        ]
        balances = await http.get(f"{doors.ledger}/v1/accounts/{account}/balances")
        balances.raise_for_status()
        story.ledger_balances[account] = _rows(balances.json(), "balances")
        proof = await http.get(f"{doors.ledger}/v1/proof", params={"account": account})
        proof.raise_for_status()
        story.proof += _rows(proof.json(), "proof")
        story.breaks += [
            row
            async for row in _pages(
                http, f"{doors.ledger}/v1/breaks", account, "breaks", status="open"
            )
        ]


async def _ask_venue(http: httpx.AsyncClient, doors: Doors, story: Story) -> None:
    base, since = doors.paper_control, 0
    while True:
        reply = await http.get(
            f"{base}/control/requests", params={"path": "/api/v3/order", "since": since}
        )
        reply.raise_for_status()
        rows = reply.json()["requests"]
        story.venue_requests += rows
        if not rows:
            break
        since = reply.json()["next_since"]
    for account in doors.accounts:
        for name, rows in (("orders", story.venue_orders), ("trades", story.venue_trades)):
            reply = await http.get(f"{base}/control/{name}", params={"account": account})
            reply.raise_for_status()
            rows += reply.json()[name]
    reply = await http.get(f"{base}/control/balances")
    reply.raise_for_status()
    wanted = reply.json()["balances"]
    story.venue_balances = {name: wanted[name] for name in doors.accounts}


async def _pages(http: httpx.AsyncClient, url: str, account: str, name: str, **more: str) -> Any:
    cursor: str | None = None
    while True:
        params = {"account": account, "limit": str(PAGE), **more}
        if cursor:
            params["cursor"] = cursor
        reply = await http.get(url, params=params)
        reply.raise_for_status()
        told = reply.json()
        for row in _rows(told, name):
            yield row
        cursor = told.get("next_cursor") if isinstance(told, dict) else None
        if not cursor:
            return


def _rows(told: Any, name: str) -> list[Json]:
    """The rows of an answer: a bare list, or the member of that name."""
    rows = told if isinstance(told, list) else told[name]
    assert isinstance(rows, list), f"{name}: {told}"
    return rows


def report(findings: Iterable[Finding]) -> str:
    """One line per finding, for an assertion's message."""
    return "\n".join(map(str, findings)) or "clean"
