"""The Kubernetes manifests, as kustomize puts them together: valid by Kubernetes' own schemas, and
true to the services: their settings, ports, images and rights.

Needs `kubectl` or `kustomize` on the path; no cluster and no network.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from orderonce_api.settings import OrderApiSettings
from orderonce_cli.stack.layout import CHECKOUT
from orderonce_executor.settings import ExecutorSettings
from orderonce_ledger.settings import LedgerSettings
from orderonce_paper.settings import _parser as paper_parser
from orderonce_shared.contracts.topics import PARTITIONS
from orderonce_shared.runtime.kafka import TopicSettings
from orderonce_shared.runtime.migrate import MigrateSettings
from orderonce_shared.runtime.settings import ServiceSettings
from pydantic import SecretStr

Json = dict[str, Any]

FOLDER = CHECKOUT / "deploy" / "kubernetes"
OVERLAYS = ("infrastructure", "jobs", "services")
REQUIRED = "ORDERONCE_REQUIRE_KUSTOMIZE"  # where it is 1 a missing kustomize is a failure
NOT_KUBERNETES = ("kafka.strimzi.io/", "postgresql.cnpg.io/")  # their operators check them
SETTINGS: dict[str, type[ServiceSettings]] = {
    "order-api": OrderApiSettings,
    "executor": ExecutorSettings,
    "ledger": LedgerSettings,
    "topics": TopicSettings,
    "migrate": MigrateSettings,
}
# Who makes each Secret: a command of the page, or an operator's resource.
FROM_PAGE = re.compile(r"create secret (?:generic|docker-registry) ([a-z-]+)")


@cache
def build(overlay: str) -> list[Json]:
    """All resources of an overlay of the example."""
    folder = FOLDER / "overlays" / "example" / overlay
    if (kustomize := shutil.which("kustomize")) is not None:
        command = [kustomize, "build", str(folder)]
    elif (kubectl := shutil.which("kubectl")) is not None:
        command = [kubectl, "kustomize", str(folder)]
    elif os.environ.get(REQUIRED) == "1":
        pytest.fail("neither kustomize nor kubectl is on the path")
    else:
        pytest.skip("neither kustomize nor kubectl is on the path")
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


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_resource_fits_kubernetes_own_schema(overlay: str) -> None:
    checked = 0
    for one in build(overlay):
        if not one["apiVersion"].startswith(NOT_KUBERNETES):
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
            checked += 1
    assert checked > 0


def test_every_resource_is_in_the_namespace() -> None:
    spaces = {
        one["metadata"].get("namespace") for one in everything() if one["kind"] != "Namespace"
    }
    assert spaces == {"orderonce"}


def test_every_pod_runs_as_nobody_with_nothing() -> None:
    for name, _, pod in pods():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] == image_user(), name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for one in containers(pod):
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, (name, one["name"])


def image_user() -> int:
    found = re.search(r"^USER (\d+):", (CHECKOUT / "deploy" / "Dockerfile").read_text(), re.M)
    assert found
    return int(found[1])


def test_every_container_says_what_it_needs() -> None:
    for name, _, pod in pods():
        for one in containers(pod):
            resources = one["resources"]
            assert set(resources["requests"]) == {"cpu", "memory"}, name
            assert "memory" in resources["limits"], name
            assert "cpu" not in resources["limits"], f"{name}: a throttled process misses leases"
        volumes = pod["volumes"]
        assert all(v["emptyDir"]["sizeLimit"] for v in volumes if "emptyDir" in v), name


def test_every_service_is_probed_and_given_its_time_to_stop() -> None:
    for one in of_kind("Deployment"):
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            port = container[probe]["httpGet"]["port"]
            assert port in {p["name"] for p in container["ports"]}, (container["name"], probe)
        if container["name"] != "paper-exchange":
            paths = [
                container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")
            ]
            assert paths == ["/livez", "/readyz"]
        assert pod["terminationGracePeriodSeconds"] >= 30


def test_images_are_those_of_the_dockerfile_and_pinned() -> None:
    targets = set(
        re.findall(
            r"^FROM base AS ([\w-]+)", (CHECKOUT / "deploy" / "Dockerfile").read_text(), re.M
        )
    )
    for name, _, pod in pods():
        for one in containers(pod):
            image = one["image"]
            assert (
                found := re.fullmatch(r"registry\.example/orderonce/([\w-]+):([\d.]+)", image)
            ), image
            assert found[1] in targets, name


@pytest.mark.parametrize("service", SETTINGS)
def test_every_variable_is_a_setting(service: str) -> None:
    """A name that no service reads is a setting that does not hold."""
    settings = SETTINGS[service]
    prefix = str(settings.model_config.get("env_prefix", ""))
    known = {f"{prefix}{name}".upper(): field for name, field in settings.model_fields.items()}
    given = environment(container_of(service))
    for name, value in given.items():
        setting = name if name in known else name.removesuffix("_FILE")
        assert setting in known, f"{service} has no setting {name}"
        if known[setting].annotation is SecretStr:
            assert name.endswith("_FILE"), f"{name}: a secret in the environment"
        assert "password" not in value.lower() or name.endswith("_FILE")
    needed = {name for name, field in known.items() if field.is_required()}
    missing = {name for name in needed if name not in given and f"{name}_FILE" not in given}
    assert missing == set()


def test_the_settings_of_the_example_are_coherent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each service reads its own part of the manifest without a complaint, files and all."""
    for service, settings in SETTINGS.items():
        for name, value in environment(container_of(service)).items():
            monkeypatch.setenv(name, str(stand_in(tmp_path, name, value)))
        read = settings()
        if service != "migrate":
            assert getattr(read, "kafka_security_protocol") == "SASL_SSL"  # noqa: B009


