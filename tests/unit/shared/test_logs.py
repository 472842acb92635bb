"""Logs: one JSON object per line on standard error, whatever is thrown at them, and no secret in
it."""

import errno
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from orderonce_shared.runtime.logs import Logger, configure_logs

BEARER = "oo_test_abcdefABCDEF_" + "s" * 43 + "0aZ9bY"
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The logger keeps the standard error that it found: pytest's own may be closed before it."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.fixture
def log(stderr: io.StringIO) -> Iterator[Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield configure_logs("sample")
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def lines(stderr: io.StringIO) -> Lines:
    return lambda: [json.loads(line) for line in stderr.getvalue().splitlines()]


def test_one_object_per_line(log: Logger, lines: Lines) -> None:
    log.info("order-sent", order_id="o-1", detail="two\nlines")

    [line] = lines()

    assert (line["event"], line["service"], line["level"]) == ("order-sent", "sample", "info")
    assert (line["order_id"], line["detail"]) == ("o-1", "two\nlines")
    assert line["timestamp"].endswith("Z")


def test_the_standard_library_logs_alike(log: Logger, lines: Lines) -> None:
    logging.getLogger("somebody.else").warning("trouble with %s", BEARER)

    [line] = lines()

    assert line["event"].startswith("trouble with oo_test_")
    assert "s" * 43 not in str(line)


@pytest.mark.parametrize(
    "name",
    ["secret", "api_key", "Authorization", "database_url", "venue_signature", "db_password"],
)
def test_a_field_that_speaks_of_a_secret_is_blotted(name: str, log: Logger, lines: Lines) -> None:
    log.info(
        "oops",
        **{name: "hunter2"},
        account={"venue": "paper", name: "hunter2"},
        both=[{name: "hunter2"}],
    )

    [line] = lines()

    assert line[name] == "***"
    assert line["account"] == {"venue": "paper", name: "***"}
    assert "hunter2" not in str(line)


def test_a_bearer_key_or_a_password_in_text_is_blotted(log: Logger, lines: Lines) -> None:
    """Somebody else's exception may quote a header or a connection string."""
    try:
        raise ValueError(f"cannot connect to postgresql://executor:hunter2@db:5432/x with {BEARER}")
    except ValueError:
        log.exception("failed", header=f"Bearer {BEARER}", where="amqp://u:hunter2@h/")

    [line] = lines()

    assert "ValueError" in line["exception"]
    assert "postgresql://executor:***@db:5432/x" in line["exception"]
    assert "hunter2" not in str(line)
    assert "s" * 43 not in str(line)
    assert "oo_test_abcdefABCDEF" in line["header"]  # the kid is public, and tells which key


def test_nothing_that_is_logged_can_raise(log: Logger, lines: Lines) -> None:
    log.info(
        "odd", tag="\ud800", number=2**80, raw=b"\xff", mapping={1: object()}, nan=float("nan")
    )

    [line] = lines()

    assert line["event"] == "odd"
    assert line["number"] == 2**80


def test_context_is_on_every_line(log: Logger, lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(trace_id="t-1"):
        log.info("inside")
    log.info("outside")

    inside, outside = lines()

    assert inside["trace_id"] == "t-1"
    assert "trace_id" not in outside


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_takes_lines_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", FullDisk())
    monkeypatch.setattr(logging, "raiseExceptions", True)
    try:
        log = configure_logs("test")
        log.info("an event")
        logging.getLogger("somebody").warning("a warning")
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.reset_defaults()


def test_what_a_library_repeats_is_folded(
    log: Logger, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of lines a second of one outage would push all others out of a log that rotates."""
    library = logging.getLogger("a.library.of.this.test.alone")
    now = 1_000.0
    monkeypatch.setattr(logging.time, "time", lambda: now)
    for node in range(50):
        library.error("Unable connect to node with id %s", node)
    library.error("Topic %s is not available", "orders.commands")
    now += 11.0
    library.error("Unable connect to node with id %s", 7)

    assert [line["event"] for line in lines()] == [
        "Unable connect to node with id 0",
        "Topic orders.commands is not available",
        "Unable connect to node with id 7 [and 49 more like this]",
    ]
