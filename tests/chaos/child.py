"""A gateway or a worker as the runs start it: `python -m tests.chaos.child gateway [BUG…]`.

The bugs are planted before the product's own entry is called, and nowhere else. The process dies with the test.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from waypost.cli import main

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent()
    verb, *bugs = sys.argv[1:]
    if bugs:
        from tests.chaos.planted import plant

        for bug in bugs:
            plant(bug)
    sys.exit(main([verb]))
