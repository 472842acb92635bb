"""The way of one request: faults, limits, key, signature, window, engine, journal, reply.

The window is checked on arrival and again just before the engine, with a delay between that tests
may set: a request that waited too long inside the venue is refused there, as the real one does.
Nothing is answered, and no stream told, before the journal record is durable. REST and the
WebSocket API are two doors to this one way; they differ in how a request is read and answered.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from orderonce_paper import answers, reports, settlement, wire
from orderonce_paper.clock import Clock
from orderonce_paper.faults import Fault, Faults, Seen
from orderonce_paper.feed import Feed, Pushed
from orderonce_paper.keys import Key
from orderonce_paper.lag import BalanceLag
from orderonce_paper.limits import Limits
from orderonce_paper.model import Accepted, Book, Event, NewOrder
from orderonce_paper.server import Connection, Door, Reply, Request
from orderonce_paper.store import Journal
from orderonce_paper.wire import VenueError

log = logging.getLogger("orderonce_paper")

UNLOGGED = frozenset({"signature", "listenKey"})
KEY_LENGTH = range(16, 129)


@dataclass(slots=True)
class Call:
    """One request on its way through the venue.

    `request` carries method and path of REST for both doors; `ws` is the WebSocket API's own name
    of the method, and empty at the other door.
    """

    request: Request
    door: Door
    wall_ms: int
    params: dict[str, str] = field(default_factory=dict)
    given_key: str = ""
    key: Key | None = None
    route: "Route | None" = None
    ws: str = ""
    text: bytes | None = None  # what must have been signed, where that is not the request itself
    by_session: bool = False  # the connection is logged on, and this request goes without signature
    window: wire.Window | None = None
    now_ms: int = 0
    used_weight: int = 0
    events: list[Event] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    pushed: Pushed | None = None

    @property
    def signer(self) -> Key:
        assert self.key is not None, "a signed route has a key"
        return self.key

    def seen(self) -> Seen:
        account = self.key.account if self.key else None
        door = "ws" if self.ws else "rest"
        return Seen(self.request.method, self.request.path, account, self.params, door)

    def slow_ms(self, where: str) -> float:
        slow = (f.own["ms"] for f in self.faults if f.name == "slow" and f.own["where"] == where)
        early = (f.own["ms"] for f in self.faults if f.name == "fills_before_ack")
        return float(sum(slow) + (sum(early) if where == "reply" else 0))

    def late(self) -> Fault | None:
        return next((fault for fault in self.faults if fault.name == "accept_late"), None)


Handler = Callable[["Venue", Call], Any]


@dataclass(frozen=True, slots=True)
class Route:
    handler: Handler
    weight: int = 1
    signed: bool = False
    keyed: bool = False  # needs a key and no signature
    trade: bool = False  # needs a key that may trade, and goes to the engine


@dataclass(slots=True)
class Venue:
    book: Book
    journal: Journal
    clock: Clock
    limits: Limits
    faults: Faults
    feed: Feed
    lag: BalanceLag
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
            self.refuse(call, error)
            return
        call.given_key = request.headers.get(b"x-mbx-apikey", b"").decode("latin-1")
        call.route = self.routes.get((request.method, request.path))
        self.enter(call)

    def enter(self, call: Call) -> None:
        """A request that one of the doors has read."""
        call.key = self.keys.get(call.given_key)
        if self.faults.armed:
            call.faults = self.faults.take(call.seen())
        _later(call.slow_ms("arrival"), lambda: self._arrive(call))

    def commit(self, call: Call, events: list[Event]) -> None:
        """Change the book; the events go into the request's journal record."""
        call.pushed = self._change(events, call.pushed)
        call.events.extend(events)

    def journal_control(self, events: list[Event], note: dict[str, Any]) -> None:
        """Change the book by the control door."""
        pushed = self._change(events, None)
        told = None if pushed is None else partial(self.feed.publish, pushed)
        self.journal.append({"t": "control", **note, "events": events}, told)

    def tell_rejected(self, call: Call, new: NewOrder, text: str) -> None:
        """An order that the engine refused where the streams must hear of it: cancel-replace."""
        if self.feed.topics:
            call.pushed = call.pushed or Pushed()
            notice = reports.rejected(self.book, new, text, call.now_ms)
            call.pushed.notices.append(notice)

    def usage(self, call: Call) -> list[dict[str, object]]:
        """How much of its limits the client has used: rateLimits of the WebSocket API."""
        now_ms, trades = self.clock.now_ms(), call.route is not None and call.route.trade
        account = call.key.account if call.key is not None and trades else None
        return self.limits.used(call.used_weight, account, now_ms)

    def random_client_id(self) -> str:
        return "".join(self.ids.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=22))

    def _arrive(self, call: Call) -> None:
        try:
            now_ms = self.clock.now_ms()
            self._refused_by_fault(call)
            weight = call.route.weight if call.route else 1
            call.used_weight = self.limits.spend_weight(call.request.address, weight, now_ms)
            if call.route is None:
                raise VenueError(-1020, "This operation is not supported.", status=404)
            if call.route.signed or call.route.keyed:
                self._authenticate(call, now_ms)
        except VenueError as error:
            self.refuse(call, error)
            return
        delay = call.slow_ms("engine") + (self.engine_delay_ms if call.route.trade else 0)
        if call.faults and (late := call.late()) is not None:
            delay += self._leave_waiting(call, late)
        _later(delay, lambda: self._execute(call))

    def _leave_waiting(self, call: Call, late: Fault) -> float:
        """accept_late: the client hears nothing, the engine gets the request this much later.

        The window is checked again then, as the venue does: an order whose window has closed is
        refused. `window: ignored` is a venue without that fence.
        """
        close_s = late.own["close_after"]
        _later(close_s * 1000, call.door.reset)
        if late.own["window"] == "ignored":
            call.window = None
        return float((close_s + late.own["seconds"]) * 1000)

    def _change(self, events: list[Event], pushed: Pushed | None) -> Pushed | None:
        """The next book, and what the streams will say of it once it is durable."""
        if not (self.feed.topics or self.faults.armed):
            for event in events:
                settlement.apply(self.book, event)
            return pushed
        pushed, now_ms = pushed or Pushed(), self.clock.now_ms()
        for event in events:
            if self.faults.delays_balances:
                self.lag.remember(self.book, event, now_ms)
            settlement.apply(self.book, event)
            self.feed.note(pushed, self.book, event, now_ms)
        return pushed

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
                    raise VenueError(own["code"], answers.UNAVAILABLE, own["status"])
                case _:
                    pass

    def _authenticate(self, call: Call, now_ms: int) -> None:
        request, route, given = call.request, call.route, call.given_key
        assert route is not None
        if len(given) not in KEY_LENGTH or not given.isalnum():
            raise VenueError(-2014, "API-key format invalid.", status=401)
        if call.key is None:
            raise wire.rejected_key()
        if route.keyed:
            return
        signature = call.params.get("signature")
        call.window = wire.parse_window(call.params)
        if not call.by_session:
            if not signature:
                raise wire.missing("signature")
            text = call.text
            if text is None:
                text = wire.signed_text(request.query, request.body)
            if not call.key.signed(text, signature):
                raise wire.wrong_signature()
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
            self.refuse(call, error)
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

    def refuse(self, call: Call, error: VenueError) -> None:
        body: dict[str, Any] = {"code": error.code, "msg": error.msg}
        if error.data is not None:
            body["data"] = error.data
        elif error.retry_after_s is not None and call.ws:
            now_ms = self.clock.now_ms()
            again = now_ms + error.retry_after_s * 1000
            body["data"] = {"serverTime": now_ms, "retryAfter": again}
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
        params = {name: value for name, value in call.params.items() if name not in UNLOGGED}
        order_id = next((e.order_id for e in call.events if isinstance(e, Accepted)), None)
        record = {
            "t": "request",
            "seq": self.journal.last_request + 1,
            "time": self.clock.now_ms(),
            "received_at": call.wall_ms,
            "method": call.request.method,
            "path": call.request.path,
            "params": params,
            "sent_in": _sent_in(call),
            "account": call.key.account if call.key else None,
            "status": reply.status,
            "code": code,
            "executed": bool(call.events),
            "order_id": order_id,
            "faults": [fault.name for fault in call.faults],
            "events": call.events,
        }
        if call.ws:
            record["ws"] = call.ws
        return record

    def _deliver(self, call: Call, reply: Reply) -> None:
        _later(call.slow_ms("reply"), lambda: answers.send(call.door, call.faults, reply))
        if call.pushed is not None:
            self.feed.publish(call.pushed)


def _sent_in(call: Call) -> str:
    """Where the parameters stood: clients differ in this, and a venue must take them all."""
    if call.ws:
        return "frame"
    request = call.request
    return "+".join(
        where for where, text in (("query", request.query), ("body", request.body)) if text
    )


def _later(delay_ms: float, then: Callable[[], None]) -> None:
    if delay_ms <= 0:
        then()
    else:
        asyncio.get_running_loop().call_later(delay_ms / 1000, then)
