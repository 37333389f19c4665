"""Latencies: how long the latest tries took, and so when one is late enough to ask a second gateway.

A try that was given up counts with the time it had had: it would have taken longer, and the p95 is the same.
"""

from __future__ import annotations

from collections import deque

KEPT = 256  # tries; enough for a p95 of a dozen late ones, few enough to follow a change within seconds
NEEDED = 20  # tries before a p95 means anything
RECKONED_EVERY = 16  # tries
LATE = 0.95


class Latencies:
    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=KEPT)
        self._since = 0
        self._p95: float | None = None

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)
        self._since += 1
        if len(self._seconds) >= NEEDED and (self._p95 is None or self._since >= RECKONED_EVERY):
            self._since = 0
            self._p95 = sorted(self._seconds)[int(LATE * len(self._seconds))]

    @property
    def p95(self) -> float | None:
        """Seconds; None until there were enough tries."""
        return self._p95
