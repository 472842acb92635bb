"""A collector as small as can be: takes OTLP over HTTP and keeps the spans, or takes the connection
and never answers."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.stacks.processes import Child, Processes
from tests.stacks.program import Program


@dataclass(frozen=True)
class Told:
    """One span as it came over the wire; ids in hex, `parent` empty for a root."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    seconds: float
    failed: bool


@dataclass
class Collector:
    url: str
    spans: list[Told] = field(default_factory=list)

    def of(self, trace: str) -> list[Told]:
        return [span for span in list(self.spans) if span.trace == trace]


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """Listens on a free port of this machine."""
    kept = Collector("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.spans += read_spans(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def silent_collector() -> Iterator[str]:
    """The address of one that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def read_spans(body: bytes) -> list[Told]:
    found = []
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _plain(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            found += [
                Told(
                    service,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    _plain(span.attributes),
                    (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    span.status.code == span.status.STATUS_CODE_ERROR,
                )
                for span in scope.spans
            ]
    return found


def _plain(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


class TracedProcesses(Processes):
    """Services of this machine that send their spans to `endpoint`."""

    def __init__(self, endpoint: str, **more: str) -> None:
        self._env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            **more,
        }

    def child(self, program: Program, folder: Path) -> Child:
        return super().child(replace(program, env={**program.env, **self._env}), folder)
