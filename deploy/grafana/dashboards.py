"""The dashboards, a line per curve; `python deploy/grafana/dashboards.py` writes dashboards/*.json.

Grafana's own JSON repeats the same forty lines for each panel: nobody would see in it what is
asked. A test fails on a file that is stale, a query that does not parse and a metric that no
service has.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent / "dashboards"
RATE = "$__rate_interval"
WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Query = tuple[str, str]  # (PromQL, legend)


@dataclass(frozen=True)
class Panel:
    """`bad_from`: from this value on a stat is red. Units are Grafana's names."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    text: str = ""
    bad_from: float | None = None
    bad_below: float | None = None
    width: int = 8

    @property
    def is_stat(self) -> bool:
        return self.bad_from is not None or self.bad_below is not None


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({metric}[{RATE}]))"


def quantile(q: float, histogram: str, by: str = "") -> str:
    labels = ", ".join(["le", *([by] if by else [])])
    return f"histogram_quantile({q}, sum by ({labels}) (rate({histogram}_bucket[{RATE}])))"


def mean(histogram: str) -> str:
    return f"{rate(f'{histogram}_sum')} / {rate(f'{histogram}_count')}"


HOPS = (
    ("accept", "orderonce_api_accept_seconds", "request to committed answer"),
    ("claim", "orderonce_executor_claim_lag_seconds", "acceptance to claim"),
    ("queue", "orderonce_executor_queue_seconds", "claim to CAS"),
    ("venue", "orderonce_executor_send_seconds", "create to the venue's answer"),
    ("record", "orderonce_executor_record_seconds", "the transaction that records it"),
    ("follow", "orderonce_api_follow_lag_seconds", "event in Kafka to the client's view"),
    ("book", "orderonce_ledger_lag_seconds", "fill in Kafka to the books"),
)


def hops(q: float) -> tuple[Query, ...]:
    return tuple((quantile(q, metric), f"{name}: {text}") for name, metric, text in HOPS)


SAFE = Row("Is the money safe?", (
    Panel("Assets whose proof is not 0", "none", (
        ("max(orderonce_ledger_proof_nonzero_assets)", ""),), "Must be 0.", 1, width=3),
    Panel("Open breaks", "none", (
        ("sum(max by (type) (orderonce_ledger_breaks_open))", ""),),
        "Differences between venue and ledger, each with its cause.", 1, width=3),
    Panel("Reconciled", "s", (("max(orderonce_ledger_reconciliation_age_seconds)", ""),),
        "Age of the oldest last good run: what the two beside it are worth.", 300, width=3),
    Panel("Unknown orders", "none", (
        ('sum(orderonce_executor_orders{state="unknown"})', ""),),
        "Sent, and no word of them yet; each is looked up until evidence ends it.", 1, width=3),
    Panel("Oldest unknown", "s", (
        ("max(orderonce_executor_unknown_oldest_age_seconds)", ""),), "", 120, width=3),
    Panel("Oldest unclaimed", "s", (
        ("max(orderonce_api_unclaimed_oldest_age_seconds)", ""),),
        "The oldest accepted command that no executor has taken.", 10, width=3),
    Panel("Executors that may send", "none", (
        ("sum(orderonce_executor_lock_held) or vector(0)", ""),), "", bad_below=1, width=3),
    Panel("Alerts firing", "none", (
        ('count(ALERTS{alertstate="firing"}) or vector(0)', ""),), "", 1, width=3),
))  # fmt: skip

FLOW = Row("Flow", (
    Panel("From request to booking", "ops", (
        (rate("orderonce_api_accepts_total"), "accepted"),
        (rate("orderonce_executor_claims_total"), "claimed"),
        (rate("orderonce_executor_sends_total"), "sent"),
        (rate('orderonce_executor_verdicts_total{verdict="acknowledged"}'), "acknowledged"),
        (rate("orderonce_executor_endings_total"), "ended"),
        (rate("orderonce_ledger_fills_total"), "fills booked"),
    ), "Lines that part tell where orders gather."),
    Panel("What the venue says", "ops", (
        (rate("orderonce_executor_verdicts_total", "verdict"), "{{verdict}}"),)),
    Panel("How orders end", "ops", (
        (rate("orderonce_executor_endings_total", "state"), "{{state}}"),)),
    Panel("Answers to bots", "ops", (
        (rate('orderonce_api_http_replies_total{port="bots"}', "status"), "{{status}}"),)),
    Panel("Replays, conflicts, denials", "ops", (
        (rate("orderonce_api_replays_total"), "replays"),
        (rate("orderonce_api_key_conflicts_total"), "key conflicts"),
        (rate("orderonce_api_denials_total", "code"), "denied: {{code}}"))),
    Panel("Waiting", "none", (
        ("max(orderonce_api_unclaimed_commands)", "unclaimed commands"),
        ("sum by (state) (orderonce_executor_orders)", "orders: {{state}}"),
        ("sum(orderonce_executor_outbox_records)", "events and fills for Kafka"))),
))  # fmt: skip

