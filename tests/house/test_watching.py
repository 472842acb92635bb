"""What operators watch says what the services say: every metric that an alert, a dashboard or a
page names is registered, every alert leads to a page, every query parses."""

import importlib.util
import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from docs.generate import metric_rows, registries
from tests.house.tree import ROOT
from tests.tools import tool

PROMETHEUS = ROOT / "deploy/prometheus"
GRAFANA = ROOT / "deploy/grafana"
PAGES = [ROOT / "docs/observability.md", *sorted((ROOT / "docs/runbooks").glob("*.md"))]
PROMETHEUS_OWN = {"up", "ALERTS"}
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
ADDED_LABELS = {"job", "instance", "le"}
NEVER_LABELS = {"client", "key", "kid", "order", "order_id", "symbol"}
UNITS = ("_seconds", "_bytes", "_ratio")
COUNTED = (
    "_records", "_rows", "_commands", "_fills", "_orders", "_tokens", "_assets", "_connections",
)  # fmt: skip


@cache
def registered() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name -> (type, labels)."""
    return {
        name: (kind, labels)
        for registry in registries().values()
        for name, kind, labels, _ in metric_rows(registry)
    }


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> dict[str, dict[str, Any]]:
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted(GRAFANA.glob("dashboards/*.json"))
    }


def queries() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every panel, with Grafana's own variable filled in."""
    for name, document in dashboards().items():
        for panel in document["panels"]:
            for target in panel.get("targets", ()):
                yield f"{name}: {panel['title']}", target["expr"].replace("$__rate_interval", "1m")


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:orderonce_(?!api\b|executor\b|ledger\b)\w+|process_\w+)", text))


def family(name: str) -> str:
    """The registered name of a series: a histogram comes as three."""
    known = registered()
    for suffix in ("_bucket", "_sum", "_count"):
        base = name.removesuffix(suffix)
        if base != name and known.get(base, ("",))[0] == "histogram":
            return base
    return name


WATCHED = {
    "alerts.yml": lambda: (PROMETHEUS / "alerts.yml").read_text(),
    "alerts.test.yml": lambda: (PROMETHEUS / "alerts.test.yml").read_text(),
    "dashboards": lambda: "\n".join(expr for _, expr in queries()),
    "pages": lambda: "\n".join(page.read_text() for page in PAGES),
}


@pytest.mark.parametrize("where", WATCHED)
def test_every_metric_that_is_watched_is_registered(where: str) -> None:
    named = names_in(WATCHED[where]())
    assert named, "nothing was looked at"

    unknown = {name for name in named if family(name) not in registered()} - PROCESS

    assert not unknown


@pytest.mark.parametrize("where", ["alerts.yml", "dashboards"])
def test_selectors_use_labels_that_the_metric_has(where: str) -> None:
    for name, body in re.findall(r"(\borderonce_\w+)\{([^}]*)\}", WATCHED[where]()):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", body))
        assert labels <= {*registered()[family(name)][1], *ADDED_LABELS}, f"{name}{{{body}}}"


def test_a_counter_that_an_alert_waits_for_begins_at_zero() -> None:
    """Prometheus sees no increase in a series that begins with its first count."""
    started = [family for registry in registries().values() for family in registry.collect()]
    samples = [sample for family in started for sample in family.samples]
    awaited = re.findall(r"increase\((orderonce_\w+)(?:\{([^}]*)\})?", WATCHED["alerts.yml"]())
    assert len(awaited) >= 6
    for name, body in awaited:
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', body))
        found = [s for s in samples if s.name == name and wanted.items() <= s.labels.items()]
        assert found, f"{name}{{{body}}}"
        assert all(sample.value == 0 for sample in found)


@pytest.mark.parametrize("name", registered())
def test_names_have_a_prefix_a_unit_and_bounded_labels(name: str) -> None:
    kind, labels = registered()[name]
    stem = name.removesuffix("_total")

    assert name.startswith("orderonce_")
    assert (kind == "counter") == name.endswith("_total")
    assert not NEVER_LABELS & set(labels)
    assert not re.search(r"_(?:ms|us|milli\w*|minutes|kb|mb|percent)(?:_|$)", name)
    if kind == "histogram":
        assert stem.endswith((*UNITS, *COUNTED))


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Orderonce")
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["alert"] in (ROOT / rule["annotations"]["runbook"]).read_text()
    assert rule["alert"] in (ROOT / "docs/observability.md").read_text()
    assert rule["alert"] in (PROMETHEUS / "alerts.test.yml").read_text(), "tried by no test"


def test_no_page_speaks_of_an_alert_that_is_gone() -> None:
    named = {name for page in PAGES for name in re.findall(r"\bOrderonce\w+", page.read_text())}

    assert named == {rule["alert"] for rule in alerts()}


def test_the_dashboards_are_what_their_description_says() -> None:
    spec = importlib.util.spec_from_file_location("dashboards", GRAFANA / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    described = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(described)

    written = {path.stem: path.read_text() for path in GRAFANA.glob("dashboards/*.json")}

    assert written == {name: described.render(name) for name in described.DASHBOARDS}, (
        "run `python deploy/grafana/dashboards.py`"
    )


@pytest.mark.parametrize("name", dashboards())
def test_panels_ask_the_chosen_source_and_do_not_overlap(name: str) -> None:
    document = dashboards()[name]
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        sources = [panel.get("datasource"), *(t["datasource"] for t in panel.get("targets", ()))]
        assert {s["uid"] for s in sources if s} <= {"${datasource}"}
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    assert document["templating"]["list"][0]["name"] == "datasource"


@pytest.fixture
def promtool() -> str:
    """Prometheus' own checker (Debian: the package `prometheus`)."""
    return tool("promtool")


def run(*command: str | Path, cwd: Path) -> None:
    told = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_alerts_fire_when_they_should(promtool: str) -> None:
    run(promtool, "test", "rules", "alerts.test.yml", cwd=PROMETHEUS)


def test_the_configuration_is_one(promtool: str) -> None:
    run(promtool, "check", "config", "prometheus.yml", cwd=PROMETHEUS)


def test_every_query_of_a_dashboard_parses(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expr} for number, (_, expr) in enumerate(queries())
    ]
    assert len(rules) > 60
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    run(promtool, "check", "rules", path.name, cwd=tmp_path)
