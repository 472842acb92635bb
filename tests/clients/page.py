"""docs/foreign-clients.md shows what the tests run: each block under a mark is that file, whole."""

import re
from pathlib import Path

from tests.clients.environments import CLIENTS

ROOT = CLIENTS.parents[1]
PAGE = ROOT / "docs/foreign-clients.md"
BLOCK = re.compile(r"(<!-- (tests/clients/\S+) -->\n```\w+\n)(.*?)(```\n)", re.DOTALL)
MUST_BE_SHOWN = {*CLIENTS.glob("*/connect.py"), CLIENTS / "freqtrade/config.json"}


def shown(page: str) -> set[Path]:
    """The files whose text the page claims to show."""
    return {ROOT / found[2] for found in BLOCK.finditer(page)}


def render(page: str) -> str:
    """The page with every block as its file is now."""
    return BLOCK.sub(lambda block: block[1] + (ROOT / block[2]).read_text() + block[4], page)
