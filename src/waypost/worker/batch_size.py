"""BatchSize: how many requests go into one call of the model: all that wait, unless the call then outlasts its callers.

A model that takes 8 ms a request answers 64 in half a second, all of them too late; 10 at a time it answers most. So
the size follows what calls take: below a share of the time that requests are given it grows, above it shrinks."""

from __future__ import annotations

CALL_SHARE = 0.4  # of the time that a request was given may go into its call; some of it was gone before
GROWTH = 1.1  # after a full call that was quick enough
SMOOTHING = 0.5  # of the way to the right size at a time: one slow call may have met a bad moment


class BatchSize:
    """For use by several threads: a change that is lost to another one is made up for by the next call."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, float(most)

    @property
    def requests(self) -> int:
        """In the next call, at most."""
        return max(1, int(self._size))

    def called(self, requests: int, seconds: float, span: float) -> None:
        """A call of so many took so long, and they were given `span` seconds each on average."""
        allowed = CALL_SHARE * span
        if seconds > allowed:
            right = max(1.0, requests * allowed / seconds)
            self._size = min(self._size, self._size + SMOOTHING * (right - self._size))
        elif requests >= self.requests:
            self._size = min(float(self._most), self._size * GROWTH + 1)
