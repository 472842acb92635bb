"""ORDER_API_*: read once, in main.py. Each may be given as ORDER_API_X_FILE, a file that holds the
value.
"""

from typing import Annotated

from orderonce_shared.runtime.database_url import DatabaseUrl
from orderonce_shared.runtime.settings import ServiceSettings
from orderonce_shared.runtime.transport import TransportSettings
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict


class OrderApiSettings(TransportSettings):
    model_config = SettingsConfigDict(
        env_prefix="ORDER_API_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    database_url: DatabaseUrl = Field(description="Postgres, as the role order_api")
    pepper: SecretStr = Field(description="64 hex digits: keys the MACs of API keys at rest")
    topic_prefix: str = Field(default="", description="prefix of topics and consumer groups")
    host: str = Field(default="127.0.0.1", description="address of both ports")
    port: int = Field(default=8080, description="port for bots")
    admin_port: int = Field(default=8081, description="port for operators, health and metrics")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")
    failpoints: str = Field(default="", description="tests only: name=exit, name=pause:SECONDS")
    key_life_s: Annotated[int, Field(ge=60)] = Field(
        default=86_400, description="life of an idempotency key; an older one never executes again"
    )
    fast_deadline_s: Annotated[int, Field(ge=1)] = Field(
        default=30, description="default expires_at of market, ioc and fok orders"
    )
    slow_deadline_s: Annotated[int, Field(ge=1)] = Field(
        default=120, description="default expires_at of other orders"
    )
    line_limit_s: Annotated[int, Field(ge=1)] = Field(
        default=20, description="new orders are refused while commands wait longer than this"
    )
    pool_size: Annotated[int, Field(ge=4)] = Field(
        default=8, description="connections to Postgres of one process"
    )


class CreateKeySettings(ServiceSettings):
    """What `create-key` needs: the database and the pepper."""

    model_config = SettingsConfigDict(
        env_prefix="ORDER_API_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    database_url: DatabaseUrl
    pepper: SecretStr
