"""Throttle: at most so many answers a second. For measurements, and for a GPU that others share.

What is dropped unanswered costs nothing here: stale work is drained at full speed."""

from __future__ import annotations

import threading

from waypost.clock import Clock

ROUNDING = 1e-6  # of a request: waiting for the next one ends when it is there, not a rounding error before
BURST_SECONDS = 0.05  # of the rate may be answered at once: short against any deadline, so that it hardly bunches


class Throttle:
    """Safe for use by several threads; without a rate it is always open."""

    def __init__(self, per_second: float | None, clock: Clock) -> None:
        self._rate, self._clock = per_second, clock
        self._most = max(1.0, (per_second or 0.0) * BURST_SECONDS)
        self._free, self._at = self._most, clock.monotonic()
        self._lock = threading.Lock()

    def take(self, most: int, patience: float) -> int:
        """How many of `most` may be answered now; 0 when it is none even after `patience` seconds."""
        if self._rate is None:
            return most
        with self._lock:
            self._refill(self._rate)
            if self._free < 1:
                self._clock.sleep(min(patience, (1 - self._free) / self._rate))
                self._refill(self._rate)
            taken = min(most, int(self._free + ROUNDING))
            self._free -= taken
            return taken

    def give_back(self, count: int) -> None:
        """So many were not used."""
        with self._lock:
            self._free = min(self._most, self._free + count)

    def _refill(self, rate: float) -> None:
        now = self._clock.monotonic()
        self._free = min(self._most, self._free + (now - self._at) * rate)
        self._at = now
