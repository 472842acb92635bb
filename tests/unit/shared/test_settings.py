"""Settings: from the environment or a file, and a bad one is a sentence without its value."""

from pathlib import Path

import pytest
from orderonce_shared.runtime.settings import ServiceSettings, read_settings
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict


class Sample(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="SAMPLE_", frozen=True)

    pepper: SecretStr
    port: int = 80
    urls: dict[str, str] = {}  # noqa: RUF012 - pydantic copies defaults


@pytest.fixture(autouse=True)
def pepper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_PEPPER", "hunter2")


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        read_settings(Sample)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_PORT", "8080")
    monkeypatch.setenv("SAMPLE_URLS", '{"paper": "http://127.0.0.1:1"}')
    monkeypatch.setenv("SAMPLE_UNHEARD_OF", "1")

    settings = read_settings(Sample)

    assert settings.pepper.get_secret_value() == "hunter2"
    assert (settings.port, settings.urls) == (8080, {"paper": "http://127.0.0.1:1"})


def test_a_file_gives_the_value_and_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text("from-file\n")
    monkeypatch.setenv("SAMPLE_PEPPER_FILE", str(tmp_path / "pepper"))

    assert read_settings(Sample).pepper.get_secret_value() == "from-file"


def test_a_file_may_hold_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every setting X may be given as X_FILE, the ones that are JSON too."""
    (tmp_path / "urls").write_text('{"paper": "http://127.0.0.1:1"}\n')
    monkeypatch.setenv("SAMPLE_URLS_FILE", str(tmp_path / "urls"))

    assert read_settings(Sample).urls == {"paper": "http://127.0.0.1:1"}


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_a_sentence(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path if kind == "folder" else tmp_path / "pepper"
    if kind == "binary":
        path.write_bytes(b"\xff\xfe")
    monkeypatch.setenv("SAMPLE_PEPPER_FILE", str(path))

    with pytest.raises(SystemExit, match="SAMPLE_PEPPER_FILE"):
        read_settings(Sample)


def test_a_missing_one_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SAMPLE_PEPPER")

    assert "SAMPLE_PEPPER: Field required" in refusal(capsys)


def test_a_bad_one_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMPLE_PORT", "s3cret-by-mistake")

    message = refusal(capsys)

    assert "SAMPLE_PORT" in message
    assert "s3cret" not in message


def test_bad_json_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMPLE_URLS", '{"paper": s3cret')

    message = refusal(capsys)

    assert "urls" in message.lower()
    assert "s3cret" not in message


def test_secrets_do_not_show() -> None:
    settings = read_settings(Sample)

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.model_dump())
