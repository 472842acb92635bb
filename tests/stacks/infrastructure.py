"""Kafka and Postgres in containers, as the published images run them.

Each publishes one port on 127.0.0.1 that stays the same when it is killed and made anew, and keeps
its data in a named volume. Other containers reach them by the names `kafka-1` and `postgres`.
"""

from typing import Any

from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer

from tests.stacks import engine

OWNER = "orderonce"  # of the cluster, and the database of the same name
KAFKA_PORT_INSIDE = 19092
POSTGRES_INSIDE = "postgres:5432"
SERVE = "docker-entrypoint.sh postgres -c max_connections=200"
# Run by the image when it makes the cluster: its own rules let no standby in from outside.
ALLOW_REPLICATION = (
    "echo 'echo host replication all all scram-sha-256 >>\"$PGDATA/pg_hba.conf\"'"
    " >/docker-entrypoint-initdb.d/replication.sh"
)
NO_HEALTHCHECK = {"test": ["NONE"]}  # tests ask by themselves, and processors are few


class Kafka(DockerContainer):
    """One node of `apache/kafka`, controller and broker, alone or one of several that keep three
    copies. The tests reach it at 127.0.0.1:port, containers by its name; transactions
    need the second to resolve in the container itself."""

    def __init__(self, node: int, nodes: int, port: int, data: str, door: str) -> None:
        super().__init__(engine.KAFKA)
        copies, least = (3, 2) if nodes >= 3 else (1, 1)
        name = kafka_name(node)
        voters = ",".join(f"{n}@{kafka_name(n)}:9093" for n in range(1, nodes + 1))
        self.with_envs(
            CLUSTER_ID="orderonce-tests-000001",
            KAFKA_NODE_ID=str(node),
            KAFKA_PROCESS_ROLES="broker,controller",
            KAFKA_LISTENERS="INSIDE://:19092,OUTSIDE://:9092,CONTROLLER://:9093",
            KAFKA_ADVERTISED_LISTENERS=f"INSIDE://{name}:19092,OUTSIDE://127.0.0.1:{port}",
            KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=(
                "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            KAFKA_INTER_BROKER_LISTENER_NAME="INSIDE",
            KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
            KAFKA_CONTROLLER_QUORUM_VOTERS=voters,
            KAFKA_LOG_DIRS="/var/lib/kafka/data",
            KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
            KAFKA_MIN_INSYNC_REPLICAS=str(least),
            KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=str(copies),
            KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS="4",
            KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR=str(copies),
            KAFKA_TRANSACTION_STATE_LOG_MIN_ISR=str(least),
            KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS="4",
            KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
            KAFKA_HEAP_OPTS="-Xmx512m",
            KAFKA_JVM_PERFORMANCE_OPTS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        )
        self.with_volume_mapping(data, "/var/lib/kafka/data", "rw")
        # Not by `hostname`: the engine would tell that name on every network, the door too, and a
        # container that was cut off the others would find a way round.
        publish(self, {9092: port}, door, extra_hosts={name: "127.0.0.1"})


def kafka_name(node: int) -> str:
    return f"kafka-{node}"


class Postgres(PostgresContainer):
    """PostgreSQL 18 with the image's defaults (durable), for the owner `orderonce`."""

    def __init__(self, port: int, password: str, data: str, door: str) -> None:
        super().__init__(
            engine.POSTGRES, username=OWNER, password=password, dbname=OWNER, driver=None
        )
        self.with_volume_mapping(data, "/var/lib/postgresql", "rw")
        self.with_command(["bash", "-c", f"{ALLOW_REPLICATION}; exec {SERVE}"])
        publish(self, {5432: port}, door)


class Standby(DockerContainer):
    """A copy of the Postgres of its site, made as it starts, that follows it as `standby`."""

    def __init__(self, port: int, password: str, data: str, door: str) -> None:
        super().__init__(engine.POSTGRES)
        self.with_env("PGPASSWORD", password)
        self.with_volume_mapping(data, "/var/lib/postgresql", "rw")
        source = f"host=postgres user={OWNER} application_name=standby connect_timeout=3"
        # A checkpoint at once: the usual one is spread over minutes.
        copy = f'pg_basebackup -D "$PGDATA" --checkpoint=fast -X stream -R --dbname="{source}"'
        # The network to the primary is joined a moment after the start.
        folder = 'install -d -o postgres -g postgres "$(dirname "$PGDATA")"'
        script = f'{folder}; until {copy}; do rm -rf "$PGDATA"/*; sleep 0.3; done; exec {SERVE}'
        self.with_command(["bash", "-c", script])
        publish(self, {5432: port}, door)


def publish(container: DockerContainer, ports: dict[int, int], door: str, **more: Any) -> None:
    """Ports inside -> on 127.0.0.1, through the network `door`; and what every container has."""
    container.ports = {f"{inside}/tcp": ("127.0.0.1", port) for inside, port in ports.items()}  # type: ignore[misc]
    container.with_kwargs(labels=engine.labels(), healthcheck=NO_HEALTHCHECK, network=door, **more)
