"""What every service of the line is told about its two neighbours, Kafka and Postgres: base of its
settings.
"""

from orderonce_shared.runtime import database_url
from orderonce_shared.runtime.database_url import DatabaseUrl
from orderonce_shared.runtime.kafka_security import KafkaSettings
from orderonce_shared.runtime.logs import Logger


class TransportSettings(KafkaSettings):
    database_url: DatabaseUrl

    @property
    def database_setting(self) -> str:
        """How the operator knows the URL of the database."""
        return f"{self.model_config.get('env_prefix', '')}DATABASE_URL"

    def warn_of_open_ways(self, log: Logger) -> None:
        """One line at the start for each way on which somebody else could listen or answer."""
        for warning in (
            *self.kafka_security().warnings(self.kafka_bootstrap),
            *database_url.warnings(self.database_url, self.database_setting),
        ):
            log.warning("open-way", warning=warning)
