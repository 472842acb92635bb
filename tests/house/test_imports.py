"""Which way imports go: the contracts in pyproject.toml, and what they cannot say: purity.

A core decides about money and nothing else: it lives on the standard library, and on the parts of
that which neither read a clock nor talk to anybody. So it can be tried on every input there is.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.house.tree import ROOT, Source, source, sources

# Where decisions are made. Each may import the standard library and others of this list.
PURE = {
    "shared/orderonce_shared/domain/identity.py",
    "shared/orderonce_shared/domain/lifecycle.py",
    "shared/orderonce_shared/domain/money.py",
    "shared/orderonce_shared/domain/order.py",
    "shared/orderonce_shared/domain/reasons.py",
    "shared/orderonce_shared/domain/venue.py",
    "services/order-api/orderonce_api/core.py",
    "services/executor/orderonce_executor/breaker.py",
    "services/executor/orderonce_executor/core.py",
    "services/executor/orderonce_executor/placement.py",
    "services/ledger/orderonce_ledger/core.py",
    "services/ledger/orderonce_ledger/breaks.py",
    "services/paper-exchange/orderonce_paper/matching.py",
    "services/paper-exchange/orderonce_paper/settlement.py",
    "services/paper-exchange/orderonce_paper/model.py",
    "services/paper-exchange/orderonce_paper/symbols.py",
}
IMPURE_STANDARD_LIBRARY = {
    "asyncio", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets",
    "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading",
    "time", "urllib",
}  # fmt: skip
# (module, name) -> why. `import module` counts as the names that are taken from it.
HARMLESS = {
    ("uuid", "UUID"): "a type",
    ("random", "Random"): "the paper market's walk: a generator with a seed is a function of it",
}


def impure_imports(code: Source) -> Iterator[str]:
    pure_modules = {_module(where) for where in PURE}
    for line, module, name in _imports(code):
        top = module.split(".")[0]
        if (module, name) in HARMLESS:
            continue
        if top in sys.stdlib_module_names:
            bad = top in IMPURE_STANDARD_LIBRARY | {"uuid"}
        else:
            bad = module not in pure_modules and f"{module}.{name}" not in pure_modules
        if bad:
            yield (
                f"{code.where}:{line}: a core imports {module}: let the verb that calls it pass the"
                " value, or move what is pure into shared.domain"
            )


def _module(where: str) -> str:
    return ".".join(where.removesuffix(".py").split("/")[-3 if "/domain/" in where else -2 :])


def _imports(code: Source) -> Iterator[tuple[int, str, str]]:
    for node in ast.walk(code.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                for name in _taken_from(code, alias.asname or alias.name) or {""}:
                    yield node.lineno, alias.name, name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, node.module or ".", alias.name


def _taken_from(code: Source, module: str) -> set[str]:
    return {
        node.attr
        for node in ast.walk(code.tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == module
    }


def test_cores_are_pure() -> None:
    pure = [code for code in sources("shared", "services") if code.where in PURE]
    assert {code.where for code in pure} == PURE, "a core has moved: mend PURE"

    found = [line for code in pure for line in impure_imports(code)]

    assert not found, "\n".join(["", *found])


def test_every_core_is_listed() -> None:
    cores = {code.where for code in sources("services") if code.where.endswith("/core.py")}
    domain = {
        code.where
        for code in sources("shared/orderonce_shared/domain")
        if not code.where.endswith("__init__.py")
    }

    assert cores | domain <= PURE


@pytest.mark.parametrize(
    "text",
    [
        "import asyncio",
        "import os.path",
        "from time import monotonic",
        "from uuid import uuid4",
        "import asyncpg",
        "from pydantic import BaseModel",
        "from orderonce_shared.runtime.clock import Clock",
        "from orderonce_executor.store import Store",
        "import random\nx = random.random()",
        "from . import store",
    ],
)
def test_an_impure_import_is_seen(text: str) -> None:
    assert list(impure_imports(source("services/executor/orderonce_executor/core.py", text)))


@pytest.mark.parametrize(
    "text",
    [
        "from decimal import Decimal",
        "from uuid import UUID",
        "from orderonce_shared.domain.money import add",
        "from orderonce_shared.domain import money",
        "import random\nwalk = random.Random(7)",
        "from orderonce_ledger.core import Entry",
    ],
)
def test_a_pure_import_passes(text: str) -> None:
    assert not list(impure_imports(source("services/ledger/orderonce_ledger/breaks.py", text)))


def test_import_contracts() -> None:
    """The contracts of pyproject.toml, each with its reason or replacement in its name."""
    lint = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    command = [sys.executable, "-c", lint]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    _, _, report = (run.stdout + run.stderr).partition("Broken contracts")
    assert run.returncode == 0, report or run.stdout + run.stderr
