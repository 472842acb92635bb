"""The client retries blindly with one key, and only where that can help."""

from collections.abc import Callable, Iterator

import httpx
import pytest
import stamina
from orderonce_cli.api import TRYING_AGAIN, Api, said
from orderonce_cli.problems import Exit, Problem

Handler = Callable[[httpx.Request], httpx.Response]
URLS = ("http://one", "http://two")


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5):
        yield


def api(handler: Handler) -> Api:
    return Api(URLS, "oo_test_key", httpx.MockTransport(handler))


def test_one_key_through_every_kind_of_silence() -> None:
    seen: list[httpx.Request] = []
    answers: list[Callable[[], httpx.Response]] = [
        lambda: (_ for _ in ()).throw(httpx.ReadTimeout("")),
        lambda: httpx.Response(503, json={"title": "Unavailable"}),
        lambda: httpx.Response(409, json={"title": "Busy"}),
        lambda: httpx.Response(202, json={"order_id": "7"}),
    ]

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answers[len(seen) - 1]()

    assert api(handler).post_once("/v1/orders", {"a": "1"}, "key-1") == {"order_id": "7"}
    assert [request.headers["Idempotency-Key"] for request in seen] == ["key-1"] * 4
    assert {bytes(request.content) for request in seen} == {b'{"a":"1"}'}
    assert [request.url.host for request in seen] == ["one", "two", "one", "two"]


def test_a_person_is_told_once_in_plain_words_that_it_tries_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = [503, 503, 503, 202]
    sends = api(lambda request: httpx.Response(answers.pop(0), json={"title": "x"}))
    sends.post_once("/v1/orders", {}, "key-1")
    assert capsys.readouterr().err.splitlines() == [TRYING_AGAIN]
    api(lambda request: httpx.Response(202, json={})).post_once("/v1/orders", {}, "key-1")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_settled_refusal_is_not_repeated(status: int) -> None:
    seen: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(1)
        return httpx.Response(status, json={"type": "/errors/x", "title": "No", "detail": "why"})

    with pytest.raises(Problem, match="why"):
        api(handler).post_once("/v1/orders", {}, "key-1")
    assert len(seen) == 1


def test_when_no_answer_comes_the_sentence_holds_the_key() -> None:
    with pytest.raises(Problem, match="--key key-1") as raised:
        api(lambda request: httpx.Response(500)).post_once("/v1/orders", {}, "key-1")
    assert raised.value.code == Exit.UNAVAILABLE


def test_a_post_without_a_key_is_sent_once() -> None:
    seen: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(1)
        return httpx.Response(503, json={"title": "Unavailable"})

    with pytest.raises(Problem):
        api(handler).post("/v1/keys", {})
    assert len(seen) == 1


def test_parameters_that_are_not_given_are_not_sent() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=dict(request.url.params))

    assert api(handler).get("/v1/orders", account=None, limit=5) == {"limit": "5"}


def test_a_problem_document_becomes_one_sentence() -> None:
    body = {"type": "/errors/order-denied", "title": "Denied", "status": 422,
            "detail": "too small", "code": "notional-min", "request_id": "r"}  # fmt: skip
    sentence = said(httpx.Response(422, json=body))
    assert sentence == '422 order-denied: too small (code "notional-min")'


def test_an_answer_that_is_no_problem_document_is_shown_as_it_is() -> None:
    assert said(httpx.Response(502, text="<html>bad gateway")) == "502 <html>bad gateway"
