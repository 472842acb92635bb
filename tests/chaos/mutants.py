"""The protocol's own guards, removed one at a time: for each, a named test must turn red.

A guard is a piece of text in one file and what stands there when the guard is gone. It is removed
in a copy of the checkout, so that nothing here can spoil the tree. A guard whose text is no longer
found is an error too: then this table is stale. Run by `make mutants`, or with words that choose
rows: `python -m tests.chaos.mutants cancel`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("shared", "services", "cli", "tests", "pyproject.toml")
PACKAGES = (
    "shared", "services/order-api", "services/executor", "services/ledger",
    "services/paper-exchange", "cli",
)  # fmt: skip
LIMIT_S = 400.0
API = "services/order-api/orderonce_api"
EXECUTOR = "services/executor/orderonce_executor"
LEDGER = "services/ledger/orderonce_ledger"
VENUES = "shared/orderonce_shared/venues"


@dataclass(frozen=True)
class Mutant:
    """A guard, what is left without it, and the tests of which one must fail."""

    name: str
    file: str
    guard: str
    without: str
    tests: tuple[str, ...]


MUTANTS: tuple[Mutant, ...] = ()


def mutate(mutant: Mutant, folder: Path) -> None:
    """Remove the guard in this copy; ValueError when its text is not there exactly once."""
    path = folder / mutant.file
    text = path.read_text()
    found = text.count(mutant.guard)
    if found != 1:
        raise ValueError(f"{mutant.name}: the guard is {found} times in {mutant.file}, not once")
    path.write_text(text.replace(mutant.guard, mutant.without))


def is_seen(mutant: Mutant) -> tuple[bool, str]:
    """Whether a test fails without the guard, and the last lines of the run."""
    with tempfile.TemporaryDirectory(prefix="orderonce-mutant-") as name:
        folder = Path(name)
        for part in COPIED:
            source = ROOT / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / part, ignore=ignored)
            else:
                shutil.copy(source, folder / part)
        mutate(mutant, folder)
        env = os.environ | {"PYTHONPATH": ":".join(str(folder / path) for path in PACKAGES)}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", *mutant.tests],
            cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S,
        )  # fmt: skip
        # 1 is "tests failed"; 2 to 5 mean that nothing was tried
        if done.returncode not in (0, 1):
            raise ValueError(f"{mutant.name}: pytest ended with {done.returncode}\n{done.stdout}")
        return done.returncode == 1, "\n".join(done.stdout.splitlines()[-4:])


def main(words: list[str]) -> int:
    """One line per guard; exit code 1 when one can be removed and nobody sees it."""
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    unseen = 0
    for mutant in chosen:
        seen, tail = is_seen(mutant)
        unseen += not seen
        print(f"{'seen  ' if seen else 'UNSEEN'} {mutant.name}", flush=True)  # noqa: T201
        if not seen:
            print(tail, flush=True)  # noqa: T201
    return 1 if unseen or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
