"""Generated documents say what the code says: a stale one fails, as does one that varies by the
run."""

import json
import subprocess
import sys

import pytest
from orderonce_shared.domain.lifecycle import TRANSITIONS, State
from orderonce_shared.domain.reasons import DenialCode, EndingCode

from docs import generate
from tests.house.tree import ROOT

WRITE = "run `make docs` and commit what it writes"


def test_no_document_is_stale() -> None:
    assert generate.stale(generate.render_all()) == [], WRITE


def test_the_same_bytes_in_another_process() -> None:
    """Another seed for hashes: no set's order gets into a document."""
    script = "import docs.generate as g; print(repr(g.render_all()), end='')"
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"PYTHONPATH": ":".join([str(ROOT), *sys.path]), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]

    assert runs[0] == runs[1] == repr(generate.render_all())


def test_a_stale_a_missing_and_a_left_over_document_are_named() -> None:
    documents = generate.render_all()
    documents["lifecycle.md"] += "more\n"
    documents["errors/new-one.md"] = "# new\n"
    del documents["errors/not-found.md"]

    found = set(generate.stale(documents))

    assert {"lifecycle.md", "errors/new-one.md", "errors/not-found.md"} <= found


@pytest.mark.parametrize("path", [path for path in generate.render_all() if path.endswith(".json")])
def test_json_documents_are_json(path: str) -> None:
    document = json.loads(generate.render_all()[path])

    if path == "asyncapi.json":
        assert document["asyncapi"].startswith("3.")
        assert document["channels"]
    else:
        assert document["openapi"].startswith("3.")
        assert document["paths"]


def test_the_lifecycle_page_is_whole() -> None:
    page = generate.lifecycle()

    assert all(f"| `{state.value}` |" in page for state in State)
    assert all(f"| `{before.value}` | `{after.value}` |" in page for before, after in TRANSITIONS)
    assert "    sending --> unknown" in page


def test_the_reasons_page_is_whole() -> None:
    page = generate.reasons()

    assert all(f"| `{code.value}` |" in page for code in [*DenialCode, *EndingCode])


@pytest.mark.parametrize("title", generate.SETTINGS)
def test_every_setting_says_what_it_means(title: str) -> None:
    cls = generate.SETTINGS[title]
    silent = [name for name, field in cls.model_fields.items() if not generate.meaning(name, field)]

    assert not silent, f"give these a Field(description=...) in {cls.__module__}: {silent}"


def test_a_secret_is_marked_and_has_no_default() -> None:
    for line in generate.settings().splitlines():
        if line.endswith("(secret) |"):
            assert "| needed |" in line or "| none |" in line
    assert generate.settings().count("(secret) |") >= 6
