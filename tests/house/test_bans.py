"""What may not stand in the code, and what to write instead. Each ban is tried on a planted breach.

Sizes and shapes are not banned: they are for readers (test_sizes.py prints the longest).
"""

import ast
import re
from collections.abc import Callable, Iterator

import pytest

from tests.house.tree import CLI, PAPER, SERVICES, SHARED, Source, source, sources

Ban = Callable[[Source], Iterator[str]]


SQL_ALLOWED = {
    f"{SHARED}/runtime/database.py": "asks for server settings before any store exists",
    f"{SHARED}/runtime/migrate.py": "roles' passwords: a statement that takes no parameters",
    "cli/orderonce_cli/stack/postgres.py": "makes the database itself",
}
_STATEMENT = re.compile(
    r"""\s*(?: select\s.+\sfrom\s | select\s+[\w.]+\( | select\s+\d | insert\s+into\s
          | update\s+[\w.]+\s+set\s | delete\s+from\s | with\s+\w+\s+as\s | merge\s+into\s
          | (?:create|alter|drop)\s+(?:table|schema|role|database|index|domain|function|type|view)\s
          | lock\s+table\s | truncate\s+[\w.]+\s*;? \s*$ | grant\s.+\son\s | revoke\s.+\son\s
          | set\s+(?:local\s+)?\w+\s*(?:=|\sto\s) | (?:un)?listen\s+\w+\s*;?\s*$ | notify\s+\w+
          | copy\s+[\w.]+\s+(?:from|to)\s | begin\s*;?\s*$ | rollback\s*;?\s*$ )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def sql_outside_its_files(code: Source) -> Iterator[str]:
    """Statements in string literals, pieces of f-strings included."""
    prose = code.docstrings()
    for node in ast.walk(code.tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) not in prose and _STATEMENT.match(node.value):
            yield (
                f"{code.where}:{node.lineno}: SQL in a string ({node.value.strip()[:40]!r}):"
                " give it a name in queries.sql beside store.py and call it through a typed"
                " function of store.py; a change of schema is a migration"
            )


CATCH_ALL_ALLOWED = {
    f"{SHARED}/runtime/process.py": "the loop: logs, marks unready, repeats",
    f"{SHARED}/runtime/kafka_consumer.py": "the consumer's loop: the same",
    f"{SHARED}/venues/adapter.py": "after the first byte anything means UNKNOWN",
    f"{SHARED}/venues/stream.py": "whatever happens to it, the stream is down and comes back",
    "services/order-api/orderonce_api/group_commit.py": "hands the error to each waiting request",
}


def catch_all(code: Source) -> Iterator[str]:
    """`except:`, `except Exception`, `except BaseException`; a handler that ends in a bare `raise`
    only cleans up, and may."""
    for node in ast.walk(code.tree):
        if not isinstance(node, ast.ExceptHandler) or not _catches_all(node.type):
            continue
        last = node.body[-1]
        if isinstance(last, ast.Raise) and last.exc is None:
            continue
        yield (
            f"{code.where}:{node.lineno}: catches everything: name the errors that are expected;"
            " work that has to be repeated after any error is a step of Process.repeat"
        )


def _catches_all(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(ast.unparse(name) in {"Exception", "BaseException"} for name in names)


SOURCES_ALLOWED = {
    f"{SHARED}/runtime/clock.py": "the source of time",
    f"{SHARED}/runtime/ids.py": "the source of ids and randomness",
}
_SOURCE_MODULES = {"time", "random", "secrets", "uuid", "uuid_utils"}
_HARMLESS_NAMES = {"UUID"}  # a type
_SOURCE_CALLS = re.compile(
    r"(?:.*\.)?(?:datetime|date)\.(?:now|utcnow|today)|os\.urandom|.*loop\(\)\.time|(?:.*\.)?loop\.time"
)


def own_time_or_chance(code: Source) -> Iterator[str]:
    """Imports of time, random, secrets and uuid but for types, and calls that read a clock."""
    for node in ast.walk(code.tree):
        found = ""
        if not isinstance(node, ast.stmt | ast.expr):
            continue
        if isinstance(node, ast.Import):
            found = next((a.name for a in node.names if a.name in _SOURCE_MODULES), "")
        elif isinstance(node, ast.ImportFrom) and node.module:
            taken = {alias.name for alias in node.names} - _HARMLESS_NAMES
            if node.module.split(".")[0] in _SOURCE_MODULES and taken:
                found = f"{node.module}.{min(taken)}"
        elif isinstance(node, ast.Call) and _SOURCE_CALLS.fullmatch(ast.unparse(node.func)):
            found = ast.unparse(node.func)
        if found:
            yield (
                f"{code.where}:{node.lineno}: {found}: take the moment, the id or the bytes as an"
                " argument; main.py passes a runtime.clock.Clock or a function of runtime/ids.py"
            )


_MONEY_FILES = re.compile(
    r"(?:.*/domain/(?!lifecycle|reasons|identity)\w+"
    r"|.*/contracts/(?!wire)\w+"
    r"|.*/(?:core|breaks|book|views|shapes|statement|reconcile|matching|settlement|filters|model))\.py"
)


_TIME = re.compile(r"_s\b|_S\b|seconds|\bage\b|_pause")


def float_in_money(code: Source) -> Iterator[str]:
    """Floats in files where amounts pass. A statement that speaks of seconds may hold one, but none
    may convert to it: `float(price)` is how money is lost."""
    if not _MONEY_FILES.fullmatch(code.where):
        return
    for where, line, statement in _floats(code.tree):
        if "float(" in statement or not _TIME.search(statement):
            yield (
                f"{code.where}:{line}: {where} on a path of money: use Decimal from"
                " domain.money.parse_amount with its exact sums and products; a duration is named"
                " with its unit (pause_s)"
            )


def _floats(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """(what, line, innermost simple statement or signature) of each float literal and name."""
    for statement in ast.walk(tree):
        if not isinstance(statement, ast.stmt):
            continue
        parts = [part for part in ast.iter_child_nodes(statement) if not isinstance(part, ast.stmt)]
        text = " ".join(ast.unparse(part) for part in parts)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            text += " " + statement.name
        for part in parts:
            for node in ast.walk(part):
                if isinstance(node, ast.Constant) and isinstance(node.value, float):
                    yield repr(node.value), node.lineno, text
                elif isinstance(node, ast.Name) and node.id == "float":
                    yield "float", node.lineno, text


# A test is named after what it tries, which may be a service.
_EMPTY_NAME = re.compile(r"(?!test_)(?:.*_)?(?:util|helper|common|manager|service|misc|stuff)s?")
_NAMES_ALLOWED = {
    "cli/orderonce_cli/stack/services.py": "the services of the stack: here it is the thing's name"
}


def name_that_says_nothing(code: Source) -> Iterator[str]:
    stem = code.where.rsplit("/", 1)[-1].removesuffix(".py")
    if _EMPTY_NAME.fullmatch(stem) and code.where not in _NAMES_ALLOWED:
        yield (
            f"{code.where}: says nothing about its contents: name the file after what it decides"
            " or holds"
        )


EVERYTHING = (SHARED, *SERVICES, PAPER, CLI, "client", "tests", "docs", "benchmarks", "examples")
BANS: dict[str, tuple[Ban, tuple[str, ...], dict[str, str]]] = {
    "sql": (sql_outside_its_files, (SHARED, *SERVICES, PAPER, CLI), SQL_ALLOWED),
    "catch-all": (catch_all, (SHARED, *SERVICES, PAPER), CATCH_ALL_ALLOWED),
    "time and chance": (own_time_or_chance, (SHARED, *SERVICES), SOURCES_ALLOWED),
    "float": (float_in_money, (SHARED, *SERVICES, PAPER), {}),
    "names": (name_that_says_nothing, EVERYTHING, {}),
}


@pytest.mark.parametrize("name", BANS)
def test_ban(name: str) -> None:
    ban, folders, allowed = BANS[name]
    looked_at = list(sources(*folders))
    assert looked_at, "nothing was looked at: have the folders moved?"

    found = [line for code in looked_at if code.where not in allowed for line in ban(code)]

    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("name", BANS)
def test_every_exception_is_still_needed(name: str) -> None:
    """An exception that is no longer used would let the next breach through."""
    ban, folders, allowed = BANS[name]
    used = {code.where for code in sources(*folders) if any(ban(code))}

    unused = set(allowed) - used

    assert not unused, f"take out of the exceptions: {sorted(unused)}"


def test_the_named_exception_is_still_there() -> None:
    assert {code.where for code in sources(CLI)} >= set(_NAMES_ALLOWED)


BREACHES: dict[str, tuple[Ban, tuple[str, ...]]] = {
    "sql": (
        sql_outside_its_files,
        (
            "q = 'SELECT state FROM executor.placement WHERE order_id = $1'",
            "q = f'update {table} set x = 1'.format() or 'UPDATE a.b SET x = 1'",
            "q = f'SET lock_timeout = {limit}'",
            "q = '''\n  INSERT INTO t\n VALUES (1)'''",
            "run('LOCK TABLE control.account IN EXCLUSIVE MODE')",
            "q = 'WITH due AS (' + body + ')'",
            "await c.execute('BEGIN')",
            "q = 'select control.timeline()'",
        ),
    ),
    "catch-all": (
        catch_all,
        (
            "try:\n    f()\nexcept Exception:\n    pass",
            "try:\n    f()\nexcept:\n    pass",
            "try:\n    f()\nexcept (OSError, BaseException) as error:\n    log(error)",
            "try:\n    f()\nexcept Exception as error:\n    raise Other from error",
        ),
    ),
    "time and chance": (
        own_time_or_chance,
        (
            "import time",
            "import random as chance",
            "from uuid import uuid4, UUID",
            "from uuid_utils.compat import uuid7",
            "from secrets import token_hex",
            "from datetime import datetime\nnow = datetime.now()",
            "import datetime\nnow = datetime.datetime.utcnow()",
            "import os\nsalt = os.urandom(8)",
            "import asyncio\nnow = asyncio.get_running_loop().time()",
        ),
    ),
}
NO_BREACHES: dict[str, tuple[Ban, tuple[str, ...]]] = {
    "sql": (
        sql_outside_its_files,
        (
            "'''SELECT 1 FROM prose'''",
            "def f():\n    '''Insert into the table what is new.'''",
            "label = 'select an account'",
            "event = 'commit'",
            "title = 'Create an API key'",
            "hint = 'set it in the environment'",
        ),
    ),
    "catch-all": (
        catch_all,
        (
            "try:\n    f()\nexcept BaseException:\n    close()\n    raise",
            "try:\n    f()\nexcept (OSError, ValueError):\n    pass",
        ),
    ),
    "time and chance": (
        own_time_or_chance,
        (
            "from uuid import UUID",
            "from datetime import UTC, datetime, timedelta",
            "import asyncio\nasync def f(clock):\n    return clock.now(), clock.monotonic()",
        ),
    ),
}


@pytest.mark.parametrize(
    ("ban", "text"), [(ban, text) for ban, texts in BREACHES.values() for text in texts]
)
def test_a_breach_is_seen(ban: Ban, text: str) -> None:
    assert list(ban(source("services/executor/orderonce_executor/place.py", text)))


@pytest.mark.parametrize(
    ("ban", "text"), [(ban, text) for ban, texts in NO_BREACHES.values() for text in texts]
)
def test_what_is_allowed_passes(ban: Ban, text: str) -> None:
    assert not list(ban(source("services/executor/orderonce_executor/place.py", text)))


@pytest.mark.parametrize(
    ("where", "text", "seen"),
    [
        ("shared/orderonce_shared/domain/money.py", "x = 0.1", True),
        ("shared/orderonce_shared/contracts/fills.py", "def f(x: float) -> None: ...", True),
        ("services/ledger/orderonce_ledger/core.py", "x = float('1')", True),
        ("services/ledger/orderonce_ledger/core.py", "x = 1", False),
        ("services/ledger/orderonce_ledger/core.py", "pause_s = float(price)", True),
        ("services/ledger/orderonce_ledger/core.py", "pause_s: float = 0.5", False),
        ("services/ledger/orderonce_ledger/core.py", "def age(x: int) -> float: ...", False),
        ("services/ledger/orderonce_ledger/core.py", "def fee(x: int) -> float: ...", True),
        ("services/ledger/orderonce_ledger/core.py", "if x:\n    wait_s = 1\n    y = 0.1", True),
        ("services/executor/orderonce_executor/lanes.py", "pause_s = 0.5", False),
    ],
)
def test_floats_are_seen_where_money_is(where: str, text: str, seen: bool) -> None:
    assert bool(list(float_in_money(source(where, text)))) is seen


@pytest.mark.parametrize("stem", ["utils", "helpers", "common", "order_manager", "service", "misc"])
def test_empty_names_are_seen(stem: str) -> None:
    assert list(name_that_says_nothing(source(f"shared/orderonce_shared/{stem}.py", "")))
    assert not list(name_that_says_nothing(source(f"shared/orderonce_shared/{stem}_x.py", "")))
