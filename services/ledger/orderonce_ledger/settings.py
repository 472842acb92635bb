"""LEDGER_*: read once, by main.py. Every setting may be given as LEDGER_X_FILE, the path of a file
with its value."""

from pathlib import Path

from orderonce_shared.runtime.database_url import DatabaseUrl
from orderonce_shared.runtime.transport import TransportSettings
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict


class LedgerSettings(TransportSettings):
    """Times are seconds or, where the name says so, milliseconds."""

    model_config = SettingsConfigDict(env_prefix="LEDGER_", frozen=True, hide_input_in_errors=True)

    database_url: DatabaseUrl = Field(description="Postgres, as the role ledger")
    host: str = "127.0.0.1"
    port: int = 8082
    admin_port: int = 8084
    pepper: SecretStr
    credentials: Path = Field(description="JSON file (0600) with keys that can only read")
    venue_urls: dict[str, str] = Field(default_factory=dict, description="venue -> base URL")
    venue_timeout_ms: int = Field(
        default=5000, gt=0, description="no answer for so long: the run is recorded as failed"
    )
    topic_prefix: str = ""
    reconcile_every_s: float = Field(
        default=30.0, gt=0, description="pause between reconciliations of an account"
    )
    full_every_s: float = Field(
        default=3600.0, gt=0, description="pause between runs over the whole statement"
    )
    grace_ms: int = Field(
        default=5000, ge=0, description="how long a trade may be known to one side only"
    )
    quiet_tries: int = Field(default=5, ge=1, description="readings of a balance per run")
    pool_size: int = Field(default=8, ge=4, description="connections to Postgres of one process")
    log_level: str = "INFO"
    failpoints: str = ""
