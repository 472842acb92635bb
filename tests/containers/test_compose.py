"""docker-compose.yml as it is, brought up for real: orders through its published ports, any order
of start, a killed executor, the cluster; and that no secret can be read off it.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.containers.composed import BASE, CLUSTER, Project, project
from tests.servers import wait_until

pytestmark = pytest.mark.timeout(1200)

READY_LIMIT_S = 240.0
FILL_LIMIT_S = 90.0
LATE_S = 30.0  # how much later than everybody else Postgres comes
PORTS = {"order-api": 8081, "executor": 8083, "ledger": 8084}
JOBS = ("secrets", "migrate", "topics", "credentials", "keys")
ORDER = {
    "account": "paper-1", "symbol": "BTC/USDT", "side": "buy", "type": "market",
    "quantity": "0.001",
}  # fmt: skip


def place(at: Project, client: httpx.Client, key: str) -> str:
    """A bot's blind retry; gives the id of the order."""
    status, body = 0, ""

    def accepted() -> bool:
        nonlocal status, body
        try:
            reply = client.post(f"{at.api}/v1/orders", json=ORDER, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            return False
        status, body = reply.status_code, reply.text
        assert status == 202 or status >= 500 or status in (409, 429), body
        return status == 202

    wait_until(accepted, FILL_LIMIT_S, f"{key} was not accepted")
    return str(json.loads(body)["order_id"])


def filled(at: Project, client: httpx.Client, key: str) -> bool:
    reply = client.get(f"{at.api}/v1/orders/by-key/{key}")
    assert reply.status_code >= 500 or reply.json()["status"] in (
        "accepted", "sending", "unknown", "filled",
    ), reply.text  # fmt: skip
    return reply.status_code == 200 and reply.json()["status"] == "filled"


def booked(at: Project, client: httpx.Client, order_id: str) -> bool:
    reply = client.get(f"{at.ledger}/v1/fills", params={"order_id": order_id})
    return reply.status_code == 200 and len(reply.json()["fills"]) > 0


def is_ready(at: Project, service: str, port: int) -> bool:
    return all(at.ready(service, port))


@pytest.fixture(scope="module")
def version(images: dict[str, str]) -> str:
    return images["tools"].rpartition(":")[2]


@pytest.fixture(scope="module")
def stack(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The default stack, started as `make compose-up` does."""
    with project(version, tmp_path_factory.mktemp("compose")) as made:
        made.script("up")
        yield made


def test_a_killed_executor_costs_no_order(stack: Project) -> None:
    with stack.client() as client:
        keys = [f"compose-{uuid4()}" for _ in range(6)]
        placed = [place(stack, client, key) for key in keys[:3]]
        victim = stack.containers("executor")[0]
        subprocess.run(["docker", "kill", victim], check=True, capture_output=True)
        placed += [place(stack, client, key) for key in keys[3:]]
        assert len(set(placed)) == len(keys)
        for key, order_id in zip(keys, placed, strict=True):
            wait_until(partial(filled, stack, client, key), FILL_LIMIT_S, f"{key} not filled")
            wait_until(partial(booked, stack, client, order_id), FILL_LIMIT_S, f"{key} not booked")
        again = client.post(
            f"{stack.api}/v1/orders", json=ORDER, headers={"Idempotency-Key": keys[0]}
        )
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.json()["order_id"] == placed[0]
    subprocess.run(["docker", "start", victim], check=True, capture_output=True)


def test_the_demo_runs_from_its_image_and_leaves_the_stack_up(stack: Project) -> None:
    wait_until(lambda: all(stack.ready("executor", 8083)), READY_LIMIT_S, "an executor is not back")
    told = stack.script("demo")
    assert "is dead" in told
    assert "0 open breaks" in told
    assert stack.ready("order-api", 8081) == [True]


def test_every_container_is_hardened(stack: Project) -> None:
    for one in stack.inspected("postgres", "kafka", "paper-exchange", *PORTS, *JOBS):
        name, host = one["Name"], one["HostConfig"]
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert host["ReadonlyRootfs"] or "kafka" in name  # its image writes its settings there
        assert one["Config"]["User"] not in ("", "0", "root") or "secrets" in name, name
        for bindings in (host["PortBindings"] or {}).values():
            assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"], name


def test_no_secret_can_be_read_off_the_stack(stack: Project) -> None:
    """Each generated secret is looked for in what `inspect` tells and in every log."""
    script = "for file in $(find /secrets -type f); do cat $file; echo; done"
    volumes = stack.inspected("secrets")[0]["Mounts"]
    mounts = [flag for v in volumes for flag in ("-v", f"{v['Name']}:{v['Destination']}:ro")]
    image = stack.inspected("secrets")[0]["Config"]["Image"]
    shell = ["--entrypoint", "sh", image, "-c", script]
    told = subprocess.run(
        ["docker", "run", "--rm", "--user", "0", *mounts, *shell],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    words = {
        word
        for line in told.replace('"', " ").replace(":", " ").replace("@", " ").split()
        for word in [line.strip("/,{}")]
        if len(word) >= 40 and "/" not in word
    }
    assert len(words) > 20, "the secrets were not found: nothing would be looked for"
    everybody = ("postgres", "kafka", "paper-exchange", *PORTS, *JOBS)
    seen = json.dumps(stack.inspected(*everybody)) + stack.compose("logs", "--no-color")
    assert [word[:6] for word in words if word in seen] == []


def test_each_service_has_only_its_own_secrets(stack: Project) -> None:
    for service in ("order-api", "executor", "ledger"):
        for one in stack.inspected(service):
            sources = {mount["Name"].partition("_")[2] for mount in one["Mounts"]}
            assert sources == {f"secrets-{service}"}


def test_postgres_may_come_30_s_late(version: str, tmp_path: Path) -> None:
    """Everybody waits, says so on /readyz, and needs no restart."""
    with project(version, tmp_path) as late:
        late.compose("up", "--detach", "secrets", "credentials")
        wait_until(
            lambda: late.inspected("credentials")[0]["State"]["Status"] == "exited",
            READY_LIMIT_S, "the credentials were not made",
        )  # fmt: skip
        late.compose("up", "--detach", "--no-deps", "kafka", *PORTS)
        until = time.monotonic() + LATE_S
        wait_until(lambda: time.monotonic() > until, LATE_S + 10, "the clock stands still")
        for service, port in PORTS.items():
            assert not any(late.ready(service, port)), f"{service} is ready without Postgres"
        late.script("up")
        for service, port in PORTS.items():
            wait_until(partial(is_ready, late, service, port), READY_LIMIT_S, f"{service} waits")
        for one in late.inspected(*PORTS):
            assert one["RestartCount"] == 0, one["Name"]
            started = one["State"]["StartedAt"]
            assert one["Created"][:16] <= started, "it was made anew"
        with late.client() as client:
            key = f"late-{uuid4()}"
            order_id = place(late, client, key)
            wait_until(lambda: booked(late, client, order_id), FILL_LIMIT_S, "not booked")


def test_the_cluster_copies_everything_before_it_counts(version: str, tmp_path: Path) -> None:
    with project(version, tmp_path, CLUSTER) as cluster:
        cluster.env["CLUSTER"] = "1"
        cluster.script("up")
        ask = ("exec", "-T", "postgres", "psql", "-U", "orderonce", "-At", "-c")
        assert "postgres-standby" in cluster.compose(*ask, "SHOW synchronous_standby_names")
        assert cluster.compose(
            *ask, "SELECT application_name, sync_state FROM pg_stat_replication"
        ).split() == ["postgres-standby|quorum"]
        topic = cluster.compose(
            "exec", "-T", "kafka", "/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server",
            "kafka:19092", "--describe", "--topic", "orders.commands",
        )  # fmt: skip
        assert "ReplicationFactor: 3" in topic
        assert "min.insync.replicas=2" in topic
        for one in cluster.inspected(*PORTS, "postgres", "postgres-standby", "pair"):
            words = [name for name, _, value in (e.partition("=") for e in one["Config"]["Env"])]
            named = [w for w in words if ("PASSWORD" in w or "PEPPER" in w or "_URL" in w)]
            assert all(w.endswith(("_FILE", "_URLS")) for w in named), named
        with cluster.client() as client:
            key = f"cluster-{uuid4()}"
            order_id = place(cluster, client, key)
            wait_until(lambda: filled(cluster, client, key), FILL_LIMIT_S, "not filled")
            wait_until(lambda: booked(cluster, client, order_id), FILL_LIMIT_S, "not booked")


@pytest.mark.parametrize("files", [(BASE,), (BASE, CLUSTER)])
def test_the_files_are_valid_with_every_profile(files: tuple[str, ...]) -> None:
    told = json.loads(Project(files, "dev").compose("--profile", "*", "config", "--format", "json"))
    assert {"prometheus", "grafana", "cli"} <= set(told["services"])
    for name, service in told["services"].items():
        assert "container_name" not in service, name
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                assert Path(mount["source"]).exists(), mount["source"]
