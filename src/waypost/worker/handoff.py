"""Handoff: deliveries on their way from the receivers to the processing loop; bounded, so that a pod does not hoard.

A message that waits here is in flight on the queue: another pod could have had it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from waypost.queueing.protocols import Delivery


@dataclass(frozen=True, slots=True)
class Received:
    delivery: Delivery
    at: float  # seconds since the epoch, by this worker's clock


class Handoff:
    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: deque[Received] = deque()
        self._changed = threading.Condition()  # over a reentrant lock, so that a signal handler may close
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def put(self, received: Sequence[Received]) -> bool:
        """Wait for room, then add all; False, and nothing added, once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._capacity)
            if self._closed:
                return False
            self._waiting.extend(received)
            self._changed.notify_all()
            return True

    def take(self, most: int) -> list[Received]:
        """Wait for the first, then take what is there up to `most`; empty once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            if self._closed:
                return []
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._changed.notify_all()
            return taken

    def close(self) -> None:
        """Nothing goes in or out any more, except to `leftovers`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def leftovers(self) -> list[Received]:
        """What nobody has begun; it is not here any more."""
        with self._changed:
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
            return left
