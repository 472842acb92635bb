"""Options that many commands share, and how a list answer becomes rows."""

from pathlib import Path
from typing import Annotated, Any

import typer

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data folder (default: ORDERONCE_DATA, else .data here)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="The service's address, if not the local stack's.")
]
KeyFileOption = Annotated[
    Path | None, typer.Option("--key-file", help="File with the API key (default: the stack's).")
]
IdempotencyKeyOption = Annotated[
    str | None,
    typer.Option("--key", help="Idempotency key, to repeat an earlier request; made if absent."),
]


def rows(body: Any) -> list[dict[str, Any]]:
    """The records of a list answer: the body itself, or its first member that is a list."""
    if isinstance(body, list):
        return body
    return next((value for value in body.values() if isinstance(value, list)), [])
