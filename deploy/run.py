"""Runs a service's module as the first process of a container: `run.py orderonce_api [ARGUMENTS]`.

Why: the kernel throws away a SIGTERM for which process 1 has no handler. Until a service has set
its own, after a second of imports, this one ends the process at once; nothing was begun by then.
Under an init (`docker run --init`) it is not needed and does no harm.
"""

import runpy
import signal
import sys
from types import FrameType


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    for early in (signal.SIGTERM, signal.SIGINT):
        signal.signal(early, _end)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
