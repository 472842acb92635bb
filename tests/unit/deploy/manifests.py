"""The resources of the example, as kustomize puts them together, and small questions to them."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from orderonce_api.settings import OrderApiSettings
from orderonce_cli.stack.layout import CHECKOUT
from orderonce_executor.settings import ExecutorSettings
from orderonce_ledger.settings import LedgerSettings
from orderonce_shared.runtime.kafka import TopicSettings
from orderonce_shared.runtime.migrate import MigrateSettings
from orderonce_shared.runtime.settings import ServiceSettings

from tests.tools import tool

Json = dict[str, Any]

FOLDER = CHECKOUT / "deploy" / "kubernetes"
OVERLAYS = ("infrastructure", "jobs", "services")
SETTINGS: dict[str, type[ServiceSettings]] = {
    "order-api": OrderApiSettings,
    "executor": ExecutorSettings,
    "ledger": LedgerSettings,
    "topics": TopicSettings,
    "migrate": MigrateSettings,
}


@cache
def build(overlay: str) -> list[Json]:
    """All resources of an overlay of the example."""
    folder = FOLDER / "overlays" / "example" / overlay
    program = tool("kustomize", "kubectl")
    verb = "kustomize" if Path(program).name == "kubectl" else "build"
    command = [program, verb, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def everything() -> list[Json]:
    return [one for overlay in OVERLAYS for one in build(overlay)]


def of_kind(*kinds: str) -> list[Json]:
    return [one for one in everything() if one["kind"] in kinds]


def named(kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in of_kind(kind)}


def pods() -> Iterator[tuple[str, Json, Json]]:
    """(name of the workload, its labels on pods, the pod's spec)"""
    for one in of_kind("Deployment", "Job"):
        template = one["spec"]["template"]
        yield one["metadata"]["name"], template["metadata"]["labels"], template["spec"]


def containers(pod: Json) -> list[Json]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def environment(container: Json) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", [])}


def container_of(service: str) -> Json:
    (found,) = [pod["containers"][0] for name, _, pod in pods() if name == service]
    container: Json = found
    return container


def files_of(pod: Json) -> set[str]:
    return {
        f"/run/orderonce/{item['path']}"
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }


def matches(selector: Json, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items()
    among = selector.get("matchExpressions", [])
    return all(labels.get(k) == v for k, v in wanted) and all(
        labels.get(one["key"]) in one["values"] for one in among
    )


def policies_of(labels: dict[str, str], direction: str) -> list[Json]:
    return [
        one["spec"]
        for one in of_kind("NetworkPolicy")
        if direction in one["spec"]["policyTypes"] and matches(one["spec"]["podSelector"], labels)
    ]
