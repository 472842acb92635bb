"""What only the WebSocket API has: logging a connection on, and listening to the account.

A session ends with its connection; nothing of it is durable, as at the venue. Words and codes of
refusals that the venue's documents do not state are marked in docs/paper-exchange.md.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from orderonce_paper import wire
from orderonce_paper.feed import Subscription, user_topic
from orderonce_paper.keys import Key
from orderonce_paper.rest import ROUTES
from orderonce_paper.venue import Call, Route, Venue
from orderonce_paper.wire import VenueError
from orderonce_paper.ws_api import SAME_AS_REST, Answer, Session

Json = dict[str, Any]

SUBSCRIPTION_LIMIT = 1000  # per connection, as many as the venue grants in its life


def logon(venue: Venue, call: Call) -> Json:
    session = _session(call)
    if call.signer.public is None:
        raise VenueError(-4056, "HMAC_SHA256 API key is not supported.")
    session.key, session.authorized_at = call.signer, call.now_ms
    return _status(session, call)


def status(venue: Venue, call: Call) -> Json:
    return _status(_session(call), call)


def logout(venue: Venue, call: Call) -> Json:
    """Forget the key; what was subscribed by the session ends, what was signed for stays."""
    session = _session(call)
    if session.key is not None:
        for number in [n for n, by_session in session.by_session.items() if by_session]:
            _end(venue, session, number, call.now_ms)
    session.key = session.authorized_at = None
    return _status(session, call)


def subscriptions(venue: Venue, call: Call) -> list[Json]:
    return [{"subscriptionId": number} for number in _session(call).subscriptions]


def subscribe(venue: Venue, call: Call) -> Json:
    session = _session(call)
    if session.key is None:
        raise wire.rejected_key()
    return _subscribe(venue, call, session.key, True)


def subscribe_signature(venue: Venue, call: Call) -> Json:
    return _subscribe(venue, call, call.signer, False)


def unsubscribe(venue: Venue, call: Call) -> Json:
    """One subscription, or all of the connection."""
    session, number = _session(call), wire.integer(call.params, "subscriptionId")
    if number is not None and number not in session.subscriptions:
        raise VenueError(-1130, "Data sent for parameter 'subscriptionId' is not valid.")
    for each in [number] if number is not None else list(session.subscriptions):
        _end(venue, session, each, call.now_ms)
    return {}


def _subscribe(venue: Venue, call: Call, key: Key, by_session: bool) -> Json:
    """Listens from here on; what happens before the answer has left waits behind it."""
    session, early = _session(call), Early()
    if len(session.subscriptions) >= SUBSCRIPTION_LIMIT:
        raise VenueError(-1003, "Too many subscriptions on this connection.", status=429)
    number = session.next_subscription
    session.next_subscription += 1
    socket, prefix = session.socket, b'{"subscriptionId":%d,"event":' % number

    def deliver(body: bytes) -> None:
        if early.waits:
            early.bodies.append(body)
        else:
            socket.send(prefix + body + b"}")

    def answered() -> None:
        early.waits = False
        for body in early.bodies:
            deliver(body)
        early.bodies.clear()

    _answer(call).then = answered
    if socket.is_open:  # a request may outlive its connection; nobody would end the subscription
        subscription = Subscription(user_topic(key.account), deliver, socket.reset)
        session.subscriptions[number] = subscription
        session.by_session[number] = by_session
        venue.feed.subscribe(subscription)
    return {"subscriptionId": number}


def _end(venue: Venue, session: Session, number: int, now_ms: int) -> None:
    subscription = session.subscriptions.pop(number)
    session.by_session.pop(number)
    venue.feed.unsubscribe(subscription)
    subscription.deliver(orjson.dumps({"e": "eventStreamTerminated", "E": now_ms}))


@dataclass(slots=True)
class Early:
    waits: bool = True
    bodies: list[bytes] = field(default_factory=list)


def _session(call: Call) -> Session:
    return _answer(call).session


def _answer(call: Call) -> Answer:
    assert isinstance(call.door, Answer), "these methods are reached by a WebSocket only"
    return call.door


def _status(session: Session, call: Call) -> Json:
    return {
        "apiKey": session.key.api_key if session.key else None,
        "authorizedSince": session.authorized_at,
        "connectedSince": session.connected_at,
        "returnRateLimits": session.shows_limits,
        "serverTime": call.now_ms,
        "userDataStream": bool(session.subscriptions),
    }


METHODS: dict[str, Route] = {
    "session.logon": Route(logon, weight=2, signed=True),
    "session.status": Route(status, weight=2),
    "session.logout": Route(logout, weight=2),
    "session.subscriptions": Route(subscriptions, weight=2),
    "userDataStream.subscribe": Route(subscribe, weight=2),
    "userDataStream.subscribe.signature": Route(subscribe_signature, weight=2, signed=True),
    "userDataStream.unsubscribe": Route(unsubscribe, weight=2),
}

WS_ROUTES: dict[str, tuple[str, str, Route]] = {
    name: (method, path, ROUTES[method, path]) for name, (method, path) in SAME_AS_REST.items()
} | {name: ("WS", name, route) for name, route in METHODS.items()}
