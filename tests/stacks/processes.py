"""A line as processes of this machine, beside the embedded Postgres and Kafka."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from orderonce_cli.stack.children import LAUNCH

from tests.stacks.program import MODULES, STOP_S, TAIL_BYTES, Program, Running

# Without byte code on disk every start of a service would compile all of its libraries anew.
INHERITED = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


class Child(Running):
    """One service process that can be killed, frozen and started again on the same ports."""

    def __init__(
        self, name: str, arguments: tuple[str, ...], env: Mapping[str, str], ready: str, log: Path
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.env = dict(env)
        self.ready_url = ready
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def start(self, extra: Mapping[str, str] | None = None) -> None:
        """Spawn it, tied to this process: the kernel kills it when the tests die."""
        assert not self.running, f"{self.name} runs already"
        self.failing = bool(extra)
        tied = [str(int(signal.SIGKILL)), str(os.getpid()), "-1", "-1"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCH), *tied, sys.executable, *self.arguments],
                env={**INHERITED, **self.env, **(extra or {})},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_S)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def close(self) -> None:
        self.kill()

    async def run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *self.arguments[:2], *arguments, env={**INHERITED, **self.env},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, f"{arguments}: {err.decode(errors='replace')}"
        return out.decode()

    def tail(self) -> str:
        if not self.log.exists():
            return ""
        text = self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        return f"--- {self.log.name}\n{text}"


class Processes:
    """Everything on 127.0.0.1: programs reach each other, and the servers, as the tests do."""

    listen = "127.0.0.1"

    def address(self, name: str, port: int) -> str:
        return f"127.0.0.1:{port}"

    def database_url(self, url: str) -> str:
        return url

    def bootstrap(self, bootstrap: str) -> str:
        return bootstrap

    def child(self, program: Program, folder: Path) -> Child:
        for path in program.data.values():
            path.mkdir(parents=True, exist_ok=True)
        named = {name: str(path) for name, path in {**program.files, **program.data}.items()}
        return Child(
            program.name,
            ("-m", MODULES[program.service], *program.arguments),
            {**program.env, **program.secrets, **named},
            program.ready_url,
            folder / f"{program.name}.log",
        )
