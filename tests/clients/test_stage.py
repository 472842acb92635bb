"""The stage on which clients play: nothing gets out, and what was tried is told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import CLIENTS
from tests.clients.playing import play

ELSEWHERE = "192.0.2.1"  # of documentation: nobody has it

TRIES = {
    "connect": f"socket.create_connection(('{ELSEWHERE}', 80), 1)",
    "resolve": "socket.getaddrinfo('venue.invalid', 443)",
    "datagram": f"socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('{ELSEWHERE}', 53))",
    "asyncio": f"asyncio.run(asyncio.open_connection('{ELSEWHERE}', 80))",
}


def staged(folder: Path, body: str) -> dict[str, Any]:
    script = folder / "tries.py"
    script.write_text(f"import asyncio, socket\n\ndef play(world):\n{body}\n")
    command = [sys.executable, str(CLIENTS / "stage.py"), str(script)]
    done = subprocess.run(command, input="{}", capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("way", TRIES)
def test_another_address_is_refused_and_told(tmp_path: Path, way: str) -> None:
    body = f"    try:\n        {TRIES[way]}\n    except PermissionError:\n        return 'refused'"
    told = staged(tmp_path, body)
    assert told["seen"] == "refused"
    assert told["refused"]


def test_this_machine_is_not(tmp_path: Path) -> None:
    told = staged(tmp_path, "    socket.create_server(('127.0.0.1', 0)); return 'fine'")
    assert told == {"seen": "fine", "refused": []}


async def test_whoever_passes_the_hook_by_is_seen(tmp_path: Path) -> None:
    """A child process has no hook: stands for clients whose network code is not Python's."""
    script = tmp_path / "tries.py"
    child = (  # connecting a datagram socket sends nothing
        "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM);"
        f"s.connect(('{ELSEWHERE}', 80)); time.sleep(3)"
    )
    body = f"subprocess.run([sys.executable, '-c', {child!r}])"
    script.write_text(f"import subprocess, sys\n\ndef play(world):\n    {body}\n")
    with pytest.raises(AssertionError, match="left this machine"):
        await play(Path(sys.executable), script, {})
