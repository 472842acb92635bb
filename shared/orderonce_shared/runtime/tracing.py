"""W3C trace context: one trace id from the HTTP request through Kafka's headers to the venue call
and the booking.
"""

import re

from orderonce_shared.runtime.ids import random_bytes

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def new_traceparent() -> str:
    return f"00-{random_bytes(16).hex()}-{random_bytes(8).hex()}-01"


def continue_trace(received: str | None) -> str:
    """The caller's traceparent when it is well formed, else a new one."""
    if received is None or not _TRACEPARENT.fullmatch(received):
        return new_traceparent()
    _, trace, parent, _ = received.split("-")
    return received if trace.strip("0") and parent.strip("0") else new_traceparent()


def trace_id(traceparent: str | None) -> str:
    return traceparent[3:35] if traceparent and _TRACEPARENT.fullmatch(traceparent) else ""
