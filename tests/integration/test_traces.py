"""One order's trace over all processes, as an operator's collector gets it; and that a collector
which does not answer holds up nothing."""

from pathlib import Path

import httpx
from orderonce_shared.runtime.tracing import new_traceparent, trace_id

from tests.line import Line, Shape, run_line, until
from tests.otlp import Collector, Told, TracedProcesses, collector, silent_collector
from tests.servers import Database
from tests.workload import Bot, Json, limit_order, market_order, new_key

# What one filled order leaves, service by service; the sweeper and repeats may add to it.
OF_A_FILL = {
    "orderonce-order-api": {
        "POST /v1/orders", "accept", "publish {p}orders.commands", "process {p}orders.events",
        "process {p}orders.fills",
    },
    "orderonce-executor": {
        "process {p}orders.commands", "place", "cas to sending", "create at venue", "record",
        "publish {p}orders.events", "publish {p}orders.fills",
    },
    "orderonce-ledger": {"process {p}orders.fills"},
}  # fmt: skip
# A machine under load must not turn an answer into silence: the trace would be another one.
PATIENT = {
    "EXECUTOR_WINDOW_MS": "60000", "EXECUTOR_VENUE_TIMEOUT_MS": "30000",
    "EXECUTOR_LOG_LEVEL": "DEBUG",
}  # fmt: skip
PARENTS = {
    "accept": "POST /v1/orders",
    "publish {p}orders.commands": "POST /v1/orders",
    "process {p}orders.commands": "POST /v1/orders",
    "place": "POST /v1/orders",
    "cas to sending": "place",
    "create at venue": "place",
    "record": "place",
    "publish {p}orders.fills": "POST /v1/orders",
    "process {p}orders.fills": "POST /v1/orders",
}


def sampled() -> str:
    return new_traceparent()[:-2] + "01"


async def place(line: Line, bearer: str, key: str, traceparent: str, body: Json) -> httpx.Response:
    headers = {
        "Authorization": f"Bearer {bearer}", "Idempotency-Key": key, "traceparent": traceparent,
    }  # fmt: skip
    return await line.http.post(f"{line.api_urls[0]}/v1/orders", json=body, headers=headers)


async def whole(found: Collector, trace: str, wanted: dict[str, set[str]]) -> list[Told]:
    """The spans of the trace, as soon as each service has told what it should."""

    def missing() -> dict[str, set[str]]:
        told = found.of(trace)
        return {
            service: left
            for service, names in wanted.items()
            if (left := names - {span.name for span in told if span.service == service})
        }

    try:
        await until(lambda: not missing(), 60.0, "the trace is whole")
    except AssertionError as error:
        raise AssertionError(f"{error}: missing {missing()}") from None
    return found.of(trace)


async def test_one_trace_leads_from_the_request_to_the_booking(
    database: Database, kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    with collector() as found:
        stack = TracedProcesses(found.url)
        shape = Shape(stack=stack, executor_env=PATIENT)
        async with run_line(
            database, kafka_bootstrap, topic_prefix, tmp_path / "line", shape
        ) as line:
            _, bearer = await line.make_key("bot")
            key, given, again = new_key(), sampled(), sampled()
            body = market_order(quantity="0.0123")
            first = await place(line, bearer, key, given, body)
            assert first.status_code == 202, first.text
            order_id = first.json()["order_id"]
            told = await whole(found, trace_id(given), _named(OF_A_FILL, topic_prefix))
            _judge_tree(told, given, topic_prefix)
            _judge_attributes(told, order_id, [bearer, key, "0.0123"])

            # A retry is a request of its own; the order's id leads to the first one's trace.
            replay = await place(line, bearer, key, again, body)
            assert replay.content == first.content
            wanted = {"orderonce-order-api": {"POST /v1/orders", "accept"}}
            retold = await whole(found, trace_id(again), wanted)
            (accept,) = [span for span in retold if span.name == "accept"]
            assert accept.attributes["orderonce.replayed"] is True
            assert accept.attributes["orderonce.order_id"] == order_id

            await _cancel_is_in_the_orders_trace(line, found, bearer)
            for child in line.children:
                await child.stop()
                assert child.exit_code == 0
        assert f'"trace_id":"{trace_id(given)}"' in (tmp_path / "line/executor-1.log").read_text()


async def _cancel_is_in_the_orders_trace(line: Line, found: Collector, bearer: str) -> None:
    given = sampled()
    opened = await place(line, bearer, new_key(), given, limit_order())
    bot = Bot(line.api_urls, bearer)
    await bot.wait_for(opened.json()["order_id"], "open")
    await bot.cancel(opened.json()["order_id"])
    await bot.wait_for(opened.json()["order_id"], "canceled")
    await whole(found, trace_id(given), {"orderonce-executor": {"cancel at venue"}})
    await bot.close()


def _named(names: dict[str, set[str]], prefix: str) -> dict[str, set[str]]:
    return {service: {n.format(p=prefix) for n in of} for service, of in names.items()}


def _judge_tree(told: list[Told], given: str, prefix: str) -> None:
    ids = {span.id: span for span in told}
    (root,) = [span for span in told if span.name == "POST /v1/orders"]
    assert root.parent == given.split("-")[2], "the caller's span is the parent of ours"
    for span in told:
        assert span is root or span.parent in ids, f"{span.name} hangs in the air"
    for child, parent in PARENTS.items():
        for span in told:
            if span.name == child.format(p=prefix):
                assert ids[span.parent].name == parent, child


def _judge_attributes(told: list[Told], order_id: str, unsaid: list[str]) -> None:
    """Ids, counts and verdicts; no key, no credential, no amount."""
    (call,) = [span for span in told if span.name == "create at venue"]
    assert call.attributes == {"orderonce.venue": "paper", "orderonce.verdict": "acknowledged"}
    (placed,) = [span for span in told if span.name == "place"]
    assert placed.attributes["orderonce.order_id"] == order_id
    assert placed.attributes["orderonce.state"] == "filled"
    assert placed.seconds >= call.seconds
    everything = " ".join(f"{span.name} {span.attributes}" for span in told)
    assert not [word for word in unsaid if word in everything]


async def test_a_collector_that_never_answers_holds_up_nothing(
    database: Database, kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    with silent_collector() as url:
        shape = Shape(stack=TracedProcesses(url), executor_env=PATIENT)
        async with run_line(
            database, kafka_bootstrap, topic_prefix, tmp_path / "line", shape
        ) as line:
            _, bearer = await line.make_key("bot")
            bot = Bot(line.api_urls, bearer)
            placed = await bot.place(market_order())
            await bot.wait_for(placed.told()["order_id"], "filled")
            await bot.close()
            for child in line.children:
                await child.stop()
                assert child.exit_code == 0, child.tail()
