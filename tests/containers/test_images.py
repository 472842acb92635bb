"""The images as they are handed out: what they run as, what they lack, and that no secret of a
checkout gets into a layer.
"""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest

from tests.containers.images import ROOT, SOURCES, TARGETS
from tests.stacks import engine

pytestmark = pytest.mark.timeout(900)

MODULES = {
    "order-api": "orderonce_api.main", "executor": "orderonce_executor.main",
    "ledger": "orderonce_ledger.main", "paper-exchange": "orderonce_paper.main",
    "tools": "orderonce_cli.main",
}  # fmt: skip
COMPILERS = "cc gcc c99 g++ ld make pip pip3"
STOP_LIMIT_S = 20
# Where secrets lie about in a checkout, or in a careless home of it.
PLANTED = (
    ".env", ".data/secrets/pepper", ".data/admin.key", "deploy/credentials.json", "demo.key",
    "services/order-api/.env", "services/executor/orderonce_executor/trade.key", "cli/tls.pem",
    "shared/orderonce_shared/.pypirc", ".git/config",
)  # fmt: skip


def run_in(image: str, script: str, *flags: str) -> str:
    """What a shell in a container of that image prints, under the hardening of the compose file."""
    ran = subprocess.run(
        ["docker", "run", "--rm", "--label", f"{engine.OWNER}={engine.owner()}", "--read-only",
         "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
         "--network", "none", *flags, "--entrypoint", "sh", image, "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def config_of(image: str) -> dict[str, Any]:
    told: dict[str, Any] = engine.client().images.get(image).attrs["Config"]
    return told


@pytest.mark.parametrize("target", TARGETS)
def test_it_runs_as_nobody_on_a_read_only_root_and_can_build_nothing(
    images: dict[str, str], target: str
) -> None:
    image = images[target]
    assert config_of(image)["User"] == "10001:10001"
    told = run_in(
        image,
        f"id -u; for name in {COMPILERS}; do command -v $name || true; done; "
        # compiled when the image was built: a read-only root could not keep it later
        f"test -s $(python -c 'import {MODULES[target]} as m; print(m.__cached__)'); "
        "touch /opt/house/x 2>/dev/null || echo refused",
    )
    assert told.split() == ["10001", "refused"]


def test_any_other_user_will_do_too(images: dict[str, str]) -> None:
    """Some platforms choose the number: nothing of an image belongs to 10001 alone."""
    script = f"python -c 'import {MODULES['executor']}, getpass; print(getpass.getuser())'"
    assert run_in(images["executor"], script, "--user", "12345:12345") == "orderonce"


@pytest.mark.parametrize("target", TARGETS)
def test_health_labels_and_settings(images: dict[str, str], target: str) -> None:
    config = config_of(images[target])
    test = config["Healthcheck"]["Test"]
    assert test == ["NONE"] if target == "tools" else test[:4] == ["CMD", "python", "-I", "-S"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert {"title", "description", "licenses", "version", "revision", "source"} <= set(labels)
    assert labels["licenses"] == "Apache-2.0"
    assert not [word for word in config["Env"] if "PASSWORD" in word or "PEPPER" in word]


def test_the_targets_share_their_layers(images: dict[str, str]) -> None:
    """Five images take the room of one, and are never of two versions."""
    layers = [engine.client().images.get(tag).attrs["RootFS"]["Layers"] for tag in images.values()]
    shared = set(layers[0]).intersection(*layers)
    assert all(len(set(each) - shared) <= 1 for each in layers)


SLOW = "import time; print('importing', flush=True); time.sleep(60)"


@pytest.mark.parametrize(
    ("command", "said", "code"),
    [
        (["python", "/opt/run/run.py", "slow"], b"importing", 143),
        (["python", "/opt/run/run.py", "orderonce_paper"], b"event", 0),
    ],
)
def test_process_1_hears_a_sigterm_at_any_time(
    images: dict[str, str], tmp_path: Path, command: list[str], said: bytes, code: int
) -> None:
    """The kernel gives process 1 no default action: without a handler the signal is lost, and
    `docker stop` kills after its patience.
    """
    (tmp_path / "slow.py").write_text(SLOW)
    tmp_path.chmod(0o755)
    container = engine.client().containers.run(
        images["paper-exchange"], command[1:], entrypoint=command[0], detach=True, read_only=True,
        labels=engine.labels(), environment={"PYTHONPATH": "/slow"},
        volumes={str(tmp_path): {"bind": "/slow", "mode": "ro"}},
    )  # fmt: skip
    next(line for line in container.logs(stream=True, follow=True) if said in line)
    container.stop(timeout=STOP_LIMIT_S)
    container.reload()
    ended = container.attrs["State"]["ExitCode"]
    container.remove(v=True)
    assert ended == code


@pytest.fixture
def planted(images: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The images of a checkout with a secret in every place where one may lie."""
    secret, version = f"planted-{uuid4().hex}", f"planted-{uuid4().hex[:8]}"
    for name in SOURCES:
        source, goal = ROOT / name, tmp_path / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, goal, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, goal)
    for name in PLANTED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(secret)
    env = {**os.environ, "ORDERONCE_PEPPER": secret, "ORDER_API_PEPPER": secret}
    built = subprocess.run(
        ["deploy/images.sh", version], cwd=tmp_path, env=env, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    made = {target: f"orderonce/{target}:{version}" for target in TARGETS}
    try:
        assert built.returncode == 0, built.stderr[-2000:]
        yield secret, made
    finally:
        for tag in made.values():
            try:
                engine.client().images.remove(tag)
            except docker.errors.ImageNotFound:
                continue


def test_no_layer_holds_a_planted_secret(planted: tuple[str, dict[str, str]]) -> None:
    secret, made = planted
    needle, known = secret.encode(), b"The composition root: everything is made and wired"
    saved = subprocess.run(["docker", "save", *made.values()], check=True, capture_output=True)
    names = 0
    for content in _files_of(saved.stdout):
        assert needle not in content
        names += known in content
    assert names, "the scan found nothing of ours: it does not read layers"
    for tag in made.values():
        history = ["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", tag]
        told = subprocess.run(history, check=True, capture_output=True).stdout
        assert needle not in told + str(engine.client().images.get(tag).attrs).encode()


def _files_of(saved: bytes) -> Iterator[bytes]:
    """The configuration and every layer of saved images, each once, unpacked."""
    with tarfile.open(fileobj=io.BytesIO(saved)) as outer:
        for member in outer:
            part = outer.extractfile(member) if member.isfile() else None
            if part is None:
                continue
            content = part.read()
            yield content
            if content[:2] == b"\x1f\x8b":  # newer engines compress
                with tarfile.open(fileobj=io.BytesIO(content)) as layer:
                    for inner in layer:
                        found = layer.extractfile(inner) if inner.isfile() else None
                        if found is not None:
                            yield found.read()
