"""EXECUTOR_* settings, read once in main.py."""

from pathlib import Path

from orderonce_shared.runtime.settings import ServiceSettings
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict


class ExecutorSettings(ServiceSettings):
    model_config = SettingsConfigDict(
        env_prefix="EXECUTOR_", frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr
    kafka_bootstrap: str
    topic_prefix: str = ""
    host: str = "127.0.0.1"
    admin_port: int = 8083
    credentials: Path  # JSON of mode 0600: shared.venues.credentials
    venue_urls: dict[str, str] = Field(default_factory=dict)  # venue -> scheme://host:port
    window_ms: int = Field(default=5_000, gt=0, le=60_000)  # of a signed create, at most
    venue_timeout_ms: int = Field(default=5_000, gt=0, le=60_000)
    # Per venue account and process. Binance spot allows 100 orders per 10 s and account; paper has room.
    requests_per_second: float = Field(default=1_000.0, gt=0)
    burst: float = Field(default=200.0, gt=1)
    reserve: float = Field(default=40.0, ge=0)  # of the burst, for cancels and look-ups alone
    creates_in_flight: int = Field(default=64, gt=0, le=200)
    database_connections: int = Field(default=8, gt=3)
    log_level: str = "INFO"
    failpoints: str = ""
