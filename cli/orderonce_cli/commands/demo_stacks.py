"""Where the demo runs, and how an executor is killed there: on the embedded stack, which it starts
and stops itself, or on one that somebody else keeps (containers), who kills when told to.
"""

import json
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

from orderonce_cli import output
from orderonce_cli.problems import Problem
from orderonce_cli.stack.layout import Layout

Json = dict[str, Any]
Kill = Callable[[], str]
KILL_NOW = "please kill an executor now"  # what the keeper of the stack waits for on our output
KILL_LIMIT_S = 60.0
CONNECT_LIMIT_S = 1.0
LOOK_AGAIN_S = 0.1
FIRST_ORDER = {
    "account": "paper-1", "symbol": "BTC/USDT", "side": "buy", "type": "market",
    "quantity": "0.001",
}  # fmt: skip


class Stack(Protocol):
    """A running stack while `with` lasts: its addresses, and what kills an executor."""

    def __enter__(self) -> tuple[Json, Kill]: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def go_on(self) -> None:
        """Print what to type to go on by hand."""


class _Embedded:
    def __init__(self, where: Layout, keep: bool) -> None:
        from orderonce_cli.stack import control  # not in the images, which have a stack kept

        self.where = where
        self.control = control
        self.goes_on = keep or control.runs(where)
        self.view: Json = {}

    def __enter__(self) -> tuple[Json, Kill]:
        from orderonce_cli.stack.state import Shape

        shape = Shape(apis=2, executors=2)
        with output.progress("starting the stack (2 order APIs, 2 executors)") as report:
            self.view = self.control.up(self.where, shape, report).view
        return self.view, self._kill

    def __exit__(self, *_: object) -> None:
        if not self.goes_on:
            with output.progress("stopping the stack"):
                self.control.down(self.where)

    def _kill(self) -> str:
        pid = self.control.require_ready(self.where).children["executor-1"][0]
        os.kill(pid, signal.SIGKILL)
        return f"executor-1 (pid {pid})"

    def go_on(self) -> None:
        api, key_file = self.view["order_api"][0], self.where.root / "demo.key"
        print("\nThe stack goes on. Go on by hand:" if self.goes_on else "\nGo on by hand:")
        if not self.goes_on:
            print("  .venv/bin/orderonce up")
        print(
            f'  curl -s {api}/v1/orders -H "Authorization: Bearer $(cat {key_file})"'
            f" -H 'Idempotency-Key: {uuid.uuid4()}' -H 'Content-Type: application/json'"
            f" -d '{json.dumps(FIRST_ORDER, separators=(',', ':'))}'"
        )


class _Kept:
    def __init__(self, view: Json) -> None:
        self.view = view

    def __enter__(self) -> tuple[Json, Kill]:
        return self.view, self._kill

    def __exit__(self, *_: object) -> None:
        """Who keeps the stack decides about its end."""

    def _kill(self) -> str:
        alive = executors(self.view["executor_admin"])
        if len(alive) < 2:
            raise Problem(f"The demo kills one of two executors, but {len(alive)} are alive.")
        print(KILL_NOW, flush=True)
        deadline = time.monotonic() + KILL_LIMIT_S
        while time.monotonic() < deadline:
            for address in alive:
                if not _answers(address):
                    return f"executor {address[0]}"
            time.sleep(LOOK_AGAIN_S)
        raise Problem(f"Nobody killed an executor in {KILL_LIMIT_S:.0f} s.")

    def go_on(self) -> None:
        """Its keeper knows the addresses outside."""


def embedded(where: Layout, keep: bool) -> Stack:
    """This machine's stack, started for the demo; it goes on if it ran before, or with `keep`."""
    return _Embedded(where, keep)


def kept(view: Json) -> Stack:
    """A stack that runs already. Its keeper kills an executor when it reads KILL_NOW."""
    return _Kept(view)


def executors(urls: Sequence[str]) -> list[tuple[str, int]]:
    """Every executor that answers: a name may stand for many addresses."""
    found = set()
    for url in urls:
        parts = urlsplit(url)
        assert parts.hostname is not None
        for *_, address in socket.getaddrinfo(
            parts.hostname, parts.port, socket.AF_INET, socket.SOCK_STREAM
        ):
            found.add((str(address[0]), int(address[1])))
    return sorted(address for address in found if _answers(address))


def _answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, CONNECT_LIMIT_S).close()
    except OSError:
        return False
    return True
