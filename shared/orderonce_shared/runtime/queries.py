"""SQL lives in `queries.sql` beside a service's store: `-- name: claim`, one line of why, the statement with $1, $2, …

Refused: aiosql. It reads the same files but rewrites `:name` parameters and makes untyped methods at run time; here the
statement is sent as it is written, and one typed function per query stands in store.py. What is left is this split.
"""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)


def load_queries(path: Path) -> dict[str, str]:
    """name -> statement, comments kept. Raises ValueError for a name given twice or a file without one."""
    pieces = _NAME.split(path.read_text())
    names, statements = pieces[1::2], [piece.strip().rstrip(";") for piece in pieces[2::2]]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{path.name}: each query needs a name of its own")
    return dict(zip(names, statements, strict=True))
