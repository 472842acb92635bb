"""EXECUTOR_* settings, read once in main.py."""

from pathlib import Path

from orderonce_shared.runtime.database_url import DatabaseUrl
from orderonce_shared.runtime.transport import TransportSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class ExecutorSettings(TransportSettings):
    model_config = SettingsConfigDict(
        env_prefix="EXECUTOR_", frozen=True, hide_input_in_errors=True
    )

    database_url: DatabaseUrl = Field(description="Postgres, as the role executor")
    topic_prefix: str = ""
    host: str = "127.0.0.1"
    admin_port: int = 8083
    credentials: Path = Field(
        description="JSON file (0600) with each account's venue, key and secret"
    )
    venue_urls: dict[str, str] = Field(
        default_factory=dict, description="JSON: venue -> scheme://host:port"
    )
    stream: bool = Field(
        default=True, description="follow orders by the venue's stream, with REST behind it"
    )
    stream_urls: dict[str, str] = Field(
        default_factory=dict,
        description="JSON: venue -> ws://host:port of its stream, where it is not beside its REST",
    )
    window_ms: int = Field(
        default=5_000, gt=0, le=60_000, description="a signed create is valid so long, at most"
    )
    venue_timeout_ms: int = Field(
        default=5_000, gt=0, le=60_000, description="no answer for so long: `unknown`, looked up"
    )
    # Per venue account and process. Binance spot allows 100 orders per 10 s and account; paper has
    # room.
    requests_per_second: float = Field(
        default=1_000.0, gt=0, description="to the venue, per account and process"
    )
    burst: float = Field(default=200.0, gt=1, description="requests that may leave at once")
    reserve: float = Field(
        default=40.0, ge=0, description="of the burst, for cancels and look-ups alone"
    )
    creates_in_flight: int = Field(
        default=64, gt=0, le=200, description="creates of one account that wait for an answer"
    )
    # R12, per account and process too. An outage leaves as many in doubt as may be in flight.
    breaker_failures: int = Field(
        default=5, gt=0, description="so many creates in a row unanswered pause an account's sends"
    )
    breaker_unknowns: int = Field(
        default=20, gt=0, description="so many new `unknown` orders of an account pause them too"
    )
    breaker_pause_s: float = Field(
        default=5.0, gt=0, description="how long; then one order at a time, until one is answered"
    )
    database_connections: int = Field(
        default=8, gt=3, description="connections to Postgres of one process"
    )
    log_level: str = "INFO"
    failpoints: str = ""