def stand_in(folder: Path, name: str, value: str) -> str | Path:
    """A file as it will be mounted, in the place of a path."""
    if not name.endswith("_FILE"):
        return value
    path = folder / name
    authority = Path("/etc/ssl/certs/ca-certificates.crt")
    if name.endswith("CA_FILE"):
        return authority
    path.write_text(
        f"postgresql://x:y@db/orderonce?sslmode=verify-full&sslrootcert={authority}"
        if "DATABASE_URL" in name
        else "x"
    )
    return path


def test_the_paper_exchange_is_given_settings_that_it_has() -> None:
    known = {f"PAPER_{action.dest.upper()}" for action in paper_parser({})._actions}
    assert set(environment(container_of("paper-exchange"))) <= known


def container_of(service: str) -> Json:
    (found,) = [pod["containers"][0] for name, _, pod in pods() if name == service]
    container: Json = found
    return container


def test_ports_are_those_of_the_settings() -> None:
    for service in ("order-api", "executor", "ledger"):
        fields = SETTINGS[service].model_fields
        expected = {fields[name].default for name in ("port", "admin_port") if name in fields}
        container = container_of(service)
        assert {port["containerPort"] for port in container["ports"]} == expected
        admin = next(p for p in container["ports"] if p["name"] == "admin")
        assert admin["containerPort"] == fields["admin_port"].default


def test_every_mounted_path_is_used_and_every_used_path_is_mounted() -> None:
    for name, _, pod in pods():
        for container in containers(pod):
            mounted = [one["mountPath"] for one in container["volumeMounts"]]
            told = [
                *(v for n, v in environment(container).items() if v.startswith(("/run/", "/var/"))),
                *(word for word in container.get("command", []) if word.startswith("/run/")),
            ]
            for path in told:
                assert any(path == at or path.startswith(at + "/") for at in mounted), (name, path)
                assert path in files_of(pod) or not path.startswith("/run/orderonce/"), (name, path)


def files_of(pod: Json) -> set[str]:
    return {
        f"/run/orderonce/{item['path']}"
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }


def test_keys_of_a_venue_are_in_a_file_of_the_services_own() -> None:
    """A Secret's files are readable for the pod's group, which the services refuse to take."""
    for service in ("executor", "ledger"):
        (pod,) = [pod for name, _, pod in pods() if name == service]
        path = environment(container_of(service))[f"{service.upper()}_CREDENTIALS"]
        (copy,) = pod["initContainers"]
        assert copy["command"] == ["install", "-m", "0600", "/run/orderonce/credentials.json", path]
        volume = next(v for v in pod["volumes"] if v["name"] == "credentials")
        assert volume["emptyDir"]["medium"] == "Memory"


def test_every_secret_is_made_by_somebody() -> None:
    page = (FOLDER / "README.md").read_text()
    prefix = next(
        one["spec"]["entityOperator"]["userOperator"]["secretPrefix"] for one in of_kind("Kafka")
    )
    made = {
        *FROM_PAGE.findall(page),
        *(prefix + name for name in named("KafkaUser")),
        *(f"{name}-cluster-ca-cert" for name in named("Kafka")),
        *(f"{one['metadata']['name']}-ca" for one in of_kind("Cluster")),
    }
    used = {
        source["secret"]["name"]
        for _, _, pod in pods()
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    } | {one["spec"]["bootstrap"]["initdb"]["secret"]["name"] for one in of_kind("Cluster")}
    assert used <= made
    keys = {
        (source["secret"]["name"], item["key"])
        for _, _, pod in pods()
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }
    for secret, key in keys:
        if secret in FROM_PAGE.findall(page):
            assert f"--from-file={key}" in page, f"{secret} has no {key} on the page"


