"""The control door, on its own port and no part of the imitation: the venue's truth, and trouble.

Reads wait for the journal, so they show nothing that a kill could undo. Bodies and answers are
JSON; what cannot be done is a 4xx with {"error": "..."} in plain words.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import orjson

from orderonce_paper import matching
from orderonce_paper.control_views import balances_row, order_row, request_row, trade_rows
from orderonce_paper.faults import BadFault
from orderonce_paper.matching import Refused
from orderonce_paper.model import Credited, Market, NewOrder, Order
from orderonce_paper.server import Connection, Reply, Request
from orderonce_paper.settlement import EXACT, balance_of
from orderonce_paper.venue import Venue
from orderonce_paper.wire import AMOUNT, INTEGER

log = logging.getLogger("orderonce_paper")

Json = dict[str, Any]

REQUEST_ROWS = 1000  # per page of /control/requests unless asked otherwise
MAX_REQUEST_ROWS = 100_000
MAX_ROWS = 1_000_000
SCRIPT_LIMIT = 10_000


class Wrong(Exception):
    """The control request cannot be carried out; the text says why."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class Asked:
    params: dict[str, str]
    body: Json

    def text(self, name: str) -> str:
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise Wrong(f"{name} must be given as a string")
        return value

    def amount(self, name: str, negative: bool = False) -> Decimal:
        text = self.text(name)
        if not AMOUNT.fullmatch(text.removeprefix("-") if negative else text):
            raise Wrong(f"{name} must be a plain decimal in a string")
        return Decimal(text)

    def number(self, name: str, default: int, most: int) -> int:
        given = self.params.get(name)
        if given is None:
            return default
        if not INTEGER.fullmatch(given):
            raise Wrong(f"{name} must be a whole number of at most 18 digits")
        return min(int(given), most)


Answer = Callable[["Control", Asked], Awaitable[Any]]


