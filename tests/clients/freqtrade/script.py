"""freqtrade, live: its own command in this process, until the strategy has traded all it wants."""

import json
import signal
import sqlite3
from pathlib import Path

from freqtrade.main import main

HERE = Path(__file__).parent
LIMIT_S = 240
WRITTEN_FOR = "127.0.0.1:8090"  # where config.json finds the exchange


def play(world):
    folder = Path(world["folder"])
    config = (HERE / "config.json").read_text()
    here = world["rest"].removeprefix("http://")
    (folder / "config.json").write_text(config.replace(WRITTEN_FOR, here))
    keys = {"key": world["trade"]["api_key"], "secret": world["trade"]["secret"]}
    (folder / "keys.json").write_text(json.dumps({"exchange": keys}))
    # A shell's background job is born with Ctrl-C ignored, and Python leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What it did is told even if it never comes to its end.
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.alarm(LIMIT_S)
    command = ["trade", "--config", str(folder / "config.json"), "--config"]
    command += [str(folder / "keys.json"), "--strategy", "InAndOut", "--strategy-path"]
    command += [str(HERE / "strategies"), "--userdir", str(folder), "--db-url"]
    command += [f"sqlite:///{folder}/trades.sqlite", "--logfile", str(folder / "log.txt")]
    try:
        main(command)
    except SystemExit as end:
        code = end.code
    log = (folder / "log.txt").read_text().splitlines()
    return {
        "code": code,
        "trades": rows(folder, "SELECT * FROM trades ORDER BY id"),
        "orders": rows(folder, "SELECT * FROM orders ORDER BY id"),
        "warnings": [line for line in log if " - WARNING - " in line],
        "errors": [line for line in log if " - ERROR - " in line or "Traceback" in line],
        "last": log[-5:],
    }


def rows(folder, query):
    with sqlite3.connect(f"file:{folder}/trades.sqlite?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query)]
