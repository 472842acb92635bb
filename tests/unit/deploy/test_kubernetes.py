"""The Kubernetes manifests, as kustomize puts them together: valid by Kubernetes' own schemas, and
true to the services: their settings, ports, images and rights.

Needs `kubectl` or `kustomize` on the path; no cluster and no network.
"""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from orderonce_api import main as order_api
from orderonce_cli.stack.layout import CHECKOUT
from orderonce_paper.settings import _parser as paper_parser
from orderonce_shared.runtime.process import STOP_LIMIT_S, http_server
from pydantic import SecretStr

from tests.unit.deploy.manifests import (
    OVERLAYS,
    SETTINGS,
    build,
    container_of,
    containers,
    environment,
    everything,
    files_of,
    matches,
    named,
    of_kind,
    pods,
)

NOT_KUBERNETES = ("kafka.strimzi.io/", "postgresql.cnpg.io/")  # their operators check them


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
    labels += [  # of the pods that the operators make
        {"cnpg.io/cluster": one["metadata"]["name"]}
        for one in everything()
        if one["apiVersion"] == "postgresql.cnpg.io/v1" and one["kind"] == "Cluster"
    ]
    for one in of_kind("NetworkPolicy"):
        assert any(matches(one["spec"]["podSelector"], found) for found in labels), one["metadata"]


def policy(name: str) -> dict[str, Any]:
    (found,) = [one for one in of_kind("NetworkPolicy") if one["metadata"]["name"] == name]
    return dict(found["spec"])


def test_every_pod_of_ours_may_ask_for_names_wherever_they_are_served() -> None:
    """CoreDNS under a label of its own, and NodeLocal DNSCache, which is no pod to a policy."""
    for name in (SERVICES, "jobs"):
        (rule,) = [
            one for one in policy(name)["egress"] if {"protocol": "UDP", "port": 53} in one["ports"]
        ]
        assert {"protocol": "TCP", "port": 53} in rule["ports"]
        assert {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}
        } in rule["to"]
        assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in rule["to"]
        assert any("k8s-app" in str(one) for one in rule["to"])
    names = {
        name
        for name, labels, _ in pods()
        if any(matches(policy(one)["podSelector"], labels) for one in (SERVICES, "jobs"))
    }
    assert names == {"order-api", "executor", "ledger", "migrate", "topics"}


def test_only_those_that_use_kafka_and_postgres_reach_them() -> None:
    """By what the pods are given: a broker's address, a database's URL. Both ends say the same."""
    (kafka,) = of_kind("Kafka")
    (listener,) = kafka["spec"]["kafka"]["listeners"]
    (postgres,) = [r for r in policy("postgres")["ingress"] if r["ports"] == [POSTGRES_PORT]]
    peers = {
        "KAFKA_BOOTSTRAP": listener["networkPolicyPeers"],
        "DATABASE_URL_FILE": postgres["from"],
    }
    seen = dict.fromkeys(peers, 0)
    for name, labels, pod in pods():
        given = {variable for one in containers(pod) for variable in environment(one)}
        for ending, allowed in peers.items():
            uses = any(variable.endswith(ending) for variable in given)
            assert uses == any(matches(one["podSelector"], labels) for one in allowed), (
                name,
                ending,
            )
            seen[ending] += uses
    assert all(count >= 4 for count in seen.values()), seen
    for name in (SERVICES, "jobs"):
        _, to_kafka, to_postgres = policy(name)["egress"]
        assert to_kafka["ports"] == [{"protocol": "TCP", "port": listener["port"]}]
        assert to_postgres["ports"] == [POSTGRES_PORT]


SERVICES = "all-to-names-kafka-and-postgres"
POSTGRES_PORT = {"protocol": "TCP", "port": 5432}


def test_compose_and_the_manifests_grant_the_time_that_a_stop_takes() -> None:
    """Answers in flight, what they committed, the loops, the pool: killed sooner, a process leaves
    to others what it had promised."""
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]
    answers_s = http_server(None).config.timeout_graceful_shutdown
    assert answers_s is not None
    needed_s = answers_s + order_api.FLUSH_LIMIT_S + STOP_LIMIT_S + order_api.CLOSE_LIMIT_S
    for name, _, pod in pods():
        if name in ("order-api", "executor", "ledger"):
            granted = pod["terminationGracePeriodSeconds"]
            assert granted > needed_s, name
            (found,) = {v["stop_grace_period"] for k, v in compose.items() if k.startswith(name)}
            assert found == f"{granted}s"
