"""PURE. Conversations with the API, without I/O and without a clock of their own.

A talk is a generator: it yields what to do next (send, pause, look for a new API key), is told what
came of it, and returns the result. The two clients only carry the steps out, one blocking, one on
asyncio; so there is one retry rule, and tests run it in virtual time.

The rule: a request that got no answer, or one that settles nothing (5xx, 409, 429, whatever is not
the order API's own word), goes out again unchanged, after a pause that doubles, until the patience
ends. This is safe because every POST carries its idempotency key: the order API answers the second
one with the first one's bytes.

What is not answered may still be on its way, for as long as a commit may wait. So an order that has
grown too old to be traded is not asked for: "not found" would not last. Its key is used up instead,
by the same order with a deadline that has passed. The API decides a key once. Either it denies
this, and whatever of the order still arrives meets a used key; or the order was there first.
"""

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from orderonce import replies, requests
from orderonce.errors import IntentOld, KeyReused, NoAnswer, OrderDenied, refusal
from orderonce.replies import Cancel, Event, Fill, Instrument, Order, Page, Placed, Reply
from orderonce.requests import Request

Result = TypeVar("Result")
Item = TypeVar("Item")

UNSETTLED = frozenset({408, 409, 425, 429})  # and every 5xx
# Said before the idempotency key is looked at: nothing about what an earlier try came to.
SAID_AT_THE_DOOR = frozenset(
    f"/errors/{name}" for name in ("credentials-invalid", "not-permitted", "request-invalid")
)
# The earliest that the API reads. The same one each time: a key that is burnt twice is burnt by one
# and the same request.
LONG_PAST = {"expires_at": "2000-01-01T00:00:00Z"}
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 1.0  # between two looks at an order that is followed


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on without an answer: seconds in all, and of the pauses between. `dice` gives
    [0, 1): bots that failed together do not come back together.
    """

    total_s: float = 60.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 3.0
    dice: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True)
class Send:
    """Send this; `attempt` counts from 0, so that the next one may go to another address."""

    request: Request
    attempt: int


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Renew:
    """The API key was not taken: read it again. `reply` of what is heard tells whether it is
    another one now, by a status of 200.
    """


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a step, and when on a monotonic clock, in seconds."""

    at: float
    reply: Reply | None = None
    error: str = ""


Step = Send | Pause | Renew
Talk = Generator[Step, Heard, Result]


class _GrownOld(Exception):
    """The request must not be sent any more. `begun`: when its first try was heard of, None when
    there was none.
    """

    def __init__(self, begun: float | None) -> None:
        super().__init__()
        self.begun = begun


def settle(
    request: Request,
    patience: Patience,
    is_old: Callable[[], bool] = lambda: False,
    begun: float | None = None,
    *,
    doubt: bool = False,
) -> Talk[Reply]:
    """Send until there is an answer that settles the request; gives a success.

    Raises Refused for the API's no, and NoAnswer when the patience has ended, or when a try
    that may have been accepted is followed by a no that is not about the order (the API key was
    revoked meanwhile). `is_old` is asked before each try: then _GrownOld. `begun`: the patience
    runs since then. `doubt`: such a try was made before.
    """
    attempt, renewed = 0, False
    while True:
        if is_old():
            raise _GrownOld(begun)
        heard = yield Send(request, attempt)
        begun = heard.at if begun is None else begun
        reply = heard.reply
        if reply is not None and reply.status == 401 and not renewed:
            renewed = True  # once: a key that was rotated under us is in its file already
            if (yield Renew()).reply is not None:
                attempt += 1
                continue
        if reply is not None and _settles(request, reply):
            if reply.status < 300:
                return reply
            refused = refusal(reply.status, reply.members())
            if doubt and refused.type in SAID_AT_THE_DOOR:
                raise NoAnswer(
                    f"{request.method} {request.path}: an earlier try may have been accepted, and"
                    f" this one was turned away at the door: {_last(heard)}"
                ) from refused
            raise refused
        doubt = doubt or request.method == "POST"
        pause = _pause(attempt, reply, patience)
        if heard.at + pause - begun > patience.total_s:
            raise NoAnswer(
                f"{request.method} {request.path}: no answer that settles it within"
                f" {patience.total_s:g} s ({attempt + 1} tries); the last: {_last(heard)}"
            )
        yield Pause(pause)
        attempt += 1


def _settles(request: Request, reply: Reply) -> bool:
    """Whether it is the order API that speaks, and finally. What a proxy or another server on the
    way says (a login page with 200, a redirect, a 403 without a problem document) tells nothing.
    """
    if reply.status >= 500 or reply.status in UNSETTLED:
        return False
    members = reply.members()
    if 200 <= reply.status < 300:
        return request.shows in members
    return reply.status >= 400 and str(members.get("type", "")).startswith("/errors/")


