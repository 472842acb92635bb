"""How answers reach a person or a program: tables on a terminal, JSON with `--json`."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

OUT = Console()
ERR = Console(stderr=True)


def as_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)


def as_json_line(value: Any) -> None:
    """One JSON document on one line, for streams."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def table(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> None:
    """Rows as a table; a member that a row lacks is shown empty. Tabs, not boxes, in a pipe."""
    shown = list(columns)
    body = [[_cell(row.get(column)) for column in shown] for row in rows]
    if not sys.stdout.isatty():
        for cells in [shown, *body]:
            print("\t".join(cells))
        return
    drawn = Table(*(column.replace("_", " ") for column in shown), box=None, pad_edge=False)
    for cells in body:
        drawn.add_row(*cells)
    OUT.print(drawn)


def facts(record: Mapping[str, Any]) -> None:
    """One record, a line per member."""
    width = max((len(name) for name in record), default=0)
    for name, value in record.items():
        print(f"{name.ljust(width)}  {_cell(value)}")


@contextmanager
def progress(title: str) -> Iterator[Callable[[str], None]]:
    """Steps of long work on standard error: a spinner on a terminal, a line each otherwise."""
    if not ERR.is_terminal:
        print(f"{title} …", file=sys.stderr, flush=True)
        yield lambda line: print(f"  {line}", file=sys.stderr, flush=True)
        return
    with ERR.status(f"{title} …"):
        yield lambda line: ERR.print(f"  {line}", highlight=False, markup=False)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case list() if all(isinstance(part, str) for part in value):
            return ", ".join(value)
        case bool() | dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)
