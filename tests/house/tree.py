"""The files that belong to the project, and their syntax trees: what all house tests look at."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Code that runs in production under the house's rules. The paper exchange stands for a foreign
# system and the command line for a user, so the rules about sources of time and ids are not theirs.
SHARED = "shared/orderonce_shared"
SERVICES = ("services/order-api", "services/executor", "services/ledger")
PAPER = "services/paper-exchange"
CLI = "cli"


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file. `where` is its path from the root, with forward slashes."""

    where: str
    text: str
    tree: ast.Module

    def docstrings(self) -> set[int]:
        """The ids of the constants that are docstrings or stand alone: prose, not values."""
        return {
            id(node.value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }


def source(where: str, text: str) -> Source:
    return Source(where, text, ast.parse(text))


@cache
def project_files() -> tuple[Path, ...]:
    """Everything that is, or is about to be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = sorted(ROOT / name for name in listed.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


@cache
def python_sources() -> tuple[Source, ...]:
    return tuple(
        source(path.relative_to(ROOT).as_posix(), path.read_text())
        for path in project_files()
        if path.suffix == ".py"
    )


def sources(*folders: str) -> Iterator[Source]:
    for candidate in python_sources():
        if candidate.where.startswith(tuple(folder + "/" for folder in folders)):
            yield candidate
