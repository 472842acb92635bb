"""The client's one retry rule, in virtual time: what is sent again, when, and when it gives up."""

import json
from collections.abc import Iterable
from itertools import chain, repeat
from typing import Any, TypeVar

import pytest
from orderonce import (
    IntentOld,
    KeyReused,
    NoAnswer,
    OrderDenied,
    Patience,
    Placed,
    Refused,
    talks,
)
from orderonce.replies import Reply
from orderonce.requests import Request
from orderonce.talks import Heard, Pause, Renew, Send, Talk

Result = TypeVar("Result")
ASKED = Request("POST", "/v1/orders", headers={"Idempotency-Key": "k" * 16}, body=b"{}")
SOON = Patience(total_s=10.0, first_pause_s=1.0, longest_pause_s=4.0, dice=lambda: 1.0)
ACCEPTED = Reply(202, {}, b'{"order_id": "1"}')


class World:
    """Answers in order; None is a lost answer. Keeps what was sent and how long was paused."""

    def __init__(self, answers: Iterable[Reply | None], *, renews: bool = False) -> None:
        self.answers = iter(answers)
        self.renews = renews
        self.now = 0.0
        self.sent: list[Send] = []
        self.sent_at: list[float] = []
        self.pauses: list[float] = []

    def run(self, talk: Talk[Result]) -> Result:
        try:
            step = next(talk)
            while True:
                step = talk.send(self.do(step))
        except StopIteration as end:
            result: Result = end.value
            return result

    def do(self, step: object) -> Heard:
        match step:
            case Send():
                self.sent.append(step)
                self.sent_at.append(self.now)
                reply = next(self.answers)
                return Heard(self.now, reply, "" if reply else "ReadTimeout")
            case Pause():
                self.pauses.append(step.seconds)
                self.now += step.seconds
                return Heard(self.now)
            case Renew():
                return Heard(self.now, Reply(200, {}, b"") if self.renews else None)
        raise AssertionError(step)


def status(code: int, headers: dict[str, str] | None = None, body: bytes = b"{}") -> Reply:
    return Reply(code, headers or {}, body)


@pytest.mark.parametrize("lost", [None, *map(status, (408, 409, 425, 429, 500, 502, 503, 504))])
def test_what_settles_nothing_is_sent_again_unchanged(lost: Reply | None) -> None:
    world = World([lost, lost, ACCEPTED])

    assert world.run(talks.settle(ASKED, SOON)) is ACCEPTED
    assert [send.request for send in world.sent] == [ASKED] * 3
    assert [send.attempt for send in world.sent] == [0, 1, 2]


@pytest.mark.parametrize("code", [400, 403, 404, 405, 413, 415, 422])
def test_a_no_is_told_and_not_repeated(code: int) -> None:
    world = World([status(code, body=b'{"type": "/errors/x", "title": "t", "detail": "d"}')])

    with pytest.raises(Refused) as told:
        world.run(talks.settle(ASKED, SOON))

    assert (told.value.status, told.value.type) == (code, "/errors/x")
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    "foreign",
    [
        status(200, body=b"<html>log in to the hotel's network</html>"),
        status(200, body=b"[]"),
        status(200, body=b'{"page": "somebody else\'s"}'),
        status(202, body=b'{"order_id": "1"'),
        status(302, {"location": "https://elsewhere.test/"}, b""),
        status(403, body=b"<html>blocked</html>"),
        status(404, body=b'{"message": "no route"}'),
    ],
)
def test_what_the_api_did_not_say_settles_nothing(foreign: Reply) -> None:
    """A proxy on the way knows nothing of the order, whatever status it answers with."""
    world = World([foreign, ACCEPTED])

    assert world.run(talks.settle(ASKED, SOON)) is ACCEPTED
    with pytest.raises(NoAnswer, match=str(foreign.status)):
        World([foreign] * 99).run(talks.settle(ASKED, SOON))


@pytest.mark.parametrize(
    ("code", "name"),
    [(401, "credentials-invalid"), (403, "not-permitted"), (400, "request-invalid")],
)
@pytest.mark.parametrize("first", [None, status(503)])
def test_a_no_at_the_door_says_nothing_of_a_request_that_went_before(
    first: Reply | None, code: int, name: str
) -> None:
    """The first try may have been accepted: the idempotency key was not looked at this time."""
    body = f'{{"type": "/errors/{name}", "title": "t", "detail": "turned away"}}'
    refused = status(code, body=body.encode())

    with pytest.raises(NoAnswer, match="turned away"):
        World([first, *[refused] * 2]).run(talks.settle(ASKED, SOON))
    with pytest.raises(Refused):
        World([refused] * 2).run(talks.settle(ASKED, SOON))


def test_a_denial_has_its_code() -> None:
    body = b'{"type": "/errors/order-denied", "code": "price-tick", "order_id": "7"}'

    with pytest.raises(OrderDenied) as told:
        World([status(422, body=body)]).run(talks.settle(ASKED, SOON))

    assert (told.value.code, told.value.order_id) == ("price-tick", "7")


def test_pauses_double_up_to_their_limit() -> None:
    world = World([None] * 4 + [ACCEPTED])

    world.run(talks.settle(ASKED, Patience(60.0, 1.0, 4.0, dice=lambda: 1.0)))

    assert world.pauses == [1.0, 2.0, 4.0, 4.0]


def test_the_api_may_ask_for_a_longer_pause() -> None:
    world = World([status(503, {"retry-after": "3"}), ACCEPTED])

    world.run(talks.settle(ASKED, SOON))

    assert world.pauses == [3.0]


