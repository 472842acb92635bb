"""Which stacks a run of pytest uses: `--stack`, and what becomes of tests that need containers.

A test that uses the fixture `stack` follows the option; with `both` it runs once on each. Tests in
tests/containers need an engine. Where there is none they are left out, said in one line; with
ORDERONCE_REQUIRE_DOCKER=1 that is an error instead.
"""

import os
from pathlib import Path

import pytest

from tests.stacks import engine

CONTAINERS, EMBEDDED = "containers", "embedded"
REQUIRED = "ORDERONCE_REQUIRE_DOCKER"
FOLDER = Path(__file__).resolve().parents[1] / "containers"
LEFT_OUT = pytest.StashKey[str]()  # why containers did not run, once it mattered


def add_option(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack", choices=["auto", CONTAINERS, EMBEDDED, "both"], default="auto",
        help="what end-to-end tests run on: containers (testcontainers), embedded (processes of "
        "this machine), both (once on each), auto (containers where an engine answers)",
    )  # fmt: skip


def require(config: pytest.Config) -> None:
    """Before anything is collected: UsageError when containers are required and cannot run."""
    if os.environ.get(REQUIRED) == "1":
        _missing(config, must=True)


def chosen(config: pytest.Config) -> list[str]:
    """The stacks of this run. UsageError when it must have containers and cannot."""
    asked = config.getoption("--stack")
    if asked == EMBEDDED:
        return [EMBEDDED]
    if missing := _missing(config, must=asked == CONTAINERS):
        config.stash[LEFT_OUT] = missing
        return [EMBEDDED]
    return [CONTAINERS, EMBEDDED] if asked == "both" else [CONTAINERS]


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests in tests/containers where they cannot run."""
    theirs = [item for item in items if item.path.is_relative_to(FOLDER)]
    if theirs and (missing := _missing(config, must=False)):
        config.stash[LEFT_OUT] = missing
        config.hook.pytest_deselected(items=theirs)
        items[:] = [item for item in items if not item.path.is_relative_to(FOLDER)]


def need_images(items: list[pytest.Item]) -> bool:
    """Whether these tests run services from images."""
    return any(
        "images" in getattr(item, "fixturenames", ())
        or (isinstance(item, pytest.Function) and _stack_of(item) == CONTAINERS)
        for item in items
    )


def _stack_of(item: pytest.Function) -> object:
    return item.callspec.params.get("stack") if hasattr(item, "callspec") else None


def say(config: pytest.Config) -> str:
    """One line about what did not run, or nothing. Of pytest-xdist's workers too."""
    spread = getattr(config.option, "numprocesses", None)
    missing = config.stash.get(LEFT_OUT, engine.why_not() if spread else "")
    return f"nothing ran in containers: {missing}" if missing else ""


def _missing(config: pytest.Config, *, must: bool) -> str:
    missing = engine.why_not()
    if missing and (must or os.environ.get(REQUIRED) == "1"):
        raise pytest.UsageError(f"containers are required (--stack or {REQUIRED}), but {missing}")
    return missing
