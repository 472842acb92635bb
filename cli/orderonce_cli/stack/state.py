"""The state file: what runs where, as the supervisor last wrote it, and whether it is still true.

`status --json` prints its public part. It holds the demo key and Postgres' URL: mode 0600.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from orderonce_cli.stack.children import is_alive
from orderonce_cli.stack.layout import Layout, disk_problem, write_private

Phase = Literal["starting", "ready", "stopping", "stopped", "failed"]


@dataclass(frozen=True)
class Shape:
    """What was asked for: copies of the services, or only Postgres and Kafka."""

    apis: int = 1
    executors: int = 1
    infrastructure: bool = False
    paper_limits: bool = True  # whether the paper exchange answers 429 by itself


@dataclass
class State:
    """The whole file. Times are seconds since 1970."""

    state: Phase = "stopped"
    shape: Shape = field(default_factory=Shape)
    supervisor: tuple[int, float] | None = None  # pid, start time
    steps: list[str] = field(default_factory=list)  # what start has done so far, for people
    error: str | None = None
    children: dict[str, tuple[int, float]] = field(default_factory=dict)  # name: pid, start time
    view: dict[str, Any] = field(default_factory=dict)  # the public members of api.md

    def recorded(self) -> list[tuple[int, float]]:
        """Every process that this file knows, for finding leftovers."""
        return [*self.children.values(), *([self.supervisor] if self.supervisor else [])]

    @property
    def supervised(self) -> bool:
        """Whether the supervisor that wrote this still runs."""
        return self.supervisor is not None and is_alive(*self.supervisor)


def read(layout: Layout) -> State:
    """The last state written; a fresh one where there is none or it makes no sense."""
    try:
        told = json.loads(layout.state.read_text())
        told["shape"] = Shape(**told["shape"])
        told["supervisor"] = tuple(told["supervisor"]) if told["supervisor"] else None
        told["children"] = {name: (pid, at) for name, (pid, at) in told["children"].items()}
        return State(**told)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return State()
    except OSError as error:
        raise disk_problem(error, layout.root) from error


def write(layout: Layout, state: State) -> None:
    """Replace the file."""
    write_private(layout.state, json.dumps(asdict(state), indent=1))


def shown(layout: Layout, state: State) -> dict[str, Any]:
    """What `up` and `status --json` print."""
    phase: str = state.state
    if phase in ("starting", "ready", "stopping") and not state.supervised:
        phase = "crashed"  # the next `up` clears what it left
    processes = [
        {"name": name, "pid": pid, "log": str(layout.log(name))}
        for name, (pid, _) in state.children.items()
    ]
    running = phase in ("starting", "ready", "stopping")
    return {
        "state": phase,
        **(state.view if running else {}),
        "data": str(layout.root),
        "supervisor": state.supervisor[0] if running and state.supervisor else None,
        "processes": processes if running else [],
        "error": state.error,
    }
