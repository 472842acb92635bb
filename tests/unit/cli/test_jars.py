"""The jars are exactly those of the lock, or nothing starts."""

import hashlib
import re
from pathlib import Path

import pytest
import requests
from orderonce_cli.problems import Problem
from orderonce_cli.stack import jars
from orderonce_cli.stack.jars import Jar


def lock_of(folder: Path) -> list[Jar]:
    found = []
    for name in ("alpha", "beta"):
        content = f"{name} bytes".encode()
        (folder / f"{name}-1.0.jar").write_bytes(content)
        found.append(Jar(f"org.example:{name}:1.0", hashlib.sha256(content).hexdigest()))
    return found


def test_the_right_jars_pass(tmp_path: Path) -> None:
    jars.verify(tmp_path, lock_of(tmp_path))


def test_a_changed_byte_is_refused_by_name(tmp_path: Path) -> None:
    lock = lock_of(tmp_path)
    (tmp_path / "beta-1.0.jar").write_bytes(b"beta bytes!")
    with pytest.raises(Problem, match=r"beta-1\.0\.jar differs"):
        jars.verify(tmp_path, lock)


def test_a_missing_and_an_extra_jar_are_refused_by_name(tmp_path: Path) -> None:
    lock = lock_of(tmp_path)
    (tmp_path / "beta-1.0.jar").rename(tmp_path / "gamma-1.0.jar")
    with pytest.raises(Problem, match=r"beta-1\.0\.jar is missing; gamma-1\.0\.jar does not"):
        jars.verify(tmp_path, lock)


def test_the_committed_lock_holds_names_and_digests_only() -> None:
    text = jars.LOCK.read_text()
    lock = jars.read_lock()
    assert len(lock) > 40
    assert len({jar.name for jar in lock}) == len(lock)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in lock)
    assert "/" not in text.replace("# Every jar", "")
    assert "http" not in text.replace("httpc", "")
    clients = [jar for jar in lock if jar.name.startswith("kafka-clients")]
    server = [jar for jar in lock if jar.name.startswith("kafka_2.13")]
    # The resolver once let a logging library's managed versions choose Kafka's own client.
    assert clients[0].coordinates.split(":")[2] == server[0].coordinates.split(":")[2]


def test_a_download_of_wrong_bytes_never_reaches_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forged(coordinates: list[str], scratch: Path) -> list[Path]:
        files = [scratch / f"{n}.download" for n, _ in enumerate(coordinates)]
        for file in files:
            file.write_bytes(b"not the jar")
        return files

    monkeypatch.setattr(jars, "_download", forged)
    with pytest.raises(Problem, match="differs from the lock"):
        jars.ensure(tmp_path, lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["kafka.lock"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (requests.exceptions.SSLError("no issuer"), "certificate is not trusted"),
        (requests.exceptions.ConnectionError("no route"), "did not answer"),
    ],
)
def test_a_failed_download_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    class Refusing:
        def project(self, group: str, artifact: str) -> None:
            raise error

    monkeypatch.setattr(jars, "_maven", lambda scratch: Refusing())
    with pytest.raises(Problem, match=said):
        jars.ensure(tmp_path, lambda line: None)