@dataclass(slots=True)
class Control:
    venue: Venue
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def serve(self, request: Request, connection: Connection) -> None:
        self._keep(asyncio.get_running_loop().create_task(self._answer(request, connection)))

    def later(self, delay_ms: float, then: Callable[[], object]) -> None:
        async def wait() -> None:
            await asyncio.sleep(delay_ms / 1000)
            then()

        self._keep(asyncio.get_running_loop().create_task(wait()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answer(self, request: Request, connection: Connection) -> None:
        try:
            status, payload = 200, await self._run(request)
        except Wrong as wrong:
            status, payload = wrong.status, {"error": str(wrong)}
        except BadFault as bad:
            status, payload = 400, {"error": str(bad)}
        except Refused as refused:
            status, payload = 409, {"error": str(refused)}
        connection.reply(Reply(status, orjson.dumps(payload, default=str)))

    async def _run(self, request: Request) -> Any:
        answer = ROUTES.get((request.method, request.path))
        if answer is None:
            known = sorted(f"{method} {path}" for method, path in ROUTES)
            raise Wrong(f"there is no {request.method} {request.path}; there are {known}", 404)
        body: Any = {}
        if request.body:
            try:
                body = orjson.loads(request.body)
            except orjson.JSONDecodeError as error:
                raise Wrong(f"the body is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise Wrong("the body must be a JSON object")
        params = dict(parse_qsl(request.query.decode("latin-1")))
        payload = await answer(self, Asked(params, body))
        await self.venue.journal.barrier()
        return payload


async def health(control: Control, asked: Asked) -> Json:
    venue = control.venue
    return {
        "status": "ok",
        "time": venue.clock.now_ms(),
        "wall_time": venue.clock.wall_ms(),
        "seed": venue.seed,
        "last_request": venue.journal.last_request,
        "websockets": len(venue.feed.sockets),
        "subscriptions": sum(len(found) for found in venue.feed.topics.values()),
        "faults": sum(1 for fault in venue.faults.armed if not fault.spent),
    }


async def requests(control: Control, asked: Asked) -> Json:
    limit = asked.number("limit", REQUEST_ROWS, MAX_REQUEST_ROWS)
    since = asked.number("since", 0, 2**62)
    wanted = {
        name: asked.params[name] for name in ("path", "account", "method") if name in asked.params
    }
    rows: list[Json] = []
    async for record in control.venue.journal.requests(since):
        since = record["seq"]
        if all(record[name] == value for name, value in wanted.items()):
            rows.append(request_row(record))
            if len(rows) >= limit:
                break
    return {"requests": rows, "next_since": since}


async def orders(control: Control, asked: Asked) -> Json:
    account, symbol = asked.params.get("account"), asked.params.get("symbol")
    client_id = asked.params.get("client_order_id")
    limit = asked.number("limit", MAX_ROWS, MAX_ROWS)
    found: list[Order] = [
        order
        for market in _markets(control, symbol)
        for order in market.orders
        if account in (None, order.made.account) and client_id in (None, order.made.client_id)
    ]
    found.sort(key=lambda order: order.sequence)
    return {"orders": [order_row(order) for order in found[:limit]]}


async def trades(control: Control, asked: Asked) -> Json:
    account, limit = asked.params.get("account"), asked.number("limit", MAX_ROWS, MAX_ROWS)
    rows = [
        row
        for market in _markets(control, asked.params.get("symbol"))
        for trade in market.trades
        for row in trade_rows(market, trade)
        if account in (None, row["account"])
    ]
    return {"trades": rows[:limit]}


async def balances(control: Control, asked: Asked) -> Json:
    book, wanted = control.venue.book, asked.params.get("account")
    return {
        "balances": {
            name: balances_row(account)
            for name, account in book.accounts.items()
            if wanted in (None, name)
        },
        "outside": {asset: format(amount, "f") for asset, amount in book.outside.items()},
        "fees": {asset: format(amount, "f") for asset, amount in book.fees.items()},
    }


async def accounts(control: Control, asked: Asked) -> Json:
    uids = {key.account: key.uid for key in control.venue.keys.values()}
    return {
        "accounts": [
            {
                "account": name,
                "uid": uids.get(name),
                "orders": sum(len(rows) for rows in account.orders.values()),
                "open_orders": sum(len(rows) for rows in account.open.values()),
                "trades": sum(len(rows) for rows in account.trades.values()),
            }
            for name, account in control.venue.book.accounts.items()
        ]
    }


async def price(control: Control, asked: Asked) -> Json:
    return _quote(control, _market(control, asked), asked.amount("bid"), asked.amount("ask"))


async def market(control: Control, asked: Asked) -> Json:
    """A script of quotes, each `after_ms` from now or `at` a time of the venue."""
    script = asked.body.get("script")
    if not isinstance(script, list) or not 0 < len(script) <= SCRIPT_LIMIT:
        raise Wrong(f"script must be a list of 1 to {SCRIPT_LIMIT} steps")
    now_ms, steps = control.venue.clock.now_ms(), []
    for step in script:
        if not isinstance(step, dict):
            raise Wrong("each step is an object")
        read = Asked({}, step)
        after = step.get("after_ms", step["at"] - now_ms if _is_number(step.get("at")) else 0)
        if not _is_number(after):
            raise Wrong("after_ms and at are numbers")
        quoted = _market(control, read)
        bid, ask = read.amount("bid"), read.amount("ask")
        _check_quote(quoted, bid, ask)
        steps.append((max(0.0, float(after)), quoted, bid, ask))
    for delay_ms, quoted, bid, ask in steps:
        control.later(delay_ms, partial(_quote, control, quoted, bid, ask))
    return {"steps": len(steps)}


async def arm_fault(control: Control, asked: Asked) -> Json:
    venue = control.venue
    fault = venue.faults.arm(asked.body)
    _set_clock(control)
    if fault.name == "ws_drop" and fault.own["when"] == "now":
        fault.fired = fault.matched = fault.times = 1
        venue.feed.cut(fault.match.get("account"), fault.own["seconds"])
    log.info("fault armed", extra={"fields": {"name": fault.name, "id": fault.id}})
    return {"fault": fault.shown()}


async def list_faults(control: Control, asked: Asked) -> Json:
    return {"faults": [fault.shown() for fault in control.venue.faults.armed]}


async def clear_faults(control: Control, asked: Asked) -> Json:
    fault_id = asked.number("id", 0, 2**62) if "id" in asked.params else None
    cleared = control.venue.faults.clear(asked.params.get("name"), fault_id)
    control.venue.feed.release_cleared()
    _set_clock(control)
    return {"cleared": cleared}


async def trade(control: Control, asked: Asked) -> Json:
    """By hand at the venue: {account, symbol, side, quantity, price}, {bust, symbol}, or dust."""
    venue, now_ms = control.venue, control.venue.clock.now_ms()
    if "bust" in asked.body:
        trade_id = asked.body["bust"]
        if not isinstance(trade_id, int):
            raise Wrong("bust must be a trade id")
        name = _market(control, asked).symbol.name
        venue.journal_control(matching.bust(venue.book, name, trade_id, now_ms), {"route": "trade"})
        return {"busted": trade_id, "symbol": name}
    account = asked.text("account")
    if account not in venue.book.accounts:
        raise Wrong(f"there is no account {account}", 404)
    if "asset" in asked.body:
        asset, amount = asked.text("asset"), asked.amount("amount", negative=True)
        free = balance_of(venue.book.accounts[account], asset).free
        with localcontext(EXACT):
            if free + amount < 0:
                raise Wrong(f"{account} has {free} {asset} free", 409)
        venue.journal_control([Credited(account, asset, amount, now_ms)], {"route": "trade"})
        return {"account": account, "asset": asset, "amount": format(amount, "f")}
    found = _market(control, asked)
    side = asked.text("side").upper()
    if side not in ("BUY", "SELL"):
        raise Wrong("side is BUY or SELL")
    new = NewOrder(
        account,
        found.symbol.name,
        "web_" + venue.random_client_id(),
        side,
        "LIMIT",
        "GTC",
        asked.amount("price"),
        asked.amount("quantity"),
    )
    if not new.price or not new.quantity:
        raise Wrong("price and quantity are above zero")
    venue.journal_control(matching.trade_by_hand(venue.book, new, now_ms), {"route": "trade"})
    made = found.orders[-1]
    return {"order": order_row(made), "trade": trade_rows(found, made.trades[-1])[0]}


def _quote(control: Control, quoted: Market, bid: Decimal, ask: Decimal) -> Json:
    _check_quote(quoted, bid, ask)
    venue = control.venue
    events = matching.quote(venue.book, quoted.symbol.name, bid, ask, venue.clock.now_ms())
    venue.journal_control(events, {"route": "price"})
    return {
        "symbol": quoted.symbol.name,
        "bid": format(bid, "f"),
        "ask": format(ask, "f"),
        "trades": len(events) - 1,
    }


def _check_quote(quoted: Market, bid: Decimal, ask: Decimal) -> None:
    tick = quoted.symbol.tick
    with localcontext(EXACT):
        if bid < tick or bid >= ask or ask > quoted.symbol.max_price or bid % tick or ask % tick:
            raise Wrong(f"bid and ask are multiples of {tick:f} with 0 < bid < ask")


def _market(control: Control, asked: Asked) -> Market:
    name = asked.text("symbol")
    found = control.venue.book.markets.get(name)
    if found is None:
        raise Wrong(f"there is no symbol {name}; there are {list(control.venue.book.markets)}", 404)
    return found


def _markets(control: Control, name: str | None) -> list[Market]:
    markets = control.venue.book.markets
    if name is None:
        return list(markets.values())
    return [markets[name]] if name in markets else []


def _set_clock(control: Control) -> None:
    control.venue.clock.set(*control.venue.faults.skew())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


ROUTES: dict[tuple[str, str], Answer] = {
    ("GET", "/control/health"): health,
    ("GET", "/control/requests"): requests,
    ("GET", "/control/orders"): orders,
    ("GET", "/control/trades"): trades,
    ("GET", "/control/balances"): balances,
    ("GET", "/control/accounts"): accounts,
    ("POST", "/control/price"): price,
    ("POST", "/control/market"): market,
    ("POST", "/control/faults"): arm_fault,
    ("GET", "/control/faults"): list_faults,
    ("DELETE", "/control/faults"): clear_faults,
    ("POST", "/control/trade"): trade,
}
