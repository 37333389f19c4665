"""Where a run is, on standard error; standard output is for the table."""

from __future__ import annotations

import sys
import time

STARTED = time.monotonic()


def say(line: str) -> None:
    print(f"{time.monotonic() - STARTED:6.0f} s  {line}", file=sys.stderr, flush=True)
