"""The WebSocket API, /ws-api/v3: JSON frames in, the same verbs as REST, JSON frames out.

A frame names a method; the table at the end says which REST route that is, so limits, weights,
faults, the request log and the verbs themselves are shared. What is only here, sessions and
subscriptions, stands in ws_session.py. Answers may overtake one another, as at the venue: `id`
tells them apart. Numbers are kept as they were written, since the signature covers their text.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from orderonce_paper import wire
from orderonce_paper.feed import Subscription
from orderonce_paper.keys import Key
from orderonce_paper.server import JSON_TYPE, Reply, Request
from orderonce_paper.sockets import Ears, Socket
from orderonce_paper.venue import Call, Route, Venue
from orderonce_paper.wire import VenueError

PATH = "/ws-api/v3"
CONNECT_WEIGHT = 2
IN_FLIGHT_LIMIT = 256  # requests of one connection without an answer; then it is not read from
HIDE, SHOW = "false", "true"

Json = dict[str, Any]


class Literal(str):
    """A JSON number as it was written."""

    __slots__ = ()


def _constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def parse_json(text: str) -> Any:
    """Numbers stay as written; what is not JSON, or not text, raises ValueError."""
    try:
        asked = json.loads(text, parse_int=Literal, parse_float=Literal, parse_constant=_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if "\\u" in text:  # half of a surrogate pair is JSON and no text: nobody could write it down
        json.dumps(asked, ensure_ascii=False).encode()
    return asked


def parse_frame(text: str) -> tuple[Any, str, Json]:
    """id, method and params of a request; anything that is not one raises VenueError."""
    try:
        asked = parse_json(text)
    except ValueError:
        raise VenueError(-1135, "Invalid JSON Request") from None
    if not isinstance(asked, dict):
        raise VenueError(-1135, "Invalid JSON Request")
    given_id = asked.get("id")
    if not (given_id is None or isinstance(given_id, str)):
        raise VenueError(-1135, "Invalid JSON Request: id is a number, a string or null")
    method, params = asked.get("method"), asked.get("params")
    if not isinstance(method, str) or isinstance(method, Literal):
        raise Unreadable(given_id, wire.missing("method"))
    if params is None:
        params = {}
    if not isinstance(params, dict):
        raise Unreadable(given_id, VenueError(-1135, "Invalid JSON Request: params is an object"))
    return given_id, method.removeprefix("v3/"), params


class Unreadable(VenueError):
    """A frame whose id could be read, and nothing behind it."""

    def __init__(self, given_id: Any, error: VenueError) -> None:
        super().__init__(error.code, error.msg, error.status)
        self.id = given_id


def as_text(params: Json) -> dict[str, str]:
    """As REST would carry them: numbers as written, booleans in words, arrays as JSON."""
    found = {}
    for name, value in params.items():
        match value:
            case str():
                found[name] = str(value)
            case bool():
                found[name] = "true" if value else "false"
            case list():
                found[name] = json.dumps(value, separators=(",", ":"))
            case None:
                continue
            case _:
                raise wire.missing(name)
    if len(found) > wire.PARAMETER_LIMIT:
        raise VenueError(-1101, "Too many parameters sent for this endpoint.")
    return found


def text_to_sign(params: dict[str, str]) -> bytes:
    """All parameters but the signature, sorted by name, not percent-encoded."""
    pairs = (f"{name}={params[name]}" for name in sorted(params) if name != "signature")
    return "&".join(pairs).encode("utf-8", "replace")


@dataclass(slots=True)
class Session:
    """One connection: who is logged on, what it listens to, how much is unanswered."""

    venue: Venue
    socket: Socket
    routes: dict[str, tuple[str, str, Route]]
    shows_limits: bool
    connected_at: int
    key: Key | None = None
    authorized_at: int | None = None
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    by_session: dict[int, bool] = field(default_factory=dict)  # subscribed by the logon, or signed
    next_subscription: int = 0
    in_flight: int = 0

    def on_text(self, text: str) -> None:
        answer = Answer(self, None, self.shows_limits)
        request = Request(method="WS", address=self.socket.address)
        call = Call(request, answer, self.venue.clock.wall_ms())
        answer.call = call
        self.started()
        try:
            answer.id, call.ws, params = parse_frame(text)
            call.request.path = call.ws
            call.params = as_text(params)
        except VenueError as error:
            answer.id = error.id if isinstance(error, Unreadable) else answer.id
            call.ws = call.request.path = call.ws or "unreadable"
            self.venue.refuse(call, error)
            return
        shows = call.params.get("returnRateLimits")
        if shows in (SHOW, HIDE):
            answer.shows_limits = shows == SHOW
        if call.ws in self.routes:
            call.request.method, call.request.path, call.route = self.routes[call.ws]
        self._identify(call)
        self.venue.enter(call)

    def _identify(self, call: Call) -> None:
        """The request's own key and signature; without them the session's key."""
        given = call.params.get("apiKey")
        if given is None and self.key is not None:
            call.given_key, call.by_session = self.key.api_key, True
        else:
            call.given_key = given or ""
            call.text = text_to_sign(call.params)
        call.params.pop("apiKey", None)
        call.params.pop("returnRateLimits", None)

    def started(self) -> None:
        self.in_flight += 1
        if self.in_flight >= IN_FLIGHT_LIMIT:
            self.socket.pause()

    def ended(self) -> None:
        self.in_flight -= 1
        if self.in_flight < IN_FLIGHT_LIMIT:
            self.socket.resume()

    def on_gone(self) -> None:
        for subscription in self.subscriptions.values():
            self.venue.feed.unsubscribe(subscription)
        self.subscriptions.clear()
        self.venue.feed.sockets.discard(self.socket)


@dataclass(slots=True)
class Answer:
    """The door of one request: wraps what REST would answer into a frame with the request's id."""

    session: Session
    id: Any
    shows_limits: bool
    speaks_http: bool = False
    call: Call | None = None
    then: Callable[[], None] | None = None  # what waits for the answer: a new subscription

    def reply(self, reply: Reply) -> None:
        self.session.socket.send(self._frame(reply))
        self._ended()

    def half(self, reply: Reply) -> None:
        self.session.socket.half(self._frame(reply))
        self._ended()

    def hang(self, seconds: float) -> None:
        self._ended()  # never answered; the connection itself lives on

    def reset(self) -> None:
        self.session.socket.reset()
        self._ended()

    def _ended(self) -> None:
        self.session.ended()
        self.call = None  # the two hold each other; a collector should not have to find that out
        if self.then is not None:
            self.then()

    def _frame(self, reply: Reply) -> bytes:
        if reply.content_type != JSON_TYPE or not reply.body:
            return reply.body
        frame: Json = {"id": None, "status": reply.status}
        frame["id"] = orjson.Fragment(str(self.id)) if isinstance(self.id, Literal) else self.id
        body = orjson.Fragment(reply.body)
        frame["result" if reply.status == 200 else "error"] = body
        if self.shows_limits and self.call is not None:
            frame["rateLimits"] = self.session.venue.usage(self.call)
        return orjson.dumps(frame)


