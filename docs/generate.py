"""Writes the documents that are made from code, so that they cannot say anything else than it does.

    python docs/generate.py            write them all
    python docs/generate.py --check    write nothing; exit 1 and name the stale ones

Same code, same bytes: no dates, no paths, no order that depends on the run.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import orderonce_api.metrics
import orderonce_executor.metrics
import orderonce_ledger.http
import orderonce_ledger.metrics
import orderonce_paper.settings
from orderonce_api import openapi
from orderonce_api.settings import OrderApiSettings
from orderonce_executor.lane_numbers import LaneNumbers
from orderonce_executor.lanes import Lanes
from orderonce_executor.settings import ExecutorSettings
from orderonce_ledger.settings import LedgerSettings
from orderonce_shared.contracts.asyncapi import render_asyncapi
from orderonce_shared.domain.lifecycle import (
    FINAL,
    FINAL_BY_VENUE,
    MIGHT_BE_LIVE,
    TRANSITIONS,
    State,
    Status,
    status_of,
)
from orderonce_shared.domain.reasons import REASON_TEXT, DenialCode, EndingCode
from orderonce_shared.runtime.kafka import TopicSettings
from orderonce_shared.runtime.migrate import MigrateSettings
from orderonce_shared.runtime.process import Health
from orderonce_shared.runtime.settings import ServiceSettings
from orderonce_shared.runtime.vitals import Vitals
from orderonce_shared.venues.evidence_page import render_evidence
from prometheus_client import CollectorRegistry, Metric
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_json

DOCS = Path(__file__).resolve().parent
ERRORS = "errors"

SETTINGS: dict[str, type[ServiceSettings]] = {
    "Order API (`python -m orderonce_api`)": OrderApiSettings,
    "Executor (`python -m orderonce_executor`)": ExecutorSettings,
    "Ledger (`python -m orderonce_ledger`)": LedgerSettings,
    "Topics (`python -m orderonce_shared.runtime.kafka`)": TopicSettings,
    "Schemas and roles (`python -m orderonce_shared.runtime.migrate`)": MigrateSettings,
}
# What means the same wherever it stands. A setting of one service says its meaning beside its
# default.
MEANINGS = {
    "topic_prefix": "prefix of topics and consumer groups on a cluster that is shared",
    "host": "address to listen on",
    "port": "port for users",
    "admin_port": "port for health and metrics; keep it private",
    "pepper": "64 hex digits: keys the MACs of API keys at rest; the same in every service",
    "log_level": "DEBUG, INFO, WARNING or ERROR",
    "failpoints": "tests only: `name=exit`, `name@3=exit`, `name=pause:2.5`",
}


def render_all() -> dict[str, str]:
    """Path below docs/ -> content."""
    documents = {
        "lifecycle.md": lifecycle(),
        "reasons.md": reasons(),
        "settings.md": settings(),
        "metrics.md": metrics(),
        "venues.md": render_evidence(),
        "openapi.json": openapi.render_openapi(),
        "openapi-admin.json": openapi.render_admin_openapi(),
        "openapi-ledger.json": orderonce_ledger.http.render_openapi(),
        "asyncapi.json": render_asyncapi(),
    }
    return {
        path: content.rstrip("\n") + "\n" for path, content in {**documents, **errors()}.items()
    }


LIFECYCLE = """\
# The life of an order

Generated from `orderonce_shared/domain/lifecycle.py`; change it there.

A row leaves `claimed` only by a compare-and-set on (timeline, version). From `sending` on an order
might exist at the venue, so only evidence moves it: the venue's word, or proof of absence. Changes
that are marked as an incident lie outside the declared bounds and are not drawn: they are never
silent, and each is followed by a correction of the state.

```mermaid
{diagram}
```

## States

{states}

A client also sees `accepted` before any executor has claimed the order, and `denied` where the
order API refused it.

## Changes

