"""RetryBudget: how many second tries a layer may make, as a share of its first ones.

A token bucket that is filled by work and not by time: a first try earns a tenth of a token, a second try costs one. So
a part that is slow for everybody gets a tenth more load at most, never twice as much, and an idle one saves nothing up.
"""

from __future__ import annotations

import threading

SHARE = 0.1  # second tries for each first one
SAVED = 10.0  # tokens at the start and at most: what a few requests a minute live on


class RetryBudget:
    """Safe for use by several threads."""

    def __init__(self, share: float = SHARE, saved: float = SAVED) -> None:
        self._share, self._most, self._tokens = share, saved, saved
        self._lock = threading.Lock()

    def earn(self, tries: int = 1) -> None:
        """So many first tries are made."""
        with self._lock:
            self._tokens = min(self._most, self._tokens + tries * self._share)

    def spend(self) -> bool:
        """Whether a second try may be made; it is paid for."""
        with self._lock:
            if self._tokens < 1.0 - 1e-9:  # ten times a tenth is not quite one
                return False
            self._tokens -= 1.0
            return True
