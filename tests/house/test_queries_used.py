"""Every named query is called, and every name that is called exists: a dead one misleads its
reader."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from orderonce_shared.runtime.queries import load_queries

from tests.house.tree import ROOT, project_files, source, sources

FILES = [path for path in project_files() if path.name == "queries.sql"]


def called(package: str) -> Iterator[str]:
    """Texts that stand in the package, docstrings aside: names of queries are among them."""
    for code in sources(package):
        prose = code.docstrings()
        for node in ast.walk(code.tree):
            if not isinstance(node, ast.Constant) or id(node) in prose:
                continue
            if isinstance(node.value, str):
                yield node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_every_query_is_called(path: Path) -> None:
    """The one file outside a service is shared's: its readers are in shared too."""
    folder = path.parent if path.parent.name != "control" else path.parents[1]
    names = set(load_queries(path))

    unused = names - set(called(folder.relative_to(ROOT).as_posix()))

    assert not unused, f"{path.relative_to(ROOT)}: nobody calls {sorted(unused)}: take them out"


def test_there_are_files_to_look_at() -> None:
    assert len(FILES) >= 3


def test_a_docstring_is_no_call() -> None:
    code = source("x.py", '"""claim"""\nQ["due"]')

    assert "due" in ast.unparse(code.tree)
    assert len(code.docstrings()) == 1