LATENCY = Row("Latency of each hop", (
    Panel("Median", "s", hops(0.5), width=12),
    Panel("99 of 100", "s", hops(0.99), width=12),
))  # fmt: skip

EXECUTORS = Row("Executors", (
    Panel("Rows that the CAS did not send", "ops", (
        (rate("orderonce_executor_cas_misses_total", "why"), "{{why}}"),)),
    Panel("Look-ups and cancels", "ops", (
        (rate("orderonce_executor_look_ups_total", "verdict"), "look-up: {{verdict}}"),
        (rate("orderonce_executor_cancels_total", "verdict"), "cancel: {{verdict}}"))),
    Panel("Unknown until resolved", "s", (
        (quantile(0.5, "orderonce_executor_resolve_seconds", "state"), "median, {{state}}"),
        (quantile(0.99, "orderonce_executor_resolve_seconds", "state"), "99 of 100, {{state}}"))),
    Panel("Venue's clock minus the database's", "s", (
        ("max by (account) (orderonce_executor_venue_clock_offset_seconds)", "{{account}}"),),
        "Beyond half a second requests are refused as too old or too new."),
    Panel("Requests that may leave now", "none", (
        ("sum by (account) (orderonce_executor_budget_tokens"
         " - orderonce_executor_budget_reserve_tokens)", "{{account}}: for creates"),
        ("sum by (account) (orderonce_executor_lane_queued_orders)", "{{account}}: orders queued"),
    ), "Below 1, orders wait for their account's budget."),
    Panel("Budget taken", "reqps", (
        (rate("orderonce_executor_budget_taken_tokens_total", "account, use"),
         "{{account}}: {{use}}"),
        (rate("orderonce_executor_lane_pauses_total", "account"), "{{account}}: venue's pauses"))),
    Panel("Accounts whose new sends rest", "none", (
        ("max by (account) (orderonce_executor_breaker_open)", "{{account}}: breaker open"),
        ("sum by (account, cause) (increase(orderonce_executor_breaker_openings_total[1h]))",
         "{{account}}: openings in 1 h by {{cause}}")),
        "Their venue left creates unanswered; cancels and look-ups go on."),
))  # fmt: skip

BOOKS = Row("Books", (
    Panel("Open breaks by type", "none", (
        ("max by (type) (orderonce_ledger_breaks_open)", "{{type}}"),)),
    Panel("Reconciliations", "ops", (
        (rate("orderonce_ledger_reconciliations_total", "status"), "{{status}}"),)),
    Panel("Set aside", "none", (
        ("sum(increase(orderonce_executor_dead_letters_total[1h]))", "dead letters, executor, 1 h"),
        ("sum(increase(orderonce_ledger_dead_letters_total[1h]))", "dead letters, ledger, 1 h"),
        ("sum(orderonce_executor_partitions_parked)", "partitions parked"),
        ("max(orderonce_ledger_fills_parked)", "fills that wait for their opening"))),
))  # fmt: skip

PROCESSES = Row("Processes", (
    Panel("Alive and ready", "none", (
        ("sum by (job) (up)", "{{job}}: alive"),
        ("sum by (job) (orderonce_ready)", "{{job}}: ready"))),
    Panel("Processor", "percentunit", (
        (f"rate(process_cpu_seconds_total[{RATE}])", "{{job}} {{instance}}"),),
        "Of one core each: a process cannot use more than 1."),
    Panel("Event loop lag, 99 of 100", "s", (
        (quantile(0.99, "orderonce_event_loop_lag_seconds", "job, instance"),
         "{{job}} {{instance}}"),)),
    Panel("Memory", "bytes", (("process_resident_memory_bytes", "{{job}} {{instance}}"),)),
    Panel("Connections to Postgres in use", "none", (
        ('orderonce_postgres_pool_connections{state="used"}', "{{job}} {{instance}}"),)),
    Panel("Kafka: not worked on yet", "none", (
        ("sum by (job, topic) (orderonce_kafka_consumer_lag_records)", "{{job}}: {{topic}}"),)),
))  # fmt: skip

