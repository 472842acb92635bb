"""`orderonce load` against somebody's secured Kafka: SASL_SSL with SCRAM, or certificates on both
sides, and what it says when the broker or we are not who we should be.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests import servers
from tests.secured import ADMIN, SecureKafka, new_authority, secure_kafka

pytestmark = pytest.mark.timeout(240)  # a broker of its own comes up first

ENDS_S = 100.0
WRONG = "a-wrong-password-that-nothing-may-show"


@dataclass(frozen=True)
class World:
    kafka: SecureKafka
    ca: Path
    stranger: Path
    certificate: tuple[Path, Path]  # ours, and its key
    foreign: tuple[Path, Path]  # of the same name, signed by somebody else


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("load-tls")
    folder.chmod(0o755)
    ours = new_authority(folder / "ours")
    stranger = new_authority(folder / "stranger", "somebody else")
    with ExitStack() as stack:
        layout = stack.enter_context(servers.data_layout())
        broker = secure_kafka(layout, ours, "tls.", wants_certificates=True)
        kafka = await asyncio.to_thread(stack.enter_context, broker)
        mine, theirs = ours.issue("client"), stranger.issue("client")
        yield World(kafka, ours.ca, stranger.ca, mine, theirs)


async def load(
    world: World, folder: Path, password: str, ca: Path
) -> tuple[int, dict[str, Any], str]:
    kept = folder / "password"
    kept.touch(mode=0o600)
    kept.write_text(password + "\n")
    return await load_as(
        folder, "--bootstrap", world.kafka.bootstrap, "--security-protocol", "SASL_SSL",
        "--sasl-mechanism", "SCRAM-SHA-512", "--sasl-username", ADMIN,
        "--sasl-password-file", str(kept), "--ca-file", str(ca),
    )  # fmt: skip


async def load_by_certificate(
    world: World, folder: Path, certificate: tuple[Path, Path] | None
) -> tuple[int, dict[str, Any], str]:
    """On the port where the broker asks for one (ssl.client.auth=required)."""
    assert world.kafka.mutual is not None
    ours: tuple[str, ...] = ()
    if certificate is not None:
        ours = ("--client-cert", str(certificate[0]), "--client-key", str(certificate[1]))
    return await load_as(
        folder, "--bootstrap", world.kafka.mutual, "--security-protocol", "SSL",
        "--ca-file", str(world.ca), *ours,
    )  # fmt: skip


async def load_as(folder: Path, *access: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, report and words of a short run that measures Kafka alone."""
    report = folder / "report.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orderonce_cli", "load", "--measure", "kafka", *access,
        "--topic-prefix", f"load{uuid4().hex[:8]}.", "--make-topics",
        "--rate", "20", "--seconds", "1", "--report", str(report),
        env=dict(os.environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), ENDS_S)
    assert process.returncode is not None
    told = json.loads(report.read_text()) if report.exists() else {}
    return process.returncode, told, out.decode()


async def test_a_run_over_sasl_and_tls(world: World, tmp_path: Path) -> None:
    password = world.kafka.passwords[ADMIN]
    code, told, words = await load(world, tmp_path, password, world.ca)
    assert code == 0, words
    assert told["counts"]["claimed"] == 20
    assert password not in words + json.dumps(told)


async def test_a_wrong_password_is_a_sentence(world: World, tmp_path: Path) -> None:
    code, told, words = await load(world, tmp_path, WRONG, world.ca)
    assert (code, told) == (3, {})
    assert "SASL_SSL" in words
    assert WRONG not in words
    assert "Traceback" not in words


async def test_a_broker_that_somebody_else_signed_is_refused(world: World, tmp_path: Path) -> None:
    password = world.kafka.passwords[ADMIN]
    code, told, words = await load(world, tmp_path, password, world.stranger)
    assert (code, told) == (3, {})
    assert "does not answer as SASL_SSL" in words
    assert "Traceback" not in words


async def test_a_run_by_a_client_certificate(world: World, tmp_path: Path) -> None:
    """No name and no password: the broker knows us by our certificate, and we it by its own."""
    code, told, words = await load_by_certificate(world, tmp_path, world.certificate)
    assert code == 0, words
    assert told["counts"]["claimed"] == 20


@pytest.mark.parametrize("which", ["none", "a stranger's"])
async def test_without_a_certificate_of_the_brokers_authority_nothing_is_sent(
    world: World, tmp_path: Path, which: str
) -> None:
    certificate = None if which == "none" else world.foreign
    code, told, words = await load_by_certificate(world, tmp_path, certificate)
    assert (code, told) == (3, {})
    assert "does not answer as SSL" in words
    assert "Traceback" not in words


async def test_a_certificate_with_another_ones_key_is_wrong_usage(
    world: World, tmp_path: Path
) -> None:
    mixed = world.certificate[0], world.foreign[1]
    code, told, words = await load_by_certificate(world, tmp_path, mixed)
    assert (code, told) == (2, {})
    assert "The TLS files cannot be used" in words
    assert "Traceback" not in words
