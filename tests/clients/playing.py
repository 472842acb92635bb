"""Has a client's script play against a real paper exchange, and gives what it saw."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil

from tests.clients import environments
from tests.unit.paper.process import Paper, running

PLAY_S = 90  # of one script; each is done in a few seconds on a machine that is not busy
LOOK_S = 0.2


@dataclass
class Played:
    """`seen` is what the script returned, `rows` what the exchange says was asked of it."""

    seen: dict[str, Any]
    rows: list[dict[str, Any]]
    paper: Paper = field(repr=False)  # it knows keys

    def asked(self, method: str, path: str) -> list[dict[str, Any]]:
        """The requests of one verb, of both doors."""
        return [r for r in self.rows if (r["method"], r["path"]) == (method, path)]


@asynccontextmanager
async def played(
    folder: Path,
    client: str,
    *flags: str,
    script: str = "script.py",
    limit_s: float = PLAY_S,
    **more: Any,
) -> AsyncIterator[Played]:
    """A script that has played; the exchange, started with `flags`, is still there to be asked."""
    python = await asyncio.to_thread(environments.python_of, client)
    async with running(folder, *flags) as paper:
        # One XRP is left: who sells two has not the money.
        spent = {"account": "paper-1", "asset": "XRP", "amount": "-9999999"}
        await paper.control("POST", "trade", spent)
        world = world_of(paper, folder) | more
        seen = await play(python, environments.CLIENTS / client / script, world, limit_s)
        rows = (await paper.control("GET", "requests"))["requests"]
        yield Played(seen, rows, paper)


def world_of(paper: Paper, folder: Path) -> dict[str, Any]:
    """What a script is told: where the exchange is, whose keys it has, where it may write."""
    own = folder / "client"
    own.mkdir(mode=0o700)
    return {
        "rest": paper.rest,
        "ws": paper.rest.replace("http", "ws", 1),
        "control": paper.control_url,
        "folder": str(own),
        **paper.keys["accounts"]["paper-1"],
    }


async def play(
    python: Path, script: Path, world: dict[str, Any], limit_s: float = PLAY_S
) -> dict[str, Any]:
    """Run a script by its own interpreter. What it wrote to stderr is shown when it failed.

    It is not told that pytest runs: freqtrade, for one, behaves in another way then.
    """
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-B",  # nothing is written beside the scripts
        str(environments.CLIENTS / "stage.py"),
        str(script),
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    abroad: set[str] = set()
    watch = asyncio.create_task(_watch(process.pid, abroad))
    try:
        async with asyncio.timeout(limit_s):
            out, err = await process.communicate(json.dumps(world).encode())
    finally:
        watch.cancel()
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()[-4000:]
    told: dict[str, Any] = json.loads(out)
    assert told["refused"] == [], "a request would have left this machine"
    assert not abroad, "a connection left this machine"
    seen: dict[str, Any] = told["seen"]
    return seen


async def _watch(pid: int, abroad: set[str]) -> None:
    """Look again and again whom a process talks to: what passes Python's sockets by shows here."""
    client = psutil.Process(pid)
    with contextlib.suppress(psutil.NoSuchProcess):
        while True:
            for process in (client, *client.children(recursive=True)):
                peers = {c.raddr.ip for c in process.net_connections("inet") if c.raddr}
                abroad |= {ip for ip in peers if not ip_address(ip).is_loopback}
            await asyncio.sleep(LOOK_S)