def open_session(
    venue: Venue,
    socket: Socket,
    params: dict[str, str],
    routes: dict[str, tuple[str, str, Route]],
) -> None:
    """Give a fresh connection its session."""
    shows = params.get("returnRateLimits") != HIDE
    session = Session(venue, socket, routes, shows, venue.clock.now_ms())
    venue.feed.sockets.add(socket)
    venue.limits.weight.add(socket.address, CONNECT_WEIGHT, venue.clock.now_ms())
    socket.listen(Ears(session.on_text, session.on_gone))


# The WebSocket API's names of the REST routes.
SAME_AS_REST: dict[str, tuple[str, str]] = {
    "ping": ("GET", "/api/v3/ping"),
    "time": ("GET", "/api/v3/time"),
    "exchangeInfo": ("GET", "/api/v3/exchangeInfo"),
    "depth": ("GET", "/api/v3/depth"),
    "trades.recent": ("GET", "/api/v3/trades"),
    "klines": ("GET", "/api/v3/klines"),
    "avgPrice": ("GET", "/api/v3/avgPrice"),
    "ticker.24hr": ("GET", "/api/v3/ticker/24hr"),
    "ticker.price": ("GET", "/api/v3/ticker/price"),
    "ticker.book": ("GET", "/api/v3/ticker/bookTicker"),
    "order.place": ("POST", "/api/v3/order"),
    "order.test": ("POST", "/api/v3/order/test"),
    "order.status": ("GET", "/api/v3/order"),
    "order.cancel": ("DELETE", "/api/v3/order"),
    "order.cancelReplace": ("POST", "/api/v3/order/cancelReplace"),
    "openOrders.status": ("GET", "/api/v3/openOrders"),
    "openOrders.cancelAll": ("DELETE", "/api/v3/openOrders"),
    "allOrders": ("GET", "/api/v3/allOrders"),
    "myTrades": ("GET", "/api/v3/myTrades"),
    "account.status": ("GET", "/api/v3/account"),
    "account.commission": ("GET", "/api/v3/account/commission"),
    "account.rateLimits.orders": ("GET", "/api/v3/rateLimit/order"),
}
