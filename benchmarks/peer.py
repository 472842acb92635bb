"""The bare ccxt process as its benchmarks hold it: started, asked, ended."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.stage import INHERITED
from tests.line import Line

ANSWER_S = 300.0


class Peer:
    """One running bare_ccxt."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def ask(self, asked: object) -> dict[str, Any]:
        """Writes a line, reads the answer; AssertionError when it has died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        told = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_S)
        assert told, "bare ccxt has ended: see its error above"
        answer: dict[str, Any] = json.loads(told)
        return answer


@contextlib.asynccontextmanager
async def bare_ccxt(
    line: Line, account: str, loop: str = "asyncio", *, following: bool = False
) -> AsyncIterator[Peer]:
    """With the trade key of that paper account, on the line's paper exchange."""
    keys = json.loads((line.folder / "paper" / "keys.json").read_text())["accounts"]
    trade = keys[account]["trade"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bare_ccxt", loop, *(["following"] if following else []),
        env=INHERITED,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    peer = Peer(process)
    try:
        await peer.ask([line.paper_url, trade["api_key"], trade["secret"]])
        yield peer
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
