"""Keys: only from a file that nobody else can read, and never shown."""

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from orderonce_shared.venues.adapter import Door
from orderonce_shared.venues.credentials import (
    Credential,
    CredentialError,
    Secret,
    load_credentials,
)

ENTRY = {"venue": "paper", "api_key": "the-key", "secret": "the-secret"}


def write(folder: Path, document: Any, mode: int = 0o600) -> Path:
    path = folder / "keys.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    path.chmod(mode)
    return path


def test_the_file_is_read(tmp_path: Path) -> None:
    credential = load_credentials(write(tmp_path, {"accounts": {"paper-1": ENTRY}}))["paper-1"]
    assert credential == Credential("paper-1", "paper", Secret("the-key"), Secret("the-secret"))
    assert credential.secret.reveal() == "the-secret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o602, 0o644, 0o601])
def test_a_file_that_others_can_use_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, {"accounts": {"paper-1": ENTRY}}, mode)
    with pytest.raises(CredentialError, match="chmod 600"):
        load_credentials(path)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "the-secret",
        '{"accounts": the-secret}',
        [],
        {},
        {"accounts": []},
        {"accounts": {"a": "the-secret"}},
        {"accounts": {"a": ENTRY | {"venue": ""}}},
        {"accounts": {"a": ENTRY | {"api_key": 5}}},
        {"accounts": {"a": {"venue": "paper", "secret": "the-secret"}}},
    ],
)
def test_a_wrong_file_is_a_sentence_without_its_content(tmp_path: Path, document: Any) -> None:
    with pytest.raises(CredentialError) as caught:
        load_credentials(write(tmp_path, document))
    assert "keys.json" in str(caught.value)
    assert "the-secret" not in str(caught.value)


def test_no_file_and_no_regular_file(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="cannot open"):
        load_credentials(tmp_path / "none.json")
    with pytest.raises(CredentialError, match="regular file"):
        load_credentials(tmp_path)


def test_nothing_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    credential = Credential("paper-1", "paper", Secret("the-key"), Secret("the-secret"))
    caplog.set_level(logging.DEBUG)
    logging.getLogger("x").warning("%s %r", credential, credential)
    shown = f"{credential} {credential!r} {credential.secret} {credential.secret:>40} {caplog.text}"
    assert "the-key" not in shown
    assert "the-secret" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(credential.secret)


@pytest.mark.parametrize(
    ("venue", "account", "base_url", "why"),
    [
        ("paper", "paper-2", "http://127.0.0.1:1", "credential"),
        ("binance", "paper-1", None, "credential"),
        ("paper", "paper-1", None, "base_url"),
        ("paper", "paper-1", "ftp://127.0.0.1", "scheme"),
        ("paper", "paper-1", "http://user:word@127.0.0.1", "scheme"),
        ("paper", "paper-1", "http://127.0.0.1/api", "path"),
        ("kraken", "paper-1", None, "no evidence"),
    ],
)
async def test_a_door_is_not_opened_to_where_it_should_not_lead(
    venue: str, account: str, base_url: str | None, why: str
) -> None:
    credential = Credential("paper-1", "paper", Secret("k"), Secret("s"))
    with pytest.raises((ValueError, LookupError), match=why):
        await Door.open(venue, account, credential, base_url=base_url, monotonic=lambda: 0.0)


async def test_a_real_venues_key_does_not_cross_a_network_in_the_clear() -> None:
    credential = Credential("main", "binance", Secret("k"), Secret("s"))
    with pytest.raises(ValueError, match="plain http"):
        await Door.open(
            "binance", "main", credential, base_url="http://venue.test", monotonic=lambda: 0.0
        )
    door = await Door.open("binance", "main", credential, base_url=None, monotonic=lambda: 0.0)
    try:
        assert door._exchange.order_url == "https://api.binance.com/api/v3/order"
    finally:
        await door.close()
