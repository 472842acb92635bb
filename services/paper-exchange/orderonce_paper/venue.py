"""The way of one request: faults, limits, key, signature, window, engine, journal, reply.

The window is checked on arrival and again just before the engine, with a delay between that tests
may set: a request that waited too long inside the venue is refused there, as the real one does.
Nothing is answered before its journal record is durable.
"""

import asyncio
import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from orderonce_paper import settlement, wire
from orderonce_paper.clock import Clock
from orderonce_paper.faults import ACCEPTING, REFUSING, Fault, Faults, Seen
from orderonce_paper.keys import Key
from orderonce_paper.limits import Limits
from orderonce_paper.model import Accepted, Book, Event
from orderonce_paper.server import Connection, Reply, Request
from orderonce_paper.store import Journal
from orderonce_paper.wire import VenueError

log = logging.getLogger("orderonce_paper")

KEY_LENGTH = range(16, 129)
HTML = b"<html><head><title>%d</title></head><body><h1>%d</h1></body></html>\n"
HTML_TYPE = "text/html; charset=UTF-8"


@dataclass(slots=True)
class Call:
    """One request on its way through the venue."""

    request: Request
    connection: Connection
    wall_ms: int
    params: dict[str, str] = field(default_factory=dict)
    key: Key | None = None
    route: "Route | None" = None
    window: wire.Window | None = None
    now_ms: int = 0
    used_weight: int = 0
    events: list[Event] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def signer(self) -> Key:
        assert self.key is not None, "a signed route has a key"
        return self.key

    def seen(self) -> Seen:
        account = self.key.account if self.key else None
        return Seen(self.request.method, self.request.path, account, self.params)

    def slow_ms(self, where: str) -> float:
        return float(
            sum(f.own["ms"] for f in self.faults if f.name == "slow" and f.own["where"] == where)
        )


Handler = Callable[["Venue", Call], Any]


@dataclass(frozen=True, slots=True)
class Route:
    handler: Handler
    weight: int = 1
    signed: bool = False
    trade: bool = False  # needs a key that may trade, and goes to the engine


