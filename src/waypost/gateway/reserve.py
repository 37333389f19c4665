"""Reserve: how long before its deadline a request stops waiting, so that the other answer still comes in time.

What lies after the wait (the event loop's lateness, the popular answer, its encoding) is measured: the worst of the
last seconds counts and fades. A loop that was held up for a moment makes the next requests wait a little less.
"""

from __future__ import annotations

import asyncio

from waypost.clock import Clock

LEAST_SECONDS = 0.015  # what an undisturbed gateway needs is 1 ms; the rest is the way to the caller
MOST_SECONDS = 0.1
MOST_SHARE = 0.2  # of a deadline, for what was measured: the model must have its time
LEAST_SHARE = 0.6  # of one so short that the least would be all of it: in time comes first
HALVES_IN_SECONDS = 5.0
LOOK_SECONDS = 0.05  # twenty looks a second at the loop's lateness cost nothing


class Reserve:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._worst, self._seen_at = 0.0, clock.monotonic()

    def seconds(self, deadline_seconds: float) -> float:
        """To keep back from such a deadline."""
        wanted = LEAST_SECONDS + self._faded(self._clock.monotonic())
        least = min(LEAST_SECONDS, deadline_seconds * LEAST_SHARE)
        return max(least, min(wanted, MOST_SECONDS, deadline_seconds * MOST_SHARE))

    def was_late(self, seconds: float) -> None:
        """So long after the wait's end an answer was there, or the loop did what was due."""
        now = self._clock.monotonic()
        self._worst, self._seen_at = max(seconds, self._faded(now)), now

    async def watch(self) -> None:
        """Look at the loop's lateness until cancelled."""
        while True:
            due = self._clock.monotonic() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            self.was_late(self._clock.monotonic() - due)

    def _faded(self, now: float) -> float:
        faded: float = self._worst * 0.5 ** ((now - self._seen_at) / HALVES_IN_SECONDS)
        return faded