def _pause(attempt: int, reply: Reply | None, patience: Patience) -> float:
    doubled = min(patience.first_pause_s * 2.0 ** min(attempt, 30), patience.longest_pause_s)
    asked = reply.headers.get("retry-after", "") if reply is not None else ""
    return max(doubled * (0.5 + patience.dice() / 2), float(asked) if asked.isdecimal() else 0.0)


def _last(heard: Heard) -> str:
    if heard.reply is None:
        return heard.error or "no answer"
    return f"{heard.reply.status} {heard.reply.members().get('detail', '')}".strip()


def place(body: dict[str, Any], key: str, wait_s: int, patience: Patience) -> Talk[Placed]:
    """Place what `body` says under `key`, until it is accepted or refused."""
    return replies.read_placed((yield from settle(requests.place(body, key, wait_s), patience)))


def place_intent(
    body: dict[str, Any], key: str, wait_s: int, patience: Patience, is_old: Callable[[], bool]
) -> Talk[Placed]:
    """As `place`, for a key that nobody but these talks sends under, with this body. Once `is_old`
    the order is not sent any more, and its key is burnt: raises IntentOld when it can never be
    accepted, and gives its answer when it was.
    """
    request = requests.place(body, key, wait_s)
    try:
        return replies.read_placed((yield from settle(request, patience, is_old)))
    except _GrownOld as grown:
        begun = grown.begun
    except KeyReused as reused:
        if not LONG_PAST.keys() & body.keys() and set(reused.differs) == LONG_PAST.keys():
            raise _old(key) from reused  # burnt meanwhile by another one, or in an earlier call
        raise
    # Any of it may have been heard in an earlier call: a no at the door stays in doubt.
    burn = requests.place(body | LONG_PAST, key)
    try:
        return replies.read_placed((yield from settle(burn, patience, begun=begun, doubt=True)))
    except OrderDenied as denied:
        raise _old(key) from denied
    except KeyReused:
        pass  # the order was there first: the same again is answered as it was then
    return replies.read_placed((yield from settle(request, patience, doubt=True)))


def _old(key: str) -> IntentOld:
    return IntentOld(
        f"the intent with the key {key} grew too old before it was accepted; its key is used up and"
        " it can never be an order any more. Forget it, and decide anew"
    )


def cancel(order_id: str, key: str, patience: Patience) -> Talk[Cancel]:
    reply = yield from settle(requests.cancel(order_id, key), patience)
    return Cancel(order_id, replies.replayed(reply))


def order(order_id: str, patience: Patience) -> Talk[Order]:
    reply = yield from settle(requests.get("orders", order_id), patience)
    return replies.read_order(reply.members())


def order_by_key(key: str, patience: Patience) -> Talk[Order]:
    reply = yield from settle(requests.get("orders", "by-key", key), patience)
    return replies.read_order(reply.members())


def follow(order_id: str, limit_s: float, patience: Patience) -> Talk[Order]:
    """Look until the order is final or the limit has passed; gives it as last seen."""
    pause, begun = FIRST_LOOK_S, None
    while True:
        seen = yield from order(order_id, patience)
        if seen.final:
            return seen
        heard = yield Pause(pause)
        begun = heard.at - pause if begun is None else begun
        if heard.at - begun >= limit_s:
            return (yield from order(order_id, patience))
        pause = min(pause * 1.5, LONGEST_LOOK_S)


def orders(
    patience: Patience, cursor: str | None, **wanted: str | int | datetime | None
) -> Talk[Page[Order]]:
    """One page of GET /v1/orders, newest first."""
    reply = yield from settle(requests.get("orders", cursor=cursor, **wanted), patience)
    members = reply.members()
    found = tuple(replies.read_order(row) for row in members["orders"])
    return Page(found, members["next_cursor"])


def events(order_id: str, patience: Patience) -> Talk[tuple[Event, ...]]:
    reply = yield from settle(requests.get("orders", order_id, "events"), patience)
    return tuple(replies.read_event(row) for row in reply.members()["events"])


def fills(order_id: str, patience: Patience) -> Talk[tuple[Fill, ...]]:
    reply = yield from settle(requests.get("orders", order_id, "fills"), patience)
    return tuple(replies.read_fill(row) for row in reply.members()["fills"])


def instruments(account: str, patience: Patience) -> Talk[tuple[Instrument, ...]]:
    reply = yield from settle(requests.get("instruments", account=account), patience)
    return tuple(replies.read_instrument(row) for row in reply.members()["instruments"])
