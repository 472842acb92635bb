"""Becomes the program it is told to run, tied to its parent: exec, no return.

Runs before the child's own program so that no Python code runs between fork and exec in the
supervisor. Sets the user, and (Linux) the signal that the kernel sends when the parent dies.
Stand-alone on purpose: it is started with `-I -S` and imports nothing of the house.

Usage: launch.py SIGNAL PARENT UID GID PROGRAM [ARGUMENT…]   (UID and GID are -1 to stay)
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    """Drop to the user, ask for the death signal, become the program."""
    signal, parent, uid, gid = (int(value) for value in arguments[:4])
    program = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)
    try:
        os.execv(program[0], program)  # noqa: S606 (no shell is the point)
    except OSError as error:
        print(f"{program[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
