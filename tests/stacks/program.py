"""What it takes to run one service, whatever runs it: a process of this machine or a container.

`tests.line` describes each service once, as a Program; a Stack (`processes.py`, `containers.py`)
makes a Running of it, which tests start, kill, freeze and read in the same words on either.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx

READY_S = 45.0  # a cold Python with ccxt, five at once on two busy cores
STOP_S = 12.0  # services promise 10 s
POLL_S = 0.05
TAIL_BYTES = 3_000


MODULES = {
    "order-api": "orderonce_api", "executor": "orderonce_executor", "ledger": "orderonce_ledger",
    "paper-exchange": "orderonce_paper",
}  # fmt: skip


@dataclass(frozen=True)
class Program:
    """One service of a line. Names of settings are those of its environment.

    `service` names its image, and its module in MODULES; `ports` is what it listens on, the same
    numbers inside and outside. `secrets` are settings whose values may stand in no environment that
    others can read, `files` settings that name a file, `data` settings that name a folder which it
    fills.
    """

    name: str
    service: str
    ready_url: str
    ports: tuple[int, ...] = ()
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    data: Mapping[str, Path] = field(default_factory=dict)


class Running(ABC):
    """One service of a line, running or not: the verbs that each stack does in its own way, and
    what is waited for in terms of them."""

    name: str
    ready_url: str
    failing = False  # runs with failpoints or other settings of one test

    @property
    @abstractmethod
    def running(self) -> bool: ...

    @property
    @abstractmethod
    def exit_code(self) -> int | None:
        """Its code when it has ended (a signal: negative, or 128 and more); None while it runs."""

    @abstractmethod
    def start(self, extra: Mapping[str, str] | None = None) -> None:
        """Run it, with the settings of `extra` too; it ends when the tests die."""

    @abstractmethod
    def kill(self) -> None:
        """kill -9, and gone."""

    @abstractmethod
    def freeze(self) -> None: ...

    @abstractmethod
    def thaw(self) -> None: ...

    @abstractmethod
    def terminate(self) -> None:
        """SIGTERM, with which an operator's stop begins."""

    @abstractmethod
    def close(self) -> None:
        """Gone for good, running or not; its log stays in the line's folder."""

    @abstractmethod
    async def run(self, *arguments: str) -> str:
        """Run the service's module beside it, with these arguments; gives what it printed."""

    @abstractmethod
    def tail(self) -> str:
        """The last lines of its log, under its name."""

    async def stop(self) -> None:
        """SIGTERM, and wait for the end that it promises."""
        self.terminate()
        await until(lambda: not self.running, STOP_S, f"{self.name} has stopped")

    async def wait_dead(self, limit_s: float = 20.0) -> int:
        """Wait until it has ended by itself (a failpoint); gives the exit code."""
        await until(lambda: not self.running, limit_s, f"{self.name} has died")
        code = self.exit_code
        assert code is not None
        return code

    async def wait_ready(self, http: httpx.AsyncClient) -> None:
        """Wait until its readiness probe says 200."""
        last = "no answer"

        async def is_ready() -> bool:
            nonlocal last
            assert self.running, f"{self.name} ended with {self.exit_code}:\n{self.tail()}"
            try:
                answer = await http.get(self.ready_url)
            except httpx.HTTPError as error:
                last = repr(error)
                return False
            last = answer.text
            return answer.status_code == 200

        try:
            await until(is_ready, READY_S, f"{self.name} is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}; last answer: {last}\n{self.tail()}") from None


class Stack(Protocol):
    """What runs the programs of a line."""

    listen: str  # the address that services listen on

    def address(self, name: str, port: int) -> str:
        """host:port of a program of that name, as the other programs reach it."""

    def database_url(self, url: str) -> str:
        """The tests' own URL of a database, as programs reach it."""

    def bootstrap(self, bootstrap: str) -> str:
        """The tests' own address of Kafka, as programs reach it."""

    def child(self, program: Program, folder: Path) -> Running:
        """That program, not yet started; `folder` takes its log."""


async def until(check: Callable[[], bool | Awaitable[bool]], limit_s: float, what: str) -> None:
    """Ask again and again until the answer is yes; AssertionError naming `what` at the limit."""
    deadline = time.monotonic() + limit_s
    while True:
        answer = check()
        if await answer if not isinstance(answer, bool) else answer:
            return
        assert time.monotonic() < deadline, f"{what}: not within {limit_s} s"
        await asyncio.sleep(POLL_S)
