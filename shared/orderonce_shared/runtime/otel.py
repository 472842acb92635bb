"""Tracing when it is on: OpenTelemetry's SDK behind `tracing.Tracing`, told by the standard OTEL_*
variables. `open_tracing` is the only door; it imports OpenTelemetry only if one of them says so.

Spans leave in a thread of the SDK from a queue with a bound: a collector that is slow, away or
wrong costs spans, never an order and never a start or stop. What is called from the event loop
touches memory only.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from orderonce_shared.contracts.topics import header
from orderonce_shared.runtime.clock import wall_ns
from orderonce_shared.runtime.ids import new_request_id
from orderonce_shared.runtime.tracing import (
    OFF,
    Attribute,
    Kind,
    Span,
    Traced,
    Tracing,
    is_traceparent,
)

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

CLOSE_LIMIT_S = 2.0
EXPORTERS = ("otlp", "console", "none")
PREFIX = "orderonce."
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def open_tracing(part: str, env: Mapping[str, str] = os.environ) -> Tracing:
    """Off unless OTEL_TRACES_EXPORTER names an exporter or an endpoint is set. Raises SystemExit
    with a sentence for what this build cannot do.
    """
    wanted = exporters(env)
    return Recording(_provider(part, wanted, env)) if wanted else OFF


def exporters(env: Mapping[str, str]) -> list[str]:
    """The exporters that the environment asks for; none is off."""
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    default = "otlp" if any(env.get(name) for name in _ENDPOINTS) else "none"
    names = (env.get("OTEL_TRACES_EXPORTER", "").strip() or default).split(",")
    found = [name.strip() for name in names]
    for name in found:
        if name not in EXPORTERS:
            raise SystemExit(f"OTEL_TRACES_EXPORTER: {name!r} is none of {', '.join(EXPORTERS)}")
    protocol = next((env[name] for name in _PROTOCOLS if env.get(name)), "http/protobuf")
    if "otlp" in found and protocol != "http/protobuf":
        raise SystemExit(f"{_PROTOCOLS[1]}: {protocol!r}: only http/protobuf is built in")
    return [name for name in found if name != "none"]


def _provider(part: str, wanted: list[str], env: Mapping[str, str]) -> "TracerProvider":
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    named = "OTEL_SERVICE_NAME" in env or "service.name=" in env.get("OTEL_RESOURCE_ATTRIBUTES", "")
    about = {"service.version": version("orderonce"), "service.instance.id": new_request_id()}
    if not named:
        about["service.name"] = f"orderonce-{part}"
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    for name in wanted:
        if name == "otlp":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        else:
            provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    return provider


class Recording(Tracing):
    """On. Only in here do spans of OpenTelemetry exist."""

    on = True

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace
        from opentelemetry.context import Context

        self._provider = provider
        self._tracer = provider.get_tracer("orderonce", version("orderonce"))
        self._trace = trace
        self._nowhere = Context()
        self._kinds = {kind.name.lower(): kind for kind in trace.SpanKind}

    def now_ns(self) -> int:
        return wall_ns()

    def begin(
        self,
        name: str,
        parent: str | None,
        kind: Kind = "internal",
        since_ns: int = 0,
        **attributes: Attribute,
    ) -> Span:
        span = self._tracer.start_span(
            name,
            self._inside(parent),
            self._kinds[kind],
            start_time=since_ns or wall_ns(),
            attributes=_named(attributes),
        )
        return _Recorded(span, self._trace.StatusCode.ERROR)

    def note_records(self, verb: str, records: Iterable[Traced], since_ns: int, kind: Kind) -> None:
        rows = list(records)
        for record in rows:
            parent = header(record.headers, "traceparent")
            if is_traceparent(parent):
                order_id = header(record.headers, "order_id")
                span = self.begin(f"{verb} {record.topic}", parent, kind, since_ns, batch=len(rows))
                span.end(order_id=order_id)

    def continue_record(self, record: Traced) -> str:
        parent = header(record.headers, "traceparent")
        if parent is not None and is_traceparent(parent):
            return parent
        span = self.begin(f"receive {record.topic}", None, "consumer")
        span.end(order_id=header(record.headers, "order_id"))
        return span.traceparent

    def close(self) -> None:
        """A collector that does not answer is left alone after CLOSE_LIMIT_S."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_LIMIT_S)

    def _inside(self, parent: str | None) -> Any:
        if parent is None or not is_traceparent(parent):
            return self._nowhere
        trace = self._trace
        context = trace.SpanContext(
            int(parent[3:35], 16),
            int(parent[36:52], 16),
            is_remote=True,
            trace_flags=trace.TraceFlags(int(parent[53:], 16)),
        )
        return trace.set_span_in_context(trace.NonRecordingSpan(context), self._nowhere)


class _Recorded(Span):
    __slots__ = ("_error", "_span")

    def __init__(self, span: Any, error: Any) -> None:
        context = span.get_span_context()
        ids = f"{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        super().__init__(f"00-{ids}")
        self._span, self._error = span, error

    def end(
        self, *, error: str | None = None, name: str | None = None, **attributes: Attribute
    ) -> None:
        if name is not None:
            self._span.update_name(name)
        for name, value in _named(attributes).items():
            self._span.set_attribute(name, value)
        if error is not None:
            self._span.set_status(self._error, error)
        self._span.end(wall_ns())


def _named(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    """Names as they are exported: ours carry a prefix, those with a double underscore are
    OpenTelemetry's own (`http__route` is http.route). What is None is left out.
    """
    return {
        name.replace("__", ".") if "__" in name else PREFIX + name: _plain(value)
        for name, value in attributes.items()
        if value is not None
    }


def _plain(value: object) -> str | bool | int | float:
    return value if isinstance(value, str | bool | int | float) else str(value)