@dataclass(slots=True)
class Venue:
    book: Book
    journal: Journal
    clock: Clock
    limits: Limits
    faults: Faults
    keys: dict[str, Key]
    routes: dict[tuple[str, str], Route]
    engine_delay_ms: float
    max_open_orders: int
    seed: int
    ids: random.Random

    def serve(self, request: Request, connection: Connection) -> None:
        call = Call(request, connection, self.clock.wall_ms())
        try:
            call.params = wire.parse_params(request.query, request.body)
        except VenueError as error:
            self._refuse(call, error)
            return
        call.key = self.keys.get(request.headers.get(b"x-mbx-apikey", b"").decode("latin-1"))
        if self.faults.armed:
            call.faults = self.faults.take(call.seen())
        _later(call.slow_ms("arrival"), lambda: self._arrive(call))

    def commit(self, call: Call, events: list[Event]) -> None:
        """Change the book; the events go into the request's journal record."""
        for event in events:
            settlement.apply(self.book, event)
        call.events.extend(events)

    def journal_control(self, events: list[Event], note: dict[str, Any]) -> None:
        """Change the book by the control door."""
        for event in events:
            settlement.apply(self.book, event)
        self.journal.append({"t": "control", **note, "events": events})

    def random_client_id(self) -> str:
        return "".join(self.ids.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=22))

    def _arrive(self, call: Call) -> None:
        try:
            now_ms = self.clock.now_ms()
            self._refused_by_fault(call)
            request = call.request
            call.route = self.routes.get((request.method, request.path))
            weight = call.route.weight if call.route else 1
            call.used_weight = self.limits.spend_weight(request.address, weight, now_ms)
            if call.route is None:
                raise VenueError(-1020, "This operation is not supported.", status=404)
            if call.route.signed:
                self._authenticate(call, now_ms)
        except VenueError as error:
            self._refuse(call, error)
            return
        delay = call.slow_ms("engine") + (self.engine_delay_ms if call.route.trade else 0)
        _later(delay, lambda: self._execute(call))

    def _refused_by_fault(self, call: Call) -> None:
        for fault in call.faults:
            own = fault.own
            match fault.name:
                case "rate_limit":
                    raise VenueError(
                        -1003, "Too many requests queued.", 429, retry_after_s=own["retry_after"]
                    )
                case "ban":
                    until = self.clock.now_ms() + own["retry_after"] * 1000
                    raise VenueError(
                        -1003,
                        f"Way too much request weight used; IP banned until {until}. Please use "
                        "WebSocket Streams for live updates to avoid bans.",
                        418,
                        retry_after_s=own["retry_after"],
                    )
                case "busy":
                    raise VenueError(
                        -1008,
                        "Server is currently overloaded with other requests. "
                        "Please try again in a few minutes.",
                        own["status"],
                    )
                case "refuse_5xx":
                    raise VenueError(own["code"], UNAVAILABLE, own["status"])
                case _:
                    pass

    def _authenticate(self, call: Call, now_ms: int) -> None:
        request, route = call.request, call.route
        given = request.headers.get(b"x-mbx-apikey", b"").decode("latin-1")
        if len(given) not in KEY_LENGTH or not given.isalnum():
            raise VenueError(-2014, "API-key format invalid.", status=401)
        if call.key is None:
            raise wire.rejected_key()
        signature = call.params.get("signature")
        call.window = wire.parse_window(call.params)
        if not signature:
            raise wire.missing("signature")
        wire.check_signature(request.query, request.body, signature, call.key.secret)
        assert route is not None
        if route.trade and not call.key.may_trade:
            raise wire.rejected_key()
        call.window.check(now_ms)

    def _execute(self, call: Call) -> None:
        call.now_ms = self.clock.now_ms()
        assert call.route is not None
        try:
            if call.window is not None:
                call.window.check(call.now_ms)
            payload = call.route.handler(self, call)
        except VenueError as error:
            self._refuse(call, error)
            return
        reply = Reply(200, orjson.dumps(payload), self._headers(call))
        self._finish(call, reply, code=0)

    def _headers(self, call: Call) -> list[tuple[str, str]]:
        headers = [("X-MBX-USED-WEIGHT-1M", str(call.used_weight))]
        if call.key is not None and call.route is not None and call.route.trade:
            now_ms, account = self.clock.now_ms(), call.key.account
            count = self.limits.orders_10s.read(account, now_ms)
            headers.append(("X-MBX-ORDER-COUNT-10S", str(count)))
            day = self.limits.orders_day.read(account, now_ms)
            headers.append(("X-MBX-ORDER-COUNT-1D", str(day)))
        return headers

    def _refuse(self, call: Call, error: VenueError) -> None:
        body: dict[str, Any] = {"code": error.code, "msg": error.msg}
        if error.data is not None:
            body["data"] = error.data
        headers = self._headers(call)
        if error.retry_after_s is not None:
            headers.append(("Retry-After", str(error.retry_after_s)))
        reply = Reply(error.status, orjson.dumps(body), headers)
        self._finish(call, reply, error.code)

    def _finish(self, call: Call, reply: Reply, code: int) -> None:
        record = self._record(call, reply, code)
        if call.faults:
            log.info("fault", extra={"fields": {"names": record["faults"], "seq": record["seq"]}})
        self.journal.append(record, lambda: self._deliver(call, reply))

    def _record(self, call: Call, reply: Reply, code: int) -> dict[str, Any]:
        params = {name: value for name, value in call.params.items() if name != "signature"}
        order_id = next((e.order_id for e in call.events if isinstance(e, Accepted)), None)
        return {
            "t": "request",
            "seq": self.journal.last_request + 1,
            "time": self.clock.now_ms(),
            "received_at": call.wall_ms,
            "method": call.request.method,
            "path": call.request.path,
            "params": params,
            "account": call.key.account if call.key else None,
            "status": reply.status,
            "code": code,
            "executed": bool(call.events),
            "order_id": order_id,
            "faults": [fault.name for fault in call.faults],
            "events": call.events,
        }

    def _deliver(self, call: Call, reply: Reply) -> None:
        _later(call.slow_ms("reply"), lambda: _send(call, reply))


UNAVAILABLE = "Service temporarily unavailable."


def _later(delay_ms: float, then: Callable[[], None]) -> None:
    if delay_ms <= 0:
        then()
    else:
        asyncio.get_running_loop().call_later(delay_ms / 1000, then)


def _send(call: Call, reply: Reply) -> None:
    """Answer, or fail to, as the first fault that speaks about the answer says."""
    connection = call.connection
    fault = next((f for f in call.faults if f.name in ACCEPTING | REFUSING), None)
    if fault is None:
        connection.reply(reply)
        return
    match fault.name:
        case "accept_then_timeout":
            connection.hang(fault.own["seconds"])
        case "accept_then_reset":
            connection.reset()
        case "half_body":
            connection.half(reply)
        case "empty_body":
            connection.reply(Reply(fault.own["status"], b"", reply.headers))
        case "html_200":
            connection.reply(Reply(200, HTML % (200, 200), reply.headers, HTML_TYPE))
        case "accept_then_5xx" | "refuse_5xx":
            connection.reply(_gateway_error(fault, reply))
        case _:
            connection.reply(reply)


def _gateway_error(fault: Fault, reply: Reply) -> Reply:
    status, kind = fault.own["status"], fault.own["body"]
    if kind == "html":
        return Reply(status, HTML % (status, status), reply.headers, HTML_TYPE)
    if kind == "empty":
        return Reply(status, b"", reply.headers)
    message = TEXT_OF_CODE.get(fault.own["code"], UNAVAILABLE)
    body = json.dumps({"code": fault.own["code"], "msg": message}).encode()
    return Reply(status, body, reply.headers)


TEXT_OF_CODE = {
    -1000: "An unknown error occurred while processing the request.",
    -1001: "Internal error; unable to process your request. Please try again.",
    -1006: "An unexpected response was received from the message bus. Execution status unknown.",
    -1007: "Timeout waiting for response from backend server. "
    "Send status unknown; execution status unknown.",
    -1008: "Server is currently overloaded with other requests. Please try again in a few minutes.",
}
