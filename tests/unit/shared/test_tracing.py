"""One trace id from the request to the booking: a good header is continued, a bad one replaced.
Off, nothing is imported; on, each step stands inside its parent."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from orderonce_shared.runtime.kafka_publisher import Outgoing
from orderonce_shared.runtime.otel import Recording, exporters, open_tracing
from orderonce_shared.runtime.traced_http import traced
from orderonce_shared.runtime.tracing import OFF, continue_trace, new_traceparent, trace_id

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_good_one_is_continued() -> None:
    assert continue_trace(GOOD) == GOOD
    assert trace_id(GOOD) == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    "received",
    [
        None,
        "",
        GOOD.upper(),
        GOOD + "\n",
        GOOD + "-more",
        "01" + GOOD[2:],
        "00-" + "0" * 32 + GOOD[35:],
        GOOD[:36] + "0" * 16 + "-01",
        "nonsense",
    ],
)
def test_a_bad_one_is_replaced(received: str | None) -> None:
    made = continue_trace(received)

    assert made != received
    assert continue_trace(made) == made
    assert len(trace_id(made)) == 32


def test_each_new_one_is_its_own() -> None:
    assert len({trace_id(new_traceparent()) for _ in range(100)}) == 100


def test_one_that_nobody_records_is_not_marked_as_sampled() -> None:
    assert new_traceparent().endswith("-00")


def test_no_trace_has_no_id() -> None:
    assert trace_id(None) == trace_id("nonsense") == ""


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, ["otlp"]),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ["otlp", "console"]),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, []),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, []),
    ],
)
def test_the_standard_settings_switch_it_on(env: dict[str, str], wanted: list[str]) -> None:
    assert exporters(env) == wanted
    assert open_tracing("part", env if not wanted else {}) is OFF


@pytest.mark.parametrize(
    "env",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        },
    ],
)
def test_what_is_not_built_in_is_refused_with_its_setting(env: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match=r"^OTEL_"):
        exporters(env)


@pytest.mark.parametrize("service", ["orderonce_api", "orderonce_executor", "orderonce_ledger"])
def test_off_nothing_of_it_is_imported(service: str) -> None:
    script = (
        f"import sys, {service}.main; from orderonce_shared.runtime.otel import open_tracing;"
        " tracing = open_tracing('part', {}); tracing.begin('x', None, order_id=1).end();"
        " tracing.close(); heavy = ('opentelemetry.sdk', 'opentelemetry.exporter');"
        " print([name for name in sys.modules if name.startswith(heavy)])"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert told.stdout.strip() == "[]"


Recorded = tuple[Recording, Callable[[], dict[str, ReadableSpan]]]


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    yield (
        Recording(provider),
        lambda: {span.name: span for span in memory.get_finished_spans()},
    )
    provider.shutdown()


def parent_of(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"{span.parent.span_id:016x}"


def test_a_step_stands_in_its_parents_trace(recorded: Recorded) -> None:
    tracing, spans = recorded

    outer = tracing.begin("outer", GOOD, "server", account="paper-1")
    inner = tracing.begin("inner", outer.traceparent, since_ns=5, batch=3)
    inner.end(error="silence", order_id=None)
    outer.end(name="renamed", http__route="/v1/orders")

    made = spans()
    assert trace_id(inner.traceparent) == trace_id(outer.traceparent) == trace_id(GOOD)
    assert parent_of(made["renamed"]) == GOOD.split("-")[2]
    assert parent_of(made["inner"]) == outer.traceparent.split("-")[2]
    assert made["inner"].start_time == 5
    assert made["inner"].attributes == {"orderonce.batch": 3}
    assert not made["inner"].status.is_ok
    assert made["renamed"].attributes == {
        "orderonce.account": "paper-1",
        "http.route": "/v1/orders",
    }


def test_without_a_parent_a_trace_begins(recorded: Recorded) -> None:
    tracing, spans = recorded

    begun = tracing.begin("root", "nonsense")
    begun.end()

    assert spans()["root"].parent is None
    assert continue_trace(begun.traceparent) == begun.traceparent


def record(topic: str, traceparent: str | None) -> Outgoing:
    headers = [("order_id", b"o-1"), ("key", b"secret-key")]
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    return Outgoing(topic, "paper-1", b"{}", headers)


def test_each_record_of_a_batch_has_a_span_in_its_own_trace(recorded: Recorded) -> None:
    tracing, spans = recorded
    other = new_traceparent()[:-2] + "01"

    tracing.note_records(
        "publish", [record("a", GOOD), record("b", other), record("c", None)], 7, "producer"
    )

    made = spans()
    assert set(made) == {"publish a", "publish b"}
    assert f"{made['publish b'].context.trace_id:032x}" == trace_id(other)
    assert made["publish a"].attributes == {"orderonce.batch": 3, "orderonce.order_id": "o-1"}
    assert made["publish a"].start_time == 7


def test_a_foreign_record_begins_a_trace_that_is_recorded(recorded: Recorded) -> None:
    tracing, spans = recorded

    assert tracing.continue_record(record("orders.commands", GOOD)) == GOOD
    begun = tracing.continue_record(record("orders.commands", None))

    assert f"{spans()['receive orders.commands'].context.trace_id:032x}" == trace_id(begun)


def test_what_the_sampler_leaves_out_stays_out_downstream() -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracing = Recording(provider)

    begun = tracing.begin("root", None)
    begun.end()

    assert int(begun.traceparent[-2:], 16) & 1 == 0
    assert memory.get_finished_spans() == ()


async def ask(app: Any, *headers: tuple[bytes, bytes], path: str = "/v1/orders") -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(_: Any) -> None:
        return None

    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
    await app(scope, receive, send)


@pytest.mark.parametrize(
    ("status", "name", "ok"),
    [(202, "POST /v1/orders", True), (404, "POST", True), (503, "POST /v1/orders", False)],
)
async def test_a_request_hands_its_span_on_in_the_header(
    recorded: Recorded, status: int, name: str, ok: bool
) -> None:
    tracing, spans = recorded
    heard: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.extend(value for name, value in scope["headers"] if name == b"traceparent")
        await send({"type": "http.response.start", "status": status, "headers": []})

    await ask(traced(app, tracing), (b"traceparent", GOOD.encode()), (b"idempotency-key", b"k"))

    (handed,) = heard
    span = spans()[name]
    assert handed.decode().split("-")[2] == f"{span.context.span_id:016x}"
    assert parent_of(span) == GOOD.split("-")[2]
    assert span.status.is_ok or span.status.is_unset if ok else not span.status.is_ok
    assert "idempotency" not in str(span.attributes)


def test_off_a_request_does_not_pass_through_it() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return None

    assert traced(app, OFF) is app
