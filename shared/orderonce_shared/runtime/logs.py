"""Structured logs: one JSON line per event on standard error, with order and trace ids bound where they are known.

Secrets never get here: they are SecretStr or bytes, and a field whose name speaks of one is blotted out all the same.
"""

import logging
import sys
from typing import Any

import orjson
import structlog

_SECRET_WORDS = (
    "secret",
    "password",
    "pepper",
    "authorization",
    "api_key",
    "signature",
    "dsn",
    "database_url",
)

Logger = structlog.stdlib.BoundLogger


def _blot_secrets(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    for name in event:
        if any(word in name.lower() for word in _SECRET_WORDS):
            event[name] = "***"
    return event


def _to_json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()


def configure_logs(service: str, level: str = "INFO") -> Logger:
    """Sets up structlog and the standard library's logging alike; returns the service's logger."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _blot_secrets,
    ]
    renderer = structlog.processors.JSONRenderer(serializer=_to_json)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("WARNING")
    logger: Logger = structlog.get_logger(service=service)
    return logger
