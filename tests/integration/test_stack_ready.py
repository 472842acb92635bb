"""`up` returns when a bot may trade: not before the ledger has opened every account's books."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from orderonce_cli.stack import state
from orderonce_cli.stack.layout import Layout

pytestmark = pytest.mark.timeout(300)
LIMIT_S = 150.0


def test_a_fresh_stack_that_is_ready_has_open_books(tmp_path: Path) -> None:
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    command = (sys.executable, "-m", "orderonce_cli")
    data = ("--data", str(tmp_path / "data"), "--json")
    env = {**os.environ, "PYTHONPATH": paths}
    try:
        up = subprocess.run(
            [*command, "up", *data], env=env, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert up.returncode == 0, up.stderr
        shown = json.loads(up.stdout)
        answer = httpx.get(
            f"{shown['ledger']}/v1/accounts",
            headers={"Authorization": f"Bearer {shown['demo_key']}"},
            trust_env=False,
        )
        books = {row["account"]: row["books"] for row in answer.json()["accounts"]}
        assert books == dict.fromkeys(shown["accounts"], "open")
        # Fast books may be open by chance; this says that they were waited for.
        assert state.read(Layout(tmp_path / "data")).steps[-1] == "the ledger's books are open"
    finally:
        subprocess.run([*command, "down", "--wipe", *data], env=env, timeout=LIMIT_S)