TAIL = Row("Latency of each hop", (
    *(Panel(f"{name}: {text}", "s", tuple(
        (quantile(q, metric), label)
        for q, label in ((0.5, "median"), (0.99, "99 of 100"), (0.999, "999 of 1000"))),
        width=6) for name, metric, text in HOPS),
))  # fmt: skip

BATCHES = Row("Batches: how much one transaction carries", (
    Panel("Mean size", "none", (
        (mean("orderonce_api_accept_batch_commands"), "commands per accept"),
        (mean("orderonce_executor_claim_batch_records"), "records per claim"),
        (mean("orderonce_executor_cas_batch_rows"), "rows per CAS"),
        (mean("orderonce_ledger_book_batch_fills"), "fills per booking"))),
    Panel("Published", "ops", (
        (rate("orderonce_api_published_records_total", "by, outcome"), "{{by}}: {{outcome}}"),),
        "What the sweeper publishes is published again: commands wait at the executor."),
    Panel("Repeats and misses", "ops", (
        (rate("orderonce_executor_repeats_total"), "commands claimed already"),
        (rate("orderonce_executor_cas_misses_total", "why"), "CAS: {{why}}"),
        (rate("orderonce_executor_record_misses_total"), "words whose row had moved on"),
        (rate('orderonce_api_http_replies_total{port="bots",status=~"4..|5.."}', "status"),
         "HTTP {{status}}"))),
))  # fmt: skip

LANES = Row("Lanes", (
    Panel("Creates whose answer is awaited", "none", (
        ("sum by (account) (orderonce_executor_lane_creates_in_flight)", "{{account}}"),)),
    Panel("Orders in hand that wait for their turn", "none", (
        ("sum by (account) (orderonce_executor_lane_queued_orders)", "{{account}}"),)),
    Panel("Questions' wait for the budget", "s", (
        (rate("orderonce_executor_budget_wait_seconds_total", "account"), "{{account}}"),),
        "Seconds waited within a second, added up over look-ups and cancels."),
))  # fmt: skip

DASHBOARDS = {
    "overview": ("orderonce: overview", (SAFE, FLOW, LATENCY, EXECUTORS, BOOKS, PROCESSES)),
    "load": ("orderonce: load test", (FLOW, TAIL, BATCHES, LANES, PROCESSES)),
}


def render(name: str) -> str:
    title, rows = DASHBOARDS[name]
    document = {
        "uid": f"orderonce-{name}", "title": title, "tags": ["orderonce"], "schemaVersion": 39,
        "editable": False, "graphTooltip": 1, "refresh": "10s", "timezone": "browser",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [{
            "name": "datasource", "type": "datasource", "query": "prometheus",
            "label": "Data source", "current": {},
        }]},
        "panels": list(_panels(rows)),
    }  # fmt: skip
    return json.dumps(document, indent=1) + "\n"


def _panels(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
        x, y, height = 0, y + 1, 4 if row.panels[0].is_stat else 8
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + height
            number += 1
            place = {"x": x, "y": y, "w": panel.width, "h": height}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            x += panel.width
        y += height


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "noValue": "none"}
    options: dict[str, Any] = {"tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.is_stat:
        defaults["thresholds"] = {"mode": "absolute", "steps": _steps(panel)}
        options = {"colorMode": "background", "graphMode": "area",
                   "reduceOptions": {"calcs": ["lastNotNull"]}}  # fmt: skip
    else:
        defaults["custom"] = {"fillOpacity": 5, "showPoints": "never"}
    return {
        "type": "stat" if panel.is_stat else "timeseries",
        "title": panel.title, "description": panel.text, "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options,
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for n, (expr, legend) in enumerate(panel.queries)
        ],
    }  # fmt: skip


def _steps(panel: Panel) -> list[dict[str, Any]]:
    """Grafana colours from each step's value on."""
    if panel.bad_below is not None:
        return [{"color": "red", "value": None}, {"color": "green", "value": panel.bad_below}]
    return [{"color": "green", "value": None}, {"color": "red", "value": panel.bad_from}]


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for each in DASHBOARDS:
        (HERE / f"{each}.json").write_text(render(each))
