"""W3C trace context: one trace id from the HTTP request through Kafka's headers to the venue call
and the booking.

The id travels and stands in logs whether anybody records traces or not. Recording is off by
default, and then nothing of OpenTelemetry is imported: `Tracing` does nothing. On, `otel.Recording`
stands in its place.
"""

import re
from collections.abc import Iterable
from typing import Literal, Protocol

from orderonce_shared.contracts.topics import header
from orderonce_shared.runtime.ids import random_bytes

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attribute = object  # text, a number, a bool, or what str() makes text of


class Traced(Protocol):
    """A record that goes to Kafka or comes from it."""

    @property
    def topic(self) -> str: ...

    @property
    def headers(self) -> list[tuple[str, bytes]]: ...


def new_traceparent() -> str:
    """Not marked as sampled: nobody has recorded this trace so far."""
    both = random_bytes(24).hex()
    return f"00-{both[:32]}-{both[32:]}-00"


def is_traceparent(text: str | None) -> bool:
    """Well formed, and neither id all zeros."""
    if text is None or not _TRACEPARENT.fullmatch(text):
        return False
    _, trace, parent, _ = text.split("-")
    return bool(trace.strip("0") and parent.strip("0"))


def continue_trace(received: str | None) -> str:
    """The caller's traceparent when it is well formed, else a new one."""
    return received if received is not None and is_traceparent(received) else new_traceparent()


def trace_id(traceparent: str | None) -> str:
    return traceparent[3:35] if traceparent and _TRACEPARENT.fullmatch(traceparent) else ""


class Span:
    """A step under way. `traceparent` is what a step inside of it names as its parent."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def end(
        self, *, error: str | None = None, name: str | None = None, **attributes: Attribute
    ) -> None:
        """Once. `error` says in a word or two why the step failed; `name`, if it is known only
        now, what it was.
        """


class Tracing:
    """Off. Whatever is asked of it costs a call and leaves nothing."""

    on = False

    def now_ns(self) -> int:
        """The start of a step whose span is made later; 0 when off."""
        return 0

    def begin(
        self,
        name: str,
        parent: str | None,
        kind: Kind = "internal",
        since_ns: int = 0,
        **attributes: Attribute,
    ) -> Span:
        """A step that begins now, or began at `since_ns`. Without a well formed parent it begins a
        trace. Attributes hold ids, names, counts and verdicts: no key, no secret, no amount.
        """
        return _NOTHING

    def note_records(self, verb: str, records: Iterable[Traced], since_ns: int, kind: Kind) -> None:
        """A batch of records: one step each, in each one's own trace, that lasted as long as the
        batch. A record without a trace has none.
        """

    def continue_record(self, record: Traced) -> str:
        """The traceparent of a record that arrives; a foreign producer may have sent none."""
        return continue_trace(header(record.headers, "traceparent"))

    def close(self) -> None:
        """Sends what is left, within a limit."""


_NOTHING = Span("")
OFF = Tracing()
