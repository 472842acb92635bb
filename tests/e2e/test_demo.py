"""The demo, judged by the auditor: not by what it says of itself, but by the venue's own book."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from orderonce_cli.stack import control
from orderonce_cli.stack.layout import Layout

from tests.auditor import Doors, audit_settled
from tests.workload import Attempt, Record

pytestmark = pytest.mark.timeout(300)
LIMIT_S = 200.0
SETTLE_S = 30.0


def heard(requests: list[dict[str, Any]]) -> Record:
    record = Record()
    for one in requests:
        record.keys.setdefault(one["key"], (one["path"], one["body"]))
        body, reply = json.dumps(one["body"]).encode(), one["reply"].encode()
        record.attempts.append(
            Attempt(one["key"], one["path"], body, "", 0.0, one["status"], reply)
        )
    return record


def test_the_demo_is_clean_by_the_auditor(tmp_path: Path) -> None:
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    command = (sys.executable, "-m", "orderonce_cli")
    data = ("--data", str(tmp_path / "data"), "--json")
    env = {**os.environ, "PYTHONPATH": paths}
    try:
        ran = subprocess.run(
            [*command, "demo", "--keep", *data],
            env=env, capture_output=True, text=True, timeout=LIMIT_S,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout)
        record = heard(told["requests"])
        assert len(record.placed_keys()) == len(told["orders"]) >= 20
        stack = control.require_ready(Layout(tmp_path / "data"))
        # Without it a first order has no journal: its fill would be inside the opening balance.
        assert stack.steps[-1] == "the ledger's books are open"
        view = stack.view
        doors = Doors(
            view["order_api"], view["paper_control"], view["ledger"],
            view["demo_key"], view["accounts"],
        )  # fmt: skip
        found = asyncio.run(audit_settled(doors, record, limit_s=SETTLE_S))
        assert [str(finding) for finding in found] == []
    finally:
        subprocess.run([*command, "down", "--wipe", *data], env=env, timeout=LIMIT_S)
