"""One container of the tests: made anew at each start, on the same networks, ports and volumes.

It publishes its ports through a network of their own, the door; what it talks to is reached over
others, one per kind of peer, so that a test can cut one path and leave the rest.
"""

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from docker.errors import APIError
from docker.models.containers import Container
from docker.models.networks import Network
from testcontainers.core.container import DockerContainer

from tests.stacks import engine

DOOR = "door"
KILLED = 128 + signal.SIGKILL


def new_volume() -> str:
    """An empty volume of this session's own; gives its name."""
    name = f"orderonce-test-{uuid4().hex[:12]}"
    engine.client().volumes.create(name, labels=engine.labels())
    return name


class Networks:
    """The paths of one site, by name: `door`, and one for each kind of peer."""

    def __init__(self, *names: str) -> None:
        made = engine.client().networks.create
        self._all = {
            name: made(
                f"orderonce-test-{name}-{uuid4().hex[:12]}",
                labels=engine.labels(),
                internal=name != DOOR,  # only the door leads out of the engine
            )
            for name in (DOOR, *names)
        }

    def __getitem__(self, name: str) -> Network:
        return self._all[name]

    def remove(self) -> None:
        for network in self._all.values():
            network.remove()


@dataclass
class Box:
    """A container by its alias. `make` gives it, not yet started, for a door; `paths` are its
    other networks."""

    alias: str
    make: Callable[[str], DockerContainer]
    networks: Networks
    paths: tuple[str, ...]
    _made: DockerContainer | None = None
    _cut: set[str] = field(default_factory=set)

    @property
    def container(self) -> Container:
        assert self._made is not None, f"{self.alias} was never started"
        return self._made.get_wrapped_container()

    def status(self) -> tuple[str, int]:
        """(Docker's word for its state, exit code), asked now."""
        self.container.reload()
        state = self.container.attrs["State"]
        return state["Status"], state["ExitCode"]

    @property
    def running(self) -> bool:
        return self._made is not None and self.status()[0] in ("running", "paused", "restarting")

    def up(self) -> None:
        """Make and start it; what a container of an earlier start left is in its volumes alone."""
        self.remove()
        self._made = self.make(str(self.networks[DOOR].name))
        self._made.start()
        for path in self.paths:
            self.networks[path].connect(self.container, aliases=[self.alias])

    def kill(self) -> None:
        """kill -9, and gone; nothing when it does not run."""
        if self.running:
            with contextlib.suppress(APIError):  # it ended by itself meanwhile
                self.container.kill()
            self.container.wait()

    def freeze(self) -> None:
        if self.running:
            self.container.pause()

    def thaw(self) -> None:
        if self._made is not None and self.status()[0] == "paused":
            self.container.unpause()

    def terminate(self) -> None:
        if self.running:
            with contextlib.suppress(APIError):
                self.container.kill(signal.SIGTERM)

    def cut(self, path: str) -> None:
        """Take it off that network, as a pulled cable does: no packet says so to anybody."""
        self.networks[path].disconnect(self.container)
        self._cut.add(path)

    def mend(self) -> None:
        """Put it back on every network that was cut."""
        while self._cut:
            self.networks[self._cut.pop()].connect(self.container, aliases=[self.alias])

    def log(self) -> str:
        return "" if self._made is None else self.container.logs().decode(errors="replace")

    def remove(self) -> None:
        """The container and its anonymous volumes; named ones stay."""
        if self._made is not None:
            self._made.stop()
            self._made = None
        self._cut.clear()
