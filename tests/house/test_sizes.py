"""Sizes are for readers: this prints the longest functions and files, and fails on none."""

import ast

import pytest

from tests.house.tree import CLI, PAPER, SERVICES, SHARED, Source, sources

SHOWN = 5


def functions(code: Source) -> list[tuple[int, str]]:
    """(lines, where) of each function, nested ones on their own too."""
    return [
        (
            (node.end_lineno or node.lineno) - node.lineno + 1,
            f"{code.where}:{node.lineno} {node.name}",
        )
        for node in ast.walk(code.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_longest(capsys: pytest.CaptureFixture[str]) -> None:
    looked_at = list(sources(SHARED, *SERVICES, PAPER, CLI, "client", "tests"))
    files = [(len(code.text.splitlines()), code.where) for code in looked_at]
    all_functions = [found for code in looked_at for found in functions(code)]
    assert files
    assert all_functions

    with capsys.disabled():
        for habit, found in (("functions (habit 40)", all_functions), ("files (habit 200)", files)):
            lines = sorted(found, reverse=True)[:SHOWN]
            report = "".join(f"\n  {length:4} {where}" for length, where in lines)
            print(f"\nlongest {habit}:{report}")  # noqa: T201 - to be read in the run's output