{changes}
"""


def lifecycle() -> str:
    """The table of states as a diagram and as tables."""
    changes = ((f"`{a.value}`", f"`{b.value}`", why) for (a, b), why in TRANSITIONS.items())
    return LIFECYCLE.format(
        diagram="\n".join(_diagram()),
        states=_table(("state", "a client sees", "final", "might be live at the venue"), _states()),
        changes=_table(("from", "to", "what makes it happen"), changes),
    )


def _diagram() -> Iterator[str]:
    yield "stateDiagram-v2"
    yield "    [*] --> claimed"
    for (before, after), why in TRANSITIONS.items():
        if before is not after and not why.startswith("incident"):
            yield f"    {before.value} --> {after.value}"
    for state in State:
        if state in FINAL:
            yield f"    {state.value} --> [*]"


def _states() -> Iterator[tuple[str, ...]]:
    for state in State:
        final = "no"
        if state in FINAL:
            final = "said by the venue" if state in FINAL_BY_VENUE else "our own conclusion"
        shown: Status = status_of(state)
        live = "yes" if state in MIGHT_BE_LIVE else "no"
        yield f"`{state.value}`", f"`{shown.value}`", final, live


REASONS = """\
# Reason codes

Generated from `orderonce_shared/domain/reasons.py`; change it there. The list is closed: a code is
public, and none is ever used for anything else.

## Denied

Refused by us, at acceptance (`code` of [order-denied](errors/order-denied.md)) or, for
`key-revoked`, before the order was sent. In order of precedence: the first that applies is the
answer.

{denials}

## Ended, or still unknown

`reason.code` of an accepted order that was not filled whole.

{endings}
"""


def reasons() -> str:
    head = ("code", "meaning")
    return REASONS.format(
        denials=_table(head, ((f"`{code.value}`", REASON_TEXT[code]) for code in DenialCode)),
        endings=_table(head, ((f"`{code.value}`", REASON_TEXT[code]) for code in EndingCode)),
    )


SETTINGS_PAGE = """\
# Settings

Generated from the settings class of each service; change them there. They are read once, at the
start. Each `X` may be given as `X_FILE`, the path of a file that holds the value; do that with
every secret. A bad one ends the process with a sentence that never quotes its value.

{services}

## Paper exchange (`python -m orderonce_paper`)

A flag wins over its variable.

{paper}
"""


def settings() -> str:
    return SETTINGS_PAGE.format(
        services="\n\n".join(f"## {title}\n\n{_settings(cls)}" for title, cls in SETTINGS.items()),
        paper=_table(("flag", "variable", "meaning and default"), _paper_flags()),
    )


def _settings(cls: type[ServiceSettings]) -> str:
    prefix = str(cls.model_config.get("env_prefix", ""))
    rows = (_setting(prefix, name, field) for name, field in cls.model_fields.items())
    return _table(("variable", "default", "meaning"), rows)


def meaning(name: str, field: FieldInfo) -> str:
    """What a setting means, or an empty text: a test of the house asks for one."""
    return field.description or MEANINGS.get(name, "")


def _setting(prefix: str, name: str, field: FieldInfo) -> tuple[str, ...]:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        shown = "needed"
    elif default is None or default in ("", {}, SecretStr("")):
        shown = "none"
    else:
        shown = f"`{default if isinstance(default, str) else to_json(default).decode()}`"
    secret = " (secret)" if field.annotation is SecretStr else ""
    return f"`{prefix}{name.upper()}`", shown, meaning(name, field) + secret


def _paper_flags() -> Iterator[tuple[str, ...]]:
    """From its argument parser, which is where the paper exchange says what may be set."""
    for action in orderonce_paper.settings._parser({})._actions:
        if action.dest != "help":
            variable = f"PAPER_{action.dest.upper()}"
            yield f"`{action.option_strings[0]}`", f"`{variable}`", str(action.help)


@runtime_checkable
class Described(Protocol):
    """A collector that tells its families without collecting; process_* does not."""

    def describe(self) -> Iterable[Metric]: ...

    def collect(self) -> Iterable[Metric]: ...


METRICS_PAGE = """\
# Metrics