def test_no_secret_is_in_the_tree() -> None:
    assert of_kind("Secret") == []
    for path in FOLDER.rglob("*.yaml"):
        assert not re.search(r"(?i)^\s*(password|stringData|data):\s*\S", path.read_text(), re.M), (
            path
        )


def test_only_the_keepers_of_a_secret_may_touch_it_and_no_service_may() -> None:
    for role in of_kind("Role"):
        (rule,) = role["rules"]
        assert rule["resources"] == ["secrets"]
        assert len(rule["resourceNames"]) == 1
        assert set(rule["verbs"]) <= {"get", "update", "patch"}
    for binding in of_kind("RoleBinding"):
        assert binding["roleRef"]["name"] in named("Role")
        assert {subject["kind"] for subject in binding["subjects"]} == {"Group"}
    for name, _, pod in pods():
        assert pod["serviceAccountName"] in named("ServiceAccount"), name


def test_selectors_and_targets_meet_something() -> None:
    labels = [found for _, found, _ in pods()]
    for one in of_kind("Deployment"):
        assert matches(one["spec"]["selector"], one["spec"]["template"]["metadata"]["labels"])
    for one in of_kind("Service"):
        assert any(matches({"matchLabels": one["spec"]["selector"]}, found) for found in labels)
        ports = {
            p["name"]
            for p in container_of(one["spec"]["selector"]["app.kubernetes.io/name"])["ports"]
        }
        assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports
    for one in of_kind("PodDisruptionBudget"):
        assert any(matches(one["spec"]["selector"], found) for found in labels)
    for one in of_kind("HorizontalPodAutoscaler"):
        assert one["spec"]["scaleTargetRef"]["name"] in named("Deployment")
        (target,) = [
            d for d in of_kind("Deployment") if d["metadata"]["name"] == one["metadata"]["name"]
        ]
        assert "replicas" not in target["spec"], "an apply would undo what the autoscaler did"
    for one in of_kind("NetworkPolicy"):
        assert any(matches(one["spec"]["podSelector"], found) for found in labels), one["metadata"]


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


def test_nobody_is_heard_but_by_rule_and_nobody_is_open_to_all() -> None:
    for name, labels, _ in pods():
        assert policies_of(labels, "Ingress"), f"{name} is open to everybody"
        assert policies_of(labels, "Egress"), f"{name} may go anywhere"
        for spec in policies_of(labels, "Ingress"):
            for rule in spec.get("ingress", []):
                assert rule["from"], name
                assert rule["ports"], name


def test_only_executor_and_ledger_may_reach_the_internet() -> None:
    outside = {
        name
        for name, labels, _ in pods()
        for spec in policies_of(labels, "Egress")
        for rule in spec.get("egress", [])
        if any("ipBlock" in to for to in rule["to"])
    }
    assert outside == {"executor", "ledger"}


def test_every_port_that_is_listened_on_is_reached_by_a_rule() -> None:
    for service in ("order-api", "executor", "ledger"):
        (labels,) = [labels for name, labels, _ in pods() if name == service]
        open_ports = {
            port["port"]
            for spec in policies_of(labels, "Ingress")
            for rule in spec.get("ingress", [])
            for port in rule["ports"]
        }
        assert {port["containerPort"] for port in container_of(service)["ports"]} <= open_ports


def test_kafka_keeps_each_record_twice_before_it_is_written() -> None:
    (cluster,) = of_kind("Kafka")
    config = cluster["spec"]["kafka"]["config"]
    (pool,) = of_kind("KafkaNodePool")
    assert pool["spec"]["replicas"] == 3
    assert config["min.insync.replicas"] == 2
    assert config["unclean.leader.election.enable"] is False
    assert config["auto.create.topics.enable"] is False
    assert [one["tls"] for one in cluster["spec"]["kafka"]["listeners"]] == [True]
    assert environment(container_of("topics"))["KAFKA_REPLICATION"] == "3"


def test_kafkas_users_are_those_that_the_services_name() -> None:
    users = {one["metadata"]["name"]: one["spec"] for one in of_kind("KafkaUser")}
    told = {
        value
        for service in SETTINGS
        for name, value in environment(container_of(service)).items()
        if name.endswith("KAFKA_USERNAME")
    }
    assert set(users) == told
    topics = {
        acl["resource"]["name"]
        for name, spec in users.items()
        if name != "topics"
        for acl in spec["authorization"]["acls"]
        if acl["resource"]["type"] == "topic"
    }
    assert topics == set(PARTITIONS)


def test_postgres_tells_nobody_of_a_commit_that_one_machine_has_alone() -> None:
    (cluster,) = of_kind("Cluster")
    synchronous = cluster["spec"]["postgresql"]["synchronous"]
    assert synchronous == {"method": "any", "number": 1, "dataDurability": "required"}
    assert cluster["spec"]["instances"] == 3
