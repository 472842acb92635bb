"""Structured logs: one JSON line per event on standard error, with order and trace ids bound where
they are known.

Secrets never get here: they are SecretStr or bytes, and a field whose name speaks of one is blotted
out all the same.
"""

import contextlib
import json
import logging
import re
import sys
from typing import Any, TextIO

import orjson
import structlog

FOLD_S = 10.0
MOST_FOLDED = 500  # texts that are remembered; then all are forgotten

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


# Somebody else's exception may quote a header or a connection string. The kid is public: it tells
# which key it was.
_BEARER = re.compile(r"(oo_[a-z]+_[0-9A-Za-z]{12}_)[0-9A-Za-z]+", re.ASCII)
_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@", re.ASCII)


def _blot(value: Any) -> Any:
    if isinstance(value, str):
        return _PASSWORD.sub(r"\1***@", _BEARER.sub(r"\1***", value))
    if isinstance(value, dict):
        return {
            name: "***" if _speaks_of_a_secret(name) else _blot(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_blot(inner) for inner in value]
    return value


def _speaks_of_a_secret(name: object) -> bool:
    return isinstance(name, str) and any(word in name.lower() for word in _SECRET_WORDS)


def _blot_secrets(_: Any, __: str, event: Any) -> Any:
    return _blot(event)


def _to_json(event: Any, **_: Any) -> str:
    """Whatever is logged becomes a line: a log call that raises takes a request or a loop with
    it.
    """
    try:
        return orjson.dumps(event, default=str).decode()
    except TypeError:  # a lone surrogate, an integer above 64 bits, a key that is no text
        return json.dumps(event, default=str, skipkeys=True)


class _NeverInTheWay:
    """A stream that drops a line which it cannot write: a full disk under the log file must not
    turn a log call into a failed request or a dead loop.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class _Folded(logging.Filter):
    """Of what a library says again and again, one line in FOLD_S, which tells how many it stands
    for: aiokafka alone writes hundreds a second while Kafka is away, and pushes all others out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, object], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, record.msg)
        if len(self._seen) > MOST_FOLDED:
            self._seen.clear()
        said_at, folded = self._seen.get(key, (-FOLD_S, 0))
        if record.created - said_at < FOLD_S:
            self._seen[key] = (said_at, folded + 1)
            return False
        self._seen[key] = (record.created, 0)
        if folded:
            record.msg = f"{record.msg} [and {folded} more like this]"
        return True


def configure_logs(service: str, level: str = "INFO") -> Logger:
    """Sets up structlog and the standard library's logging alike; returns the service's logger."""
    stream: Any = _NeverInTheWay(sys.stderr)
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
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_Folded())
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
