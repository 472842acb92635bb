"""Frames read and signed as the venue's documents say; what was written is kept as written."""

import json
from pathlib import Path

import pytest
from orderonce_paper.keys import Key, load_keys, make_keys_file
from orderonce_paper.wire import VenueError
from orderonce_paper.ws_api import Literal, as_text, parse_frame, text_to_sign


def test_the_venues_own_example_is_signed_as_it_says() -> None:
    # Key, parameters and signature of the WebSocket API's documents.
    secret = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    api_key = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
    params = {
        "symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "GTC",
        "quantity": "0.01000000", "price": "52000.00", "newOrderRespType": "ACK",
        "recvWindow": 100, "timestamp": 1645423376532, "apiKey": api_key,
        "signature": "cc15477742bd704c29492d96c7ead9414dfd8e0ec4a00f947bb5bb454ddbd08a",
    }  # fmt: skip
    frame = json.dumps({"id": 1, "method": "order.place", "params": params})
    given_id, method, read = parse_frame(frame)
    assert (given_id, type(given_id), method) == ("1", Literal, "order.place")
    text = as_text(read)
    assert Key("a", 1, secret, True).signed(text_to_sign(text), text["signature"])
    text["price"] = "52000.0"
    assert not Key("a", 1, secret, True).signed(text_to_sign(text), text["signature"])


@pytest.mark.parametrize(
    "number", ["0", "-1", "1e-05", "0.00100", "123456789012345678901234567890"]
)
def test_a_number_keeps_its_text(number: str) -> None:
    given_id, _, params = parse_frame(f'{{"id":{number},"method":"m","params":{{"a":{number}}}}}')
    assert (given_id, as_text(params)) == (number, {"a": number})
    assert type(as_text(params)["a"]) is str


def test_other_values_as_rest_would_carry_them() -> None:
    frame = '{"method":"v3/m","params":{"t":true,"f":false,"n":null,"l":["A","B"],"s":"x y"}}'
    given_id, method, params = parse_frame(frame)
    assert (given_id, method) == (None, "m")
    assert as_text(params) == {"t": "true", "f": "false", "l": '["A","B"]', "s": "x y"}


@pytest.mark.parametrize(
    "frame", ["", "1", '{"method":"m","params":{"a":"\\udc00"}}', '{"method":"m","params":3}', "{"]
)
def test_what_is_no_request_is_refused(frame: str) -> None:
    with pytest.raises(VenueError):
        parse_frame(frame)


def test_a_keys_file_from_before_the_ed25519_keys_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    make_keys_file(path, ("paper-1", "paper-2"))
    old = json.loads(path.read_text())
    for entry in old["accounts"].values():
        del entry["ed25519"]
    path.write_text(json.dumps(old))
    keys = load_keys(path)
    whole = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    for name, entry in whole["accounts"].items():
        assert {kind: entry[kind] for kind in ("uid", "trade", "read")} == old["accounts"][name]
        assert len(entry["ed25519"]["private_key"].strip()) <= 120, "ccxt tells the kind by length"
        assert keys[entry["ed25519"]["api_key"]].may_trade
    assert load_keys(path).keys() == keys.keys(), "made once"


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"accounts":{"a":{"uid":1}}}'])
def test_another_file_is_named_and_not_touched(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a keys file"):
        load_keys(path)
