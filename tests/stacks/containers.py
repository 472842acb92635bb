"""A line in containers: the images as users run them, beside Kafka and Postgres in containers.

A site is one set of these with networks of its own, and carries one line at a time. Addresses
inside are names; from outside every port is on 127.0.0.1, and stays when its container restarts.
"""

import asyncio
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit, urlunsplit

import psycopg
from testcontainers.core.container import DockerContainer

from tests.servers import KAFKA_READY_S, kafka_answers, pick_port, wait_until
from tests.stacks import engine
from tests.stacks.box import Box, Networks, new_volume
from tests.stacks.infrastructure import (
    KAFKA_PORT_INSIDE,
    OWNER,
    POSTGRES_INSIDE,
    Kafka,
    Postgres,
    kafka_name,
    publish,
)
from tests.stacks.program import MODULES, TAIL_BYTES, Program, Running

BUS, DATA, VENUE = "bus", "data", "venue"  # the paths to Kafka, to Postgres, to the exchange
PATHS = {
    "order-api": (BUS, DATA), "executor": (BUS, DATA, VENUE), "ledger": (BUS, DATA, VENUE),
    "paper-exchange": (VENUE,),
}  # fmt: skip
SECRETS = "/run/secrets"
IMAGE_USER = 10001  # of the services' images


class Contained(Box, Running):
    """One service in a container; new settings make a new container, as on a cluster."""

    def __init__(self, program: Program, site: "Site", folder: Path) -> None:
        super().__init__(program.name, self._container, site.networks, PATHS[program.service])
        self.name = program.name
        self.ready_url = program.ready_url
        self.program = program
        self.image = site.images[program.service]
        self.folder = folder
        self._extra: Mapping[str, str] = {}
        self._files = {**program.files, **_as_files(program, folder)}

    @property
    def exit_code(self) -> int | None:
        if self._made is None or self.running:
            return None
        return self.status()[1]

    def start(self, extra: Mapping[str, str] | None = None) -> None:
        assert not self.running, f"{self.name} runs already"
        self.failing = bool(extra)
        self._extra = extra or {}
        self._keep_log()
        self.up()

    def _container(self, door: str) -> DockerContainer:
        program, uid, gid = self.program, *_user()
        made = DockerContainer(self.image)
        made.with_envs(**{**program.env, **self._extra})
        for name, path in self._files.items():
            made.with_env(name, f"{SECRETS}/{name}")
            os.chown(path, uid, gid)
            made.with_volume_mapping(path, f"{SECRETS}/{name}", "ro")
        for name, path in program.data.items():
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, uid, gid)
            made.with_env(name, f"/data/{name}")
            made.with_volume_mapping(path, f"/data/{name}", "rw")
        made.with_command(list(program.arguments))
        made.with_tmpfs_mount("/tmp")
        publish(
            made, {port: port for port in program.ports}, door, user=f"{uid}:{gid}", read_only=True,
            cap_drop=["ALL"], security_opt=["no-new-privileges"], stop_signal="SIGTERM",
        )  # fmt: skip
        return made

    def close(self) -> None:
        self._keep_log()
        self.remove()

    async def run(self, *arguments: str) -> str:
        command = ["python", "-m", MODULES[self.program.service], *arguments]
        told = await asyncio.to_thread(self.container.exec_run, command, demux=True)
        out, err = cast("tuple[bytes | None, bytes | None]", told.output)
        assert told.exit_code == 0, f"{arguments}: {(err or b'').decode(errors='replace')}"
        return (out or b"").decode()

    def tail(self) -> str:
        path = self._log_path
        kept = path.read_text(errors="replace") if path.exists() else ""
        return f"--- {path.name}\n{(kept + self.log())[-TAIL_BYTES:]}"

    @property
    def _log_path(self) -> Path:
        return self.folder / f"{self.name}.log"

    def _keep_log(self) -> None:
        """The next start makes a new container: what this one said is kept."""
        with self._log_path.open("a") as kept:
            kept.write(self.log())


