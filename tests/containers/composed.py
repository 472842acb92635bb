"""One project of docker compose as a test's own: its name, its ports, its volumes, and its end."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.containers.images import ROOT
from tests.servers import pick_port
from tests.stacks import engine

BASE, CLUSTER = "docker-compose.yml", "docker-compose.cluster.yml"
PORTS = (
    "API", "LEDGER", "PAPER", "PAPER_CONTROL", "KAFKA", "KAFKA_2", "KAFKA_3", "PROMETHEUS",
    "GRAFANA",
)  # fmt: skip
COMMAND_LIMIT_S = 600.0
REQUEST_LIMIT_S = 20.0
KEYS = "/run/orderonce/keys"
Json = dict[str, Any]


class Project:
    """Runs docker compose on the unchanged files."""

    def __init__(self, files: tuple[str, ...], version: str) -> None:
        self.name = f"oo-{uuid4().hex[:10]}"
        self.files = files
        self.ports = {name: pick_port() for name in PORTS}
        self.env = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.name,
            "ORDERONCE_VERSION": version,
            **{f"ORDERONCE_{name}_PORT": str(port) for name, port in self.ports.items()},
        }

    def compose(self, *arguments: str, check: bool = True) -> str:
        flags = [flag for file in self.files for flag in ("-f", file)]
        return self._run(["docker", "compose", *flags, *arguments], check)

    def script(self, *arguments: str) -> str:
        """deploy/stack.sh, which the make targets call."""
        return self._run(["deploy/stack.sh", *arguments], check=True)

    def _run(self, command: list[str], check: bool) -> str:
        ran = subprocess.run(
            command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False,
            timeout=COMMAND_LIMIT_S,
        )  # fmt: skip
        assert ran.returncode == 0 or not check, f"{command}\n{ran.stdout}\n{ran.stderr}"[-6000:]
        return ran.stdout

    def mark(self, folder: Path) -> None:
        """Label everything with its owner, so that what a killed session leaves is removed too."""
        told: Json = json.loads(self.compose("--profile", "*", "config", "--format", "json"))
        labels = {"labels": engine.labels()}
        marked = {
            kind: dict.fromkeys(told[kind], labels) for kind in ("services", "networks", "volumes")
        }
        path = folder / "labels.json"
        path.write_text(json.dumps(marked))
        self.files = (*self.files, str(path))
        self.env["COMPOSE_FILE"] = os.pathsep.join(self.files)  # for deploy/stack.sh

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--all", "--quiet", service).split()

    def inspected(self, *services: str) -> list[Json]:
        """What the engine tells of their containers."""
        ids = [one for service in services for one in self.containers(service)]
        told: list[Json] = json.loads(self._run(["docker", "inspect", *ids], check=True))
        return told

    def secret(self, name: str) -> str:
        """A file of the volume of keys, as a user reads it."""
        argv = ("run", "--no-deps", "--rm", "-T", "--entrypoint", "cat", "cli", f"{KEYS}/{name}")
        return self.compose(*argv).strip()

    def ready(self, service: str, port: int) -> list[bool]:
        """Whether each container of it can do its work, asked inside."""
        ask = ["python", "-I", "-S", "/opt/run/healthcheck.py", str(port), "/readyz"]
        return [
            subprocess.run(["docker", "exec", one, *ask], capture_output=True).returncode == 0
            for one in self.containers(service)
        ]

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.secret('demo.key')}"}
        return httpx.Client(headers=headers, timeout=REQUEST_LIMIT_S, trust_env=False)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['API']}"

    @property
    def ledger(self) -> str:
        return f"http://127.0.0.1:{self.ports['LEDGER']}"


@contextmanager
def project(version: str, folder: Path, *more: str) -> Iterator[Project]:
    """A project that is gone when this ends, with its volumes, whatever happened."""
    made = Project((BASE, *more), version)
    made.mark(folder)
    try:
        yield made
    finally:
        made.compose("--profile", "*", "down", "-v", "--remove-orphans", "-t", "5", check=False)
