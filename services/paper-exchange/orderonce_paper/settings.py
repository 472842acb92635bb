"""What may be set, from flags and PAPER_* variables; a flag wins over its variable."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Binance's own are 6000 and 100. The defaults leave room for a system under test on one address.
WEIGHT_PER_MINUTE = 60_000
ORDERS_PER_10S = 1_000
MAX_OPEN_ORDERS = 1_000  # per account and symbol; Binance's own is 200


@dataclass(frozen=True, slots=True)
class Settings:
    data: Path
    host: str
    port: int
    control_port: int
    seed: int
    engine_delay_ms: float
    rate_limits: bool
    weight_per_minute: int
    orders_per_10s: int
    max_open_orders: int
    random_walk_ms: int
    ping_seconds: float
    listen_keys: bool
    fsync: bool
    log_level: str


def read_settings(argv: list[str] | None, env: Mapping[str, str] = os.environ) -> Settings:
    args = _parser(env).parse_args(argv)
    return Settings(
        data=Path(args.data),
        host=args.host,
        port=args.port,
        control_port=args.control_port,
        seed=args.seed,
        engine_delay_ms=args.engine_delay_ms,
        rate_limits=not args.no_rate_limits,
        weight_per_minute=args.weight_per_minute,
        orders_per_10s=args.orders_per_10s,
        max_open_orders=args.max_open_orders,
        random_walk_ms=args.random_walk_ms,
        ping_seconds=args.ping_seconds,
        listen_keys=args.listen_keys,
        fsync=not args.no_fsync,
        log_level=args.log_level,
    )


def _parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orderonce_paper",
        description="A paper exchange that speaks Binance's spot REST protocol, keeps what it said "
        "through any kill, and makes trouble when told. Every flag has a variable PAPER_*, for "
        "example PAPER_PORT. DIR/keys.json holds the API keys of its accounts.",
    )

    def option(flag: str, default: object, text: str, **more: object) -> None:
        variable = "PAPER_" + flag.removeprefix("--").replace("-", "_").upper()
        shown = f"{text} (default: {default})"
        kind = type(default)
        value = env.get(variable, default)
        parser.add_argument(flag, default=value, type=kind, help=shown, **more)  # type: ignore[arg-type]

    def switch(flag: str, text: str) -> None:
        variable = "PAPER_" + flag.removeprefix("--").replace("-", "_").upper()
        on = env.get(variable, "").lower() in ("1", "true", "yes", "on")
        parser.add_argument(flag, action="store_true", default=on, help=text)

    option("--data", "paper-data", "folder for the journal and the keys", metavar="DIR")
    option("--host", "127.0.0.1", "address to listen on")
    option("--port", 8090, "port of the exchange; 0 takes a free one")
    option("--control-port", 8091, "port of the control door; 0 takes a free one")
    option("--seed", 1, "seed of depth sizes and candles; a kept journal keeps its own")
    option("--engine-delay-ms", 0.0, "wait between a request's arrival and the matching engine")
    switch("--no-rate-limits", "never answer 429 by itself (armed faults still do)")
    option("--weight-per-minute", WEIGHT_PER_MINUTE, "request weight per minute and address")
    option("--orders-per-10s", ORDERS_PER_10S, "orders per 10 seconds and account")
    option("--max-open-orders", MAX_OPEN_ORDERS, "open orders per account and symbol")
    option("--random-walk-ms", 0, "move every price by a seeded step this often; 0: never")
    option("--ping-seconds", 20.0, "a WebSocket is pinged this often, and cut after three silences")
    switch("--listen-keys", "user-data streams by listen key, which the venue removed in 2026")
    switch("--no-fsync", "survive kill -9 but not a power cut; faster on slow disks")
    option("--log-level", "info", "debug, info, warning or error")
    return parser
