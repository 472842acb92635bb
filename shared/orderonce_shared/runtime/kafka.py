"""The topics, and the step that makes them: `python -m orderonce_shared.runtime.kafka`.

Who publishes: kafka_publisher.py. Who reads: kafka_consumer.py, and kafka_reader.py below it.
"""

import asyncio
import sys

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from orderonce_shared.contracts.topics import DLQ, PARTITIONS, prefixed
from orderonce_shared.runtime.kafka_publisher import MAX_LETTER_BYTES
from orderonce_shared.runtime.kafka_security import (
    OPEN,
    KafkaSecurity,
    KafkaSettings,
    why_refused,
)
from orderonce_shared.runtime.settings import read_settings


def _limits_of(topic: str) -> dict[str, str]:
    """Kafka's own limits, but for the dead letters: each is larger than the record it holds."""
    return {"max.message.bytes": str(MAX_LETTER_BYTES)} if topic == DLQ else {}


async def ensure_topics(
    bootstrap: str, replication: int, prefix: str = "", security: KafkaSecurity = OPEN
) -> list[str]:
    """Makes the missing topics and returns their names. Raises KafkaError."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, client_id="orderonce-topics", **security.client()
    )
    await admin.start()
    try:
        present = set(await admin.list_topics())
        missing = [
            NewTopic(prefixed(prefix, name), count, replication, topic_configs=_limits_of(name))
            for name, count in PARTITIONS.items()
            if prefixed(prefix, name) not in present
        ]
        if missing:
            answer = await admin.create_topics(missing)
            for name, code, *_ in answer.topic_errors:
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:
                    raise error(name)
        return [topic.name for topic in missing]
    finally:
        await admin.close()


class TopicSettings(KafkaSettings):
    model_config = SettingsConfigDict(env_prefix="", frozen=True, hide_input_in_errors=True)

    kafka_replication: int = Field(
        default=1, description="copies of each partition; 3 on a cluster"
    )
    kafka_topic_prefix: str = Field(
        default="", description="prefix of topics and consumer groups on a cluster that is shared"
    )


async def make_topics(settings: TopicSettings) -> list[str]:
    """As `ensure_topics`, or SystemExit with what is in the way."""
    bootstrap, security = settings.kafka_bootstrap, settings.kafka_security()
    for warning in security.warnings(bootstrap):
        sys.stderr.write(f"warning: {warning}\n")
    try:
        return await ensure_topics(
            bootstrap, settings.kafka_replication, settings.kafka_topic_prefix, security
        )
    except (KafkaError, OSError, TimeoutError) as error:
        why = await why_refused(bootstrap, security) or f"{type(error).__name__}: {error}"
        raise SystemExit(f"topics: {why}") from None


def main() -> None:
    made = asyncio.run(make_topics(read_settings(TopicSettings)))
    sys.stderr.write(f"topics made: {', '.join(made) if made else 'none were missing'}\n")


if __name__ == "__main__":
    main()
