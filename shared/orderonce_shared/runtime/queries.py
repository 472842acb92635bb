"""SQL lives in `queries.sql` beside a service's store: `-- name: claim`, one line of why, the
statement with $1, $2, …

Refused: aiosql. It reads the same files but rewrites `:name` parameters and makes untyped methods
at run time; here the statement is sent as it is written, and one typed function per query stands in
store.py. What is left is this split.
"""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)
_MEANT_AS_NAME = re.compile(r"^\s*--\s*name\s*:", re.MULTILINE | re.IGNORECASE)


def load_queries(path: Path) -> dict[str, str]:
    """name -> statement, comments kept. Raises ValueError for a file that would lose a statement:
    one without a name, a name given twice, a name that is not one (its statement would join the one
    before).
    """
    text = path.read_text()
    head, *pieces = _NAME.split(text)
    names, statements = pieces[::2], [piece.strip().rstrip(";") for piece in pieces[1::2]]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{path.name}: each query needs a name of its own")
    if len(names) != len(_MEANT_AS_NAME.findall(text)):
        raise ValueError(f"{path.name}: a name is written `-- name: lower_case`")
    if not _bare(head) or any(map(_bare, statements)):
        raise ValueError(f"{path.name}: a name without a statement, or a statement without a name")
    return dict(zip(names, statements, strict=True))


def _bare(text: str) -> bool:
    """Whether there is nothing but comments."""
    return all(not line.strip() or line.lstrip().startswith("--") for line in text.splitlines())
