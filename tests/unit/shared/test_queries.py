"""Named SQL files: every statement under its own name, and no statement lost or joined to
another."""

from pathlib import Path

import pytest
from orderonce_shared.runtime.queries import load_queries


def queries(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "queries.sql"
    path.write_text(text)
    return load_queries(path)


def test_statements_by_name(tmp_path: Path) -> None:
    found = queries(
        tmp_path,
        "-- What this file is about.\n\n"
        "-- name: claim\n-- One line of why.\nINSERT INTO t\nVALUES ($1);\n\n"
        "-- name: due\nSELECT ';' -- not the end\n  FROM t;\n",
    )

    assert found == {
        "claim": "-- One line of why.\nINSERT INTO t\nVALUES ($1)",
        "due": "SELECT ';' -- not the end\n  FROM t",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT 1;",
        "-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n",
        "-- name: a\nSELECT 1;\n-- name: f25\nSELECT 2;\n",  # not a name: it would join the first
        "-- name: a\nSELECT 1;\n-- name: Claim\nSELECT 2;\n",
        "-- name: a\nSELECT 1;\n--name: b\nSELECT 2;\n",
        "-- name: a\nSELECT 1;\n-- name: b \nSELECT 2;\n",
        "-- name: a\n-- name: b\nSELECT 1;\n",
        "-- name: a\n-- why, and nothing else\n",
        "SELECT 0;\n-- name: a\nSELECT 1;\n",
    ],
)
def test_a_file_that_would_lose_a_statement_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"queries\.sql"):
        queries(tmp_path, text)