def _user() -> tuple[int, int]:
    """Who runs the services: this user, whose files they share; never root."""
    return (os.getuid(), os.getgid()) if os.getuid() != 0 else (IMAGE_USER, IMAGE_USER)


def _as_files(program: Program, folder: Path) -> dict[str, Path]:
    """Each secret in a file of its own, named by the setting that says where it is."""
    made = {}
    for name, value in program.secrets.items():
        path = folder / f"{program.name}-{name.lower()}"
        path.touch(mode=0o600)
        path.write_text(value)
        made[f"{name}_FILE"] = path
    return made


class Site:
    """Kafka, Postgres and their networks; a Stack, whose lines' programs join them.

    `brokers`: one, or three that keep three copies of everything and need two to write.
    """

    listen = "0.0.0.0"

    def __init__(self, images: Mapping[str, str], brokers: int = 1) -> None:
        self.images = images
        self.networks = Networks(BUS, DATA, VENUE)
        self._volumes: list[str] = []
        self._kafka_ports = [pick_port() for _ in range(brokers)]
        self.kafkas = [
            Box(
                kafka_name(node), partial(Kafka, node, brokers, port, self.volume()),
                self.networks, (BUS,),
            )
            for node, port in enumerate(self._kafka_ports, 1)
        ]  # fmt: skip
        port, self.password = pick_port(), secrets.token_hex(16)
        self.postgres_url = self.url_outside(port)
        make = partial(Postgres, port, self.password, self.volume())
        self.postgres = Box("postgres", make, self.networks, (DATA,))

    def volume(self) -> str:
        self._volumes.append(new_volume())
        return self._volumes[-1]

    def url_outside(self, port: int) -> str:
        """How the tests reach a Postgres of this site, as its owner."""
        return f"postgresql://{OWNER}:{self.password}@127.0.0.1:{port}/{OWNER}"

    @property
    def kafka(self) -> Box:
        return self.kafkas[0]

    @property
    def bootstrap_outside(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self._kafka_ports)

    @property
    def servers(self) -> list[Box]:
        return [*self.kafkas, self.postgres]

    def up(self) -> None:
        """Start both servers and wait until they answer."""
        for server in self.servers:
            server.up()
        self.wait_ready()

    def mend(self) -> None:
        """Start whichever server a test left dead."""
        for server in self.servers:
            server.thaw()
            if not server.running:
                server.up()
        self.wait_ready()

    def wait_ready(self) -> None:
        for kafka, port in zip(self.kafkas, self._kafka_ports, strict=True):
            wait_until(partial(kafka_answers, port), KAFKA_READY_S, f"{kafka.alias} is ready")
        wait_until(self._postgres_answers, KAFKA_READY_S, "Postgres in its container is ready")

    def _postgres_answers(self) -> bool:
        try:
            psycopg.connect(self.postgres_url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def remove(self) -> None:
        """Everything of it; the lines on it are gone before."""
        for server in self.servers:
            server.remove()
        self.networks.remove()
        for name in self._volumes:
            engine.client().volumes.get(name).remove()

    # as a Stack

    def address(self, name: str, port: int) -> str:
        return f"{name}:{port}"

    def database_url(self, url: str) -> str:
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{user}@{POSTGRES_INSIDE}"))

    def bootstrap(self, bootstrap: str) -> str:
        assert bootstrap == self.bootstrap_outside
        return ",".join(f"{kafka.alias}:{KAFKA_PORT_INSIDE}" for kafka in self.kafkas)

    def child(self, program: Program, folder: Path) -> Contained:
        return Contained(program, self, folder)


@contextmanager
def running(made: "Site") -> Iterator["Site"]:
    """This site, its servers answering; removed at the end, unless `engine.session` has to."""
    made.up()
    yield made
    made.remove()
