"""The client's one retry rule, in virtual time: what is sent again, when, and when it gives up."""

from collections.abc import Iterable

import pytest
from orderonce import NoAnswer, OrderDenied, Patience, Refused, talks
from orderonce.replies import Reply
from orderonce.requests import Request
from orderonce.talks import Heard, Pause, Renew, Send, Talk

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
        self.pauses: list[float] = []

    def run(self, talk: Talk[Reply]) -> Reply:
        try:
            step = next(talk)
            while True:
                step = talk.send(self.do(step))
        except StopIteration as end:
            reply: Reply = end.value
            return reply

    def do(self, step: object) -> Heard:
        match step:
            case Send():
                self.sent.append(step)
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
    import json

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

    assert world.run(talks.follow("1", 60.0, SOON)).status == "filled"  # type: ignore[arg-type]


def test_following_gives_the_order_as_it_stands_at_the_limit() -> None:
    world = World([order("unknown", False)] * 99)

    seen = world.run(talks.follow("1", 5.0, SOON))  # type: ignore[arg-type]

    assert (seen.status, seen.final) == ("unknown", False)  # type: ignore[attr-defined]
    assert world.now < 7.0
