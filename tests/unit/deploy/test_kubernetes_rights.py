"""The Kubernetes manifests: who may read which secret, who may talk to whom, what is kept twice."""

import re
from ipaddress import ip_network

from orderonce_shared.contracts.topics import PARTITIONS

from tests.unit.deploy.manifests import (
    FOLDER,
    SETTINGS,
    container_of,
    environment,
    named,
    of_kind,
    pods,
    policies_of,
)

# Who makes each Secret: a command of the page, or an operator's resource.
FROM_PAGE = re.compile(r"create secret (?:generic|docker-registry) ([a-z-]+)")


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


def test_nobody_is_heard_but_by_rule_and_nobody_is_open_to_all() -> None:
    for name, labels, _ in pods():
        assert policies_of(labels, "Ingress"), f"{name} is open to everybody"
        assert policies_of(labels, "Egress"), f"{name} may go anywhere"
        for spec in policies_of(labels, "Ingress"):
            for rule in spec.get("ingress", []):
                assert rule["from"], name
                assert rule["ports"], name


def is_of_the_node(cidr: str) -> bool:
    """One link-local address: it never leaves the machine."""
    network = ip_network(cidr)
    return network.is_link_local and network.num_addresses == 1


def test_only_executor_and_ledger_may_reach_the_internet() -> None:
    outside = {
        name
        for name, labels, _ in pods()
        for spec in policies_of(labels, "Egress")
        for rule in spec.get("egress", [])
        if any("ipBlock" in to and not is_of_the_node(to["ipBlock"]["cidr"]) for to in rule["to"])
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
