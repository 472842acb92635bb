"""Environments of clients: whole or made anew, and one sentence where they cannot be made."""

from pathlib import Path

import pytest

from tests.clients import environments
from tests.house.test_tracked_files import requirements

SMALLEST = "ccxt"

pytestmark = pytest.mark.timeout(600)  # the first use fetches packages


def test_a_half_made_environment_is_made_anew(tmp_path: Path) -> None:
    python = environments.python_of(SMALLEST, tmp_path)
    (python.parents[1] / "complete").unlink()  # as if it had been killed
    python.unlink()

    assert environments.python_of(SMALLEST, tmp_path) == python
    assert python.exists()


def test_a_whole_one_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = environments.python_of(SMALLEST, tmp_path)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))

    assert environments.python_of(SMALLEST, tmp_path) == python


def test_without_the_registry_it_says_so_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))

    with pytest.raises(environments.NoEnvironment) as told:
        environments.python_of(SMALLEST, tmp_path)

    assert "\n" not in str(told.value)
    assert "its first use needs the package registry" in str(told.value)


@pytest.mark.parametrize("client", environments.NAMES)
def test_the_lock_pins_hashes_and_names_no_address(client: str) -> None:
    lock = environments.CLIENTS / client / "requirements.lock"
    text = lock.read_text()

    assert "://" not in text
    assert all("==" in line and "--hash=sha256:" in line for line in requirements(lock))
    for asked in (environments.CLIENTS / client / "requirements.in").read_text().splitlines():
        if not asked.startswith("#"):
            name, version = asked.split(" ;")[0].lower().replace("_", "-").split("==")
            assert f"{name}=={version} " in text, "run `make lock-clients`"
