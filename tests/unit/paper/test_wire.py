"""Signatures over the text as received, the window's edges, and what a parameter may look like."""

import hashlib
import hmac
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orderonce_paper import wire
from orderonce_paper.keys import Key
from orderonce_paper.wire import VenueError, Window

SECRET = b"s3cret"

PIECES = st.lists(
    st.text("abcXYZ019.-_=%+", min_size=1, max_size=12).map(lambda t: t.encode()), max_size=6
)


def sign(text: bytes) -> str:
    return hmac.new(SECRET, text, hashlib.sha256).hexdigest()


def signed(query: bytes, body: bytes, signature: str, secret: bytes = SECRET) -> bool:
    return Key("paper-1", 1, secret, True).signed(wire.signed_text(query, body), signature)


def code_of(error: pytest.ExceptionInfo[VenueError]) -> int:
    return error.value.code


@given(PIECES, PIECES, st.sampled_from(["query", "body"]))
def test_the_signature_covers_query_then_body_as_received(
    query: list[bytes], body: list[bytes], where: str
) -> None:
    asked, sent = b"&".join(query), b"&".join(body)
    signature = sign(asked + sent)
    pair = b"signature=" + signature.encode()
    if where == "query":
        asked = asked + b"&" + pair if asked else pair
    else:
        sent = sent + b"&" + pair if sent else pair
    assert signed(asked, sent, signature.upper())
    for wrong_query, wrong_body in ((asked + b"&x=1", sent), (asked, b"x=1&" + sent)):
        assert not signed(wrong_query, wrong_body, signature)


def test_the_venues_own_examples_are_signed_as_it_says() -> None:
    # The documents' key and figures, for a body, a query, and a mix of both.
    secret = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    text = (
        b"symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
        b"&recvWindow=5000&timestamp=1499827319559"
    )
    whole = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    mixed = "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"
    assert signed(text, b"", whole, secret)
    assert signed(b"", text + b"&signature=" + whole.encode(), whole, secret)
    query, _, body = text.partition(b"&quantity")
    assert signed(query, b"quantity" + body, mixed, secret)


@pytest.mark.parametrize(
    ("timestamp", "recv_window", "fits"),
    [
        (10_000, "5000", True),
        (10_999, "5000", True),
        (11_000, "5000", False),  # a second ahead is too much
        (5_000, "5000", True),
        (4_999, "5000", False),
        (4_999, "5000.5", False),
        (5_000, "4999.999", False),
    ],
)
def test_the_edges_of_the_window(timestamp: int, recv_window: str, fits: bool) -> None:
    window = Window(timestamp, Decimal(recv_window))
    if fits:
        window.check(10_000)
        return
    with pytest.raises(VenueError) as error:
        window.check(10_000)
    assert code_of(error) == -1021


def test_a_window_defaults_to_five_seconds_and_ends_at_sixty() -> None:
    assert wire.parse_window({"timestamp": "1"}).recv_window_ms == 5000
    assert wire.parse_window({"timestamp": "1", "recvWindow": "60000"}).recv_window_ms == 60000
    for given_window, code in (("60000.001", -1131), ("-5", -1100), ("1.2345", -1111)):
        with pytest.raises(VenueError) as error:
            wire.parse_window({"timestamp": "1", "recvWindow": given_window})
        assert code_of(error) == code
    with pytest.raises(VenueError) as error:
        wire.parse_window({})
    assert code_of(error) == -1102


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1e-05", -1100),
        ("-1", -1100),
        ("+1", -1100),
        (".5", -1100),
        ("1.", -1100),
        ("NaN", -1100),
        ("Infinity", -1100),
        ("1_0", -1100),
        ("\u0661", -1100),
        ("1\n", -1100),
        ("1" * 21, -1100),
        ("", -1105),
        ("0.000000001", -1111),
    ],
)
def test_amounts_are_plain_decimals(text: str, code: int) -> None:
    with pytest.raises(VenueError) as error:
        wire.amount({"quantity": text}, "quantity", 8)
    assert code_of(error) == code


def test_zeros_at_the_end_are_no_precision() -> None:
    assert wire.amount({"q": "0.1000000000"}, "q", 8) == Decimal("0.1")


@given(st.text("abzAZ019-_", min_size=1, max_size=36))
def test_client_ids_of_the_alphabet_pass(text: str) -> None:
    assert wire.client_id({"newClientOrderId": text}, "newClientOrderId") == text


@pytest.mark.parametrize("text", ["a" * 37, "a.b", "a b", "ä", "a\n", "a/b", "\x00"])
def test_other_client_ids_do_not(text: str) -> None:
    with pytest.raises(VenueError) as error:
        wire.client_id({"newClientOrderId": text}, "newClientOrderId")
    assert code_of(error) == -1100


def test_the_query_wins_over_the_body_and_a_repeated_name_is_refused() -> None:
    assert wire.parse_params(b"a=1&b=%20x", b"a=2&c=y+z") == {"a": "1", "b": " x", "c": "y z"}
    with pytest.raises(VenueError) as error:
        wire.parse_params(b"a=1&a=1", b"")
    assert code_of(error) == -1101


@pytest.mark.parametrize("raw", [b"a=%ff", b"a=\xff", b"a=%ED%A0%80"])
def test_text_that_is_not_unicode_is_illegal(raw: bytes) -> None:
    with pytest.raises(VenueError) as error:
        wire.parse_params(raw, b"")
    assert code_of(error) == -1100
