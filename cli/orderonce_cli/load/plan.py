"""What a run is asked to do, and where: read once from the command line, then passed on."""

from dataclasses import dataclass, field
from typing import Literal

from orderonce_cli.load.arrivals import Arrivals
from orderonce_cli.load.kafka import Access
from orderonce_cli.load.orders import Kind, Market
from orderonce_cli.load.records import COMMANDS, EVENTS

Via = Literal["http", "kafka"]
Measured = Literal["line", "kafka"]

DRAIN_S = 30.0  # an order's own deadline: after it nothing is sent any more
IN_FLIGHT = 5_000  # ten seconds of silence at 500/s before anything is dropped
CONNECTIONS = 128
EXECUTOR_GROUP = "orderonce-executor"


@dataclass(frozen=True)
class Plan:
    """One run. Rates are orders a second."""

    via: Via
    rate: float
    seconds: float
    arrivals: Arrivals = "constant"
    seed: int = 1
    kind: Kind = "market"
    measured: Measured = "line"
    in_flight: int = IN_FLIGHT
    connections: int = CONNECTIONS
    retry: bool = True
    drain_s: float = DRAIN_S


@dataclass(frozen=True)
class Target:
    """Where a run goes to. `key` is a bearer key and never shown."""

    accounts: tuple[str, ...]
    markets: tuple[Market, ...]
    api: tuple[str, ...] = ()
    key: str = field(default="", repr=False)
    ledger: str | None = None
    kafka: Access | None = None
    prefix: str = ""
    venue: str = "paper"
    group: str = EXECUTOR_GROUP

    @property
    def commands(self) -> str:
        return self.prefix + COMMANDS

    @property
    def events(self) -> str:
        return self.prefix + EVENTS

    @property
    def consumers(self) -> str:
        return self.prefix + self.group
