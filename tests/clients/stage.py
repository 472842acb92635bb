"""Runs one client's script in the client's own environment: `python stage.py SCRIPT < world.json`.

The world (addresses, keys) comes by stdin, since argv and environment can be read by others. The
script's `play(world)` returns what it saw; that is all that stdout carries. Nothing gets out of
this machine: an audit hook refuses every other address and keeps what it refused. (It sees whatever
goes through Python's sockets, asyncio included; uvloop and Rust pass it by: see playing.py.)
"""

import asyncio
import inspect
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

LOCAL = ("127.0.0.1", "localhost", "::1", "", None)
refused: list[str] = []


def stay_here(event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in LOCAL:
        refused.append(str(host))
        raise PermissionError(f"the tests of foreign clients stay on this machine, not {host}")


def main() -> None:
    sys.addaudithook(stay_here)
    world = json.load(sys.stdin)
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no result
    script = Path(sys.argv[1]).resolve()
    sys.path[0] = str(script.parent)
    seen = import_module(script.stem).play(world)
    if inspect.iscoroutine(seen):
        seen = asyncio.run(seen)
    json.dump({"seen": seen, "refused": refused}, results, default=str)
    results.close()


if __name__ == "__main__":
    main()