def test_patience_ends_with_no_answer_and_names_the_last_word() -> None:
    world = World([status(503, body=b'{"detail": "the database is away"}')] * 99)

    with pytest.raises(NoAnswer, match="the database is away"):
        world.run(talks.settle(ASKED, SOON))

    assert world.now <= SOON.total_s


def test_a_rotated_key_is_read_again_once() -> None:
    world = World([status(401), ACCEPTED], renews=True)

    assert world.run(talks.settle(ASKED, SOON)) is ACCEPTED
    assert world.pauses == []


@pytest.mark.parametrize("renews", [True, False])
def test_a_key_that_stays_refused_is_a_refusal(renews: bool) -> None:
    refused = status(401, body=b'{"type": "/errors/credentials-invalid"}')
    world = World([refused] * 2, renews=renews)

    with pytest.raises(Refused):
        world.run(talks.settle(ASKED, SOON))

    assert len(world.sent) == (2 if renews else 1)


def order(status_: str, final: bool) -> Reply:
    at = "2026-11-22T10:00:00.000000Z"
    members = {
        "order_id": "1", "client_order_id": "c", "idempotency_key": "k", "account": "a",
        "symbol": "BTC/USDT", "side": "buy", "type": "market", "status": status_, "final": final,
        "reason": None, "quantity": "1", "price": None, "filled_quantity": "0",
        "average_price": None, "fees": [], "venue_order_id": None, "client_tag": None,
        "accepted_at": at, "sent_at": None, "updated_at": at, "expires_at": at, "version": 1,
    }  # fmt: skip
    return status(200, body=json.dumps(members).encode())


def test_following_ends_with_the_final_status() -> None:
    world = World([order("accepted", False), order("open", False), order("filled", True)])

    assert world.run(talks.follow("1", 60.0, SOON)).status == "filled"


def test_following_gives_the_order_as_it_stands_at_the_limit() -> None:
    world = World([order("unknown", False)] * 99)

    seen = world.run(talks.follow("1", 5.0, SOON))

    assert (seen.status, seen.final) == ("unknown", False)
    assert world.now < 7.0


BODY = {"account": "a", "type": "market"}
BURNT = status(422, body=b'{"type": "/errors/order-denied", "code": "expires-in-past"}')
TICK = status(422, body=b'{"type": "/errors/order-denied", "code": "price-tick", "order_id": "7"}')
YES = status(
    202,
    body=b'{"order_id": "7", "client_order_id": "c", "accepted_at": "2026-11-22T10:00:00Z",'
    b' "expires_at": "2026-11-22T10:00:30Z"}',
)
MINUTE = Patience(total_s=60.0, first_pause_s=1.0, longest_pause_s=4.0, dice=lambda: 1.0)
OLD_S = 30.0


def reused(*differs: str) -> Reply:
    told = {"type": "/errors/idempotency-key-reused", "order_id": "7", "differs": differs}
    return status(422, body=json.dumps(told).encode())


def placing(world: World, *, old_s: float = OLD_S) -> Talk[Placed]:
    return talks.place_intent(BODY, "k" * 16, 0, MINUTE, lambda: world.now > old_s)


def bodies(world: World) -> list[dict[str, Any]]:
    return [json.loads(send.request.body or b"") for send in world.sent]


def test_one_call_does_not_outlive_its_idea() -> None:
    """Guard: the API is back after 50 s, and would give the order a fresh deadline."""
    lost = repeat(None, 15)
    world = World(chain(lost, [BURNT]))

    with pytest.raises(IntentOld):
        world.run(placing(world))

    assert {send.request.headers["Idempotency-Key"] for send in world.sent} == {"k" * 16}
    assert world.sent_at[-1] >= 50.0
    for at, body in zip(world.sent_at, bodies(world), strict=True):
        assert body == (BODY if at <= OLD_S else {**BODY, "expires_at": "2000-01-01T00:00:00Z"})


def test_what_grew_old_and_was_accepted_gets_its_answer() -> None:
    world = World([*repeat(None, 12), reused("expires_at"), None, YES])

    assert world.run(placing(world)).order_id == "7"
    assert bodies(world)[-2:] == [BODY, BODY]


def test_what_grew_old_and_was_denied_gets_its_denial() -> None:
    world = World([reused("expires_at"), TICK])

    with pytest.raises(OrderDenied) as told:
        world.run(placing(world, old_s=-1.0))

    assert told.value.code == "price-tick"


@pytest.mark.parametrize("old_s", [OLD_S, -1.0])
def test_silence_is_never_taken_for_an_end(old_s: float) -> None:
    """Growing old makes nobody more patient, and nobody the wiser."""
    world = World(repeat(None))

    with pytest.raises(NoAnswer):
        world.run(placing(world, old_s=old_s))

    assert 50.0 <= world.now <= MINUTE.total_s


@pytest.mark.parametrize("name", ["credentials-invalid", "not-permitted"])
@pytest.mark.parametrize("before", [[], [reused("expires_at")]])
def test_a_no_at_the_door_says_nothing_of_an_old_intent(before: list[Reply], name: str) -> None:
    """A key that was rotated to one without this account: an earlier call may have been heard."""
    world = World([*before, status(403, body=f'{{"type": "/errors/{name}"}}'.encode())])

    with pytest.raises(NoAnswer):
        world.run(placing(world, old_s=-1.0))


def test_a_young_intent_whose_key_another_one_burnt_is_old() -> None:
    world = World([reused("expires_at")])

    with pytest.raises(IntentOld):
        world.run(placing(world))


def test_a_key_that_made_another_order_stays_that_error() -> None:
    young, old = World([reused("expires_at", "quantity")]), World(repeat(reused("quantity"), 2))

    with pytest.raises(KeyReused):
        young.run(placing(young))
    with pytest.raises(KeyReused):
        old.run(placing(old, old_s=-1.0))
