"""P10: from `orderonce up` in an empty folder to the first fill, everything installed: how long a
newcomer waits. Postgres, Kafka and every service start cold; nothing else runs beside it.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from benchmarks.report import Ratio, Result, keep, show
from benchmarks.stage import INHERITED, say

GOAL_S = 20.0
LIMIT_S = 120.0
ORDER = {
    "account": "paper-1",
    "symbol": "BTC/USDT",
    "side": "buy",
    "type": "market",
    "quantity": "0.001",
}


def run(*, rounds: int) -> Result:
    """Every round in a folder of its own, wiped at its end."""
    up, filled = [], []
    for number in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="orderonce-bench-"))
        try:
            told = _one(folder / "data")
        finally:
            _cli(folder / "data", "down", "--wipe")
            shutil.rmtree(folder, ignore_errors=True)
        up.append(told[0])
        filled.append(told[1])
        say(f"round {number}: up after {told[0]:.1f} s, filled after {told[1]:.1f} s")
    result = Result("P10", f"{rounds} cold starts, dependencies installed", "start")
    result.figures = {
        "stack up, s": statistics.median(up),
        "first fill, s": statistics.median(filled),
    }
    share = [seconds / GOAL_S for seconds in filled]
    result.ratios = [
        Ratio("first fill / 20 s (below 1 is good)", statistics.median(share), min(share),
              max(share))
    ]  # fmt: skip
    return result


def _one(folder: Path) -> tuple[float, float]:
    """(seconds until `up` returned, seconds until the first order was filled)."""
    began = time.monotonic()
    _cli(folder, "up")
    up_s = time.monotonic() - began
    status = json.loads(_cli(folder, "status", "--json"))
    bearer = (folder / "demo.key").read_text().strip()
    headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": f"key-{uuid4().hex}"}
    with httpx.Client(base_url=status["order_api"][0], headers=headers, trust_env=False) as http:
        reply = http.post("/v1/orders", json=ORDER)
        assert reply.status_code == 202, reply.text
        where = reply.headers["Location"]
        while (order := _read(http, where))["status"] != "filled":
            assert time.monotonic() - began < LIMIT_S, order
            time.sleep(0.02)
    return up_s, time.monotonic() - began


def _read(http: httpx.Client, where: str) -> dict[str, Any]:
    reply = http.get(where)
    assert reply.is_success, reply.text
    told: dict[str, Any] = reply.json()
    return told


def _cli(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "orderonce_cli", *words, "--data", str(folder)],
        env=INHERITED, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"orderonce {' '.join(words)}: {done.stderr}"
    return done.stdout


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--no-history", action="store_true", help="only print")
    given = options.parse_args()
    command = " ".join(["python -m benchmarks.p10_start", *sys.argv[1:]])
    result = run(rounds=given.rounds)
    print(show(result, command))
    if not given.no_history:
        keep(result, command)


if __name__ == "__main__":
    main()
