"""Market streams: /ws/NAME, /ws with SUBSCRIBE, /stream?streams=A/B; and the listen keys of old.

Names that the venue does not know are taken and stay silent, as at the venue. What a name shows is
in stream_shapes.py. States (tickers, candles, the best prices) are repeated every second, since
nothing moves here unless told; trades and new best prices come as they happen.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from orderonce_paper import stream_shapes
from orderonce_paper.feed import Subscription, market_topic, user_topic
from orderonce_paper.sockets import Ears, Socket
from orderonce_paper.venue import Venue
from orderonce_paper.ws_api import Literal, parse_json

EVERY_S = 1.0
STREAM_LIMIT = 1024  # names per connection, as at the venue
NAME_LIMIT = 128
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")

Json = dict[str, Any]


class BadFrame(Exception):
    """What was sent is no request of this door; the text says why."""


@dataclass(slots=True)
class Listener:
    """One connection and the names that it listens to."""

    venue: Venue
    socket: Socket
    combined: bool
    account_of: Callable[[str], str | None]  # a listen key's account
    streams: dict[str, Subscription] = field(default_factory=dict)

    def on_text(self, text: str) -> None:
        given_id: Any = None
        try:
            asked = parse_json(text)
            if not isinstance(asked, dict):
                raise BadFrame("Invalid request: expected an object")
            given_id = asked.get("id")
            if not (given_id is None or isinstance(given_id, str)):
                given_id = None
                raise BadFrame("Invalid request: request ID must be an unsigned integer")
            answer: Json = {"result": self._answer(asked.get("method"), asked.get("params"))}
        except ValueError:
            answer = {"error": {"code": 3, "msg": "Invalid JSON"}}
        except BadFrame as bad:
            answer = {"error": {"code": 2, "msg": str(bad)}}
        answer["id"] = orjson.Fragment(str(given_id)) if isinstance(given_id, Literal) else given_id
        self.socket.send(orjson.dumps(answer))

    def on_gone(self) -> None:
        for subscription in self.streams.values():
            self.venue.feed.unsubscribe(subscription)
        self.streams.clear()
        self.venue.feed.sockets.discard(self.socket)

    def _answer(self, method: Any, params: Any) -> Any:
        match method:
            case "SUBSCRIBE":
                for name in _names(params):
                    self.subscribe(name)
                return None
            case "UNSUBSCRIBE":
                for name in _names(params):
                    subscription = self.streams.pop(name, None)
                    if subscription is not None:
                        self.venue.feed.unsubscribe(subscription)
                return None
            case "LIST_SUBSCRIPTIONS":
                return list(self.streams)
            case "SET_PROPERTY":
                if not isinstance(params, list) or len(params) != 2 or params[0] != "combined":
                    raise BadFrame("Unknown property")
                self.combined = params[1] is True
                return None
            case "GET_PROPERTY":
                return self.combined
            case _:
                raise BadFrame(f"Invalid request: unknown variant, expected one of {METHODS}")

    def subscribe(self, name: str) -> None:
        if name in self.streams:
            return
        if len(self.streams) >= STREAM_LIMIT:
            raise BadFrame("Invalid request: too many streams")
        account = self.account_of(name)
        topic = user_topic(account) if account is not None else market_topic(name)
        prefix = b'{"stream":' + orjson.dumps(name) + b',"data":'

        def deliver(body: bytes) -> None:
            self.socket.send(prefix + body + b"}" if self.combined else body)

        subscription = Subscription(topic, deliver, self.socket.reset)
        self.streams[name] = subscription
        self.venue.feed.subscribe(subscription)


def _names(params: Any) -> list[str]:
    if not isinstance(params, list) or not all(
        isinstance(name, str) and 0 < len(name) <= NAME_LIMIT for name in params
    ):
        raise BadFrame("Invalid request: params is an array of stream names")
    return params


def open_listener(
    venue: Venue,
    socket: Socket,
    path_and_streams: tuple[str, str],
    account_of: Callable[[str], str | None],
) -> None:
    """Give a fresh connection its listener, subscribed to the names of its address."""
    path, given = path_and_streams
    combined = path.startswith("/stream")
    listener = Listener(venue, socket, combined, account_of)
    venue.feed.sockets.add(socket)
    socket.listen(Ears(listener.on_text, listener.on_gone))
    if not combined:
        given = path.removeprefix("/ws").removeprefix("/")
    for name in given.split("/")[:STREAM_LIMIT]:
        if 0 < len(name) <= NAME_LIMIT:
            listener.subscribe(name)


async def repeat_states(venue: Venue) -> None:
    """Tell every state that somebody listens to, each second, for as long as the venue lives."""
    now_ms = venue.clock.now_ms()
    while True:
        await asyncio.sleep(EVERY_S)
        since_ms, now_ms = now_ms, venue.clock.now_ms()
        for topic in list(venue.feed.topics):
            kind, _, stream = topic.partition(":")
            symbol, _, name = stream.partition("@")
            if kind != "market":
                continue
            market = venue.book.markets.get(symbol.upper())
            if market is None or not stream_shapes.told_every_second(name):
                continue
            ended = stream_shapes.ended_candle(market, name, venue.seed, since_ms, now_ms)
            if ended is not None:
                venue.feed.send(topic, orjson.dumps(ended))
            payload = stream_shapes.state(market, name, venue.seed, now_ms)
            venue.feed.send(topic, orjson.dumps(payload))
