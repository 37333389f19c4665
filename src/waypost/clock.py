"""Time as a parameter: code that waits or dates things takes a Clock, so that tests can move it.

`ManualClock` is the twin that the tests use; both pass the same contract test.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Wall-clock seconds since the epoch, for dates that leave the process."""

    def monotonic(self) -> float:
        """Seconds that never run backwards, for durations inside the process."""

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`; at once when not positive."""


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


class ManualClock:
    """Stands still until somebody sleeps on it."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._start = now
        self._elapsed = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._elapsed += max(0.0, seconds)
