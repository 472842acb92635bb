"""What a command may ask of the running stack without being part of one.

There are two kinds: the embedded stack, whose supervisor writes its state; and one that somebody
else keeps, e.g. containers, whose addresses `orderonce prepare keys` left in the data folder.
Images carry the command line without the embedded stack.
"""

import json
from pathlib import Path
from typing import Any

from orderonce_cli.problems import Exit, Problem
from orderonce_cli.stack.layout import Layout, write_private

VIEW = "view.json"


def kept_elsewhere(where: Layout) -> dict[str, Any] | None:
    """The addresses of a stack that somebody else keeps, if the folder is of such a one."""
    try:
        found: dict[str, Any] = json.loads((where.root / VIEW).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Problem(f"{where.root / VIEW} cannot be read: {error}.") from error
    return found


def keep(folder: Path, view: dict[str, Any]) -> None:
    """Leave the addresses, and the demo key, for commands to come: 0600."""
    write_private(folder / VIEW, json.dumps(view, indent=1))


def view(where: Layout) -> dict[str, Any]:
    """The addresses of the running stack (api.md); raises Problem when there is none."""
    if (kept := kept_elsewhere(where)) is not None:
        return kept
    try:
        from orderonce_cli.stack import control
    except ModuleNotFoundError as missing:
        raise Problem(
            f"The embedded stack is not installed here ({missing.name} is missing). Name the "
            "service: --url, or ORDERONCE_API, ORDERONCE_LEDGER and ORDERONCE_ADMIN_API.",
            Exit.UNAVAILABLE,
        ) from None
    return control.require_ready(where).view