Generated from the registries of the services (`metrics.py` and `lane_numbers.py` of each,
`orderonce_shared/runtime/vitals.py`); change them there. Each process serves its own at `/metrics`
of its admin port, in Prometheus' format. Names, types, units and labels are stable: a change of one
is a breaking change and stands in the changelog.

Seconds and bytes are base units; a counter ends in `_total`; a histogram comes as `_bucket`,
`_sum` and `_count`. On Linux each process also says what Prometheus' own clients say: `process_*`
(CPU, memory, file descriptors, start time). No label holds a client, a key or an order; `account`
has as many values as accounts were admitted. How to watch them: [observability](observability.md).

{parts}
"""


def registries() -> dict[str, CollectorRegistry]:
    """What each service registers, made as its main.py makes it; nothing is started."""
    made = {}
    for part in ("every service", "order API", "executor", "ledger"):
        made[part] = CollectorRegistry()
    Vitals(made["every service"], "part", Health())
    orderonce_api.metrics.Metrics(made["order API"])
    numbers = orderonce_executor.metrics.Metrics(made["executor"])
    LaneNumbers(Lanes(lambda: 0.0), numbers.registry)
    orderonce_ledger.metrics.Metrics(made["ledger"])
    return made


def metric_rows(registry: CollectorRegistry) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """(name as scraped, type, labels, meaning) of each family, by name."""
    for collector in list(registry._collector_to_names):
        for family in collector.describe() if isinstance(collector, Described) else ():
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            labels: Iterable[str] = getattr(collector, "_labelnames", ()) or getattr(
                family, "_labelnames", ()
            )
            if family.type == "info":  # a constant: its labels are all that it says
                labels = next(iter(collector.collect())).samples[0].labels
            yield f"{family.name}{suffix}", family.type, tuple(labels), family.documentation


def metrics() -> str:
    parts = []
    for title, registry in registries().items():
        rows = sorted(
            (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), text)
            for name, kind, labels, text in metric_rows(registry)
        )
        table = _table(("name", "type", "labels", "meaning"), rows)
        parts.append(f"## {title[0].upper()}{title[1:]}\n\n{table}")
    return METRICS_PAGE.format(parts="\n\n".join(parts))


def errors() -> dict[str, str]:
    """The pages that the order API serves, copied from its package data: their one place."""
    pages = files("orderonce_api") / "errors_pages"
    return {
        f"{ERRORS}/{page.name}": page.read_text()
        for page in sorted(pages.iterdir(), key=lambda page: page.name)
        if page.name.endswith(".md")
    }


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)


def stale(documents: dict[str, str]) -> list[str]:
    """The paths whose file is missing, differs, or is left over from a page that is gone."""
    differing = [
        path
        for path, content in documents.items()
        if not (DOCS / path).is_file() or (DOCS / path).read_text() != content
    ]
    present = {f"{ERRORS}/{page.name}" for page in (DOCS / ERRORS).glob("*.md")}
    return sorted({*differing, *(present - set(documents))})


def write(documents: dict[str, str]) -> list[str]:
    """Writes what is stale, takes away what is left over, and returns both."""
    changed = stale(documents)
    (DOCS / ERRORS).mkdir(exist_ok=True)
    for path in changed:
        if path in documents:
            (DOCS / path).write_text(documents[path])
        else:
            (DOCS / path).unlink()
    return changed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Writes the documents that are made from code.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if one is stale")
    options: Any = parser.parse_args(arguments)
    documents = render_all()
    changed = stale(documents) if options.check else write(documents)
    for path in changed:
        print(f"{'stale' if options.check else 'written'}: docs/{path}")
    if not changed:
        print("the generated documents say what the code says")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
