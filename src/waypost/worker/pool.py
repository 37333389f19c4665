"""Pool: verified requests on their way from the receivers to the answering threads.

A message that waits here is in flight on the queue: another pod could have had it. So the pool is small, unless what
arrives is stale: then no other pod takes it either, and what cannot be answered in time had better be found out here,
by the hundred, than stand in the queue before what can. While the oldest has half of its time left the oldest is
answered first; beyond that there is more work than time, and the newest first: who came last can still be served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from waypost.worker.request import Request

LOOK_AGAIN_SECONDS = 0.2  # how late a stop may be noticed at worst
MOST_WAITING = 2_048  # requests; at ten times a capacity of 100/s and a deadline of two seconds all of them fit
MOST_BYTES = 64 << 20  # of message bodies, each of which may have 1 MiB


class Pool:
    """Safe for use by several threads. `enough` is how many make receivers wait, stale messages aside."""

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self._waiting: deque[Request] = deque()  # in the order of arrival
        self._bytes = 0
        self._calls = 0  # of the model, under way
        self._changed = threading.Condition()  # over a reentrant lock, so that a signal handler may close
        self._closed = self._ended = False

    @property
    def closed(self) -> bool:
        """Whether no receiver may begin to ask the queue any more; what waits here is answered all the same."""
        return self._closed

    def __len__(self) -> int:
        return len(self._waiting)

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def wait_for_room(self, seconds: float, stale: bool) -> None:
        """Wait until it has not enough, or so long; who met stale messages waits only where it can hold no more."""
        with self._changed:
            if not stale:
                self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._enough, seconds)
            self._changed.wait_for(lambda: self._closed or self._has_room(), None)

    def put(self, requests: Sequence[Request]) -> bool:
        """False, and nothing added, once ended."""
        with self._changed:
            if self._ended:
                return False
            self._waiting.extend(requests)
            self._bytes += sum(len(request.delivery.body) for request in requests)
            self._changed.notify_all()
            return True

    def wait(self, full: int) -> bool:
        """Wait for a request, or for `full` of them while others are being answered; False once ended.

        What waits while the model works makes the next call larger, and a larger call costs less by the request.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._waiting) >= (full if self._calls else 1))
            return not self._ended

    def take(self, most: int, now: float, needed: float) -> tuple[list[Request], list[Request]]:
        """(up to `most` that can still be answered, all that cannot any more); `needed`: seconds for an answer."""
        with self._changed:
            if self._ended:
                return [], []
            late = self._sweep(now, needed)
            newest_first = self._has_too_much(now)
            pop = self._waiting.pop if newest_first else self._waiting.popleft
            taken = [pop() for _ in range(min(most, len(self._waiting)))]
            self._forget_bytes(taken)
            self._calls += bool(taken)
            if taken or late:
                self._changed.notify_all()
            return taken, late

    def answered(self) -> None:
        """What one `take` brought."""
        with self._changed:
            self._calls -= 1
            self._changed.notify_all()

    def wait_until_closed(self) -> None:
        """Looks again now and then: a signal handler that closes between a look and its wait would wake nobody."""
        with self._changed:
            while not self._closed:
                self._changed.wait(LOOK_AGAIN_SECONDS)

    def wait_until_empty(self, seconds: float) -> None:
        """Or so long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, seconds)

    def close(self) -> None:
        """Receivers begin no other receive; what those under way bring still goes in and out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing goes in or out any more, except to `leftovers`."""
        with self._changed:
            self._closed = self._ended = True
            self._changed.notify_all()

    def leftovers(self) -> list[Request]:
        """What nobody has begun; it is not here any more."""
        with self._changed:
            left = list(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            self._changed.notify_all()
            return left

    def _has_room(self) -> bool:
        return len(self._waiting) < MOST_WAITING and self._bytes < MOST_BYTES

    def _has_too_much(self, now: float) -> bool:
        oldest = self._waiting[0] if self._waiting else None
        return oldest is not None and oldest.expires - now < oldest.span / 2

    def _sweep(self, now: float, needed: float) -> list[Request]:
        late = [request for request in self._waiting if request.is_late(now, needed)]
        if late:
            gone = set(map(id, late))
            self._waiting = deque(request for request in self._waiting if id(request) not in gone)
            self._forget_bytes(late)
        return late

    def _forget_bytes(self, requests: Sequence[Request]) -> None:
        self._bytes -= sum(len(request.delivery.body) for request in requests)
