"""Ledger: which requests this worker has in hand and which it answered a moment ago, by request id.

A message may come twice, also after its delete and to two receivers at once. Whatever comes again of a request in hand
is deleted or given back together with it: deleted at once it would be gone before its answer. What was answered is
remembered until any message of that request would be too late anyway."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from waypost.worker.lateness import MAX_SPAN_SECONDS
from waypost.worker.request import Request

REMEMBERED_SECONDS = MAX_SPAN_SECONDS + 2.0  # at least; twice as long at most
MAX_REMEMBERED = 100_000  # ids at a time: 8,000 requests/s for so long, 10 MB


class Ledger:
    """Safe for use by several threads."""

    def __init__(self, most_remembered: int = MAX_REMEMBERED) -> None:
        self._most = most_remembered
        self._in_hand: dict[str, Request] = {}
        self._answered: set[str] = set()
        self._answered_before: set[str] = set()
        self._turned = 0.0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Requests in hand."""
        return len(self._in_hand)

    def take_in(self, requests: Sequence[Request], now: float) -> tuple[list[Request], list[str], int]:
        """(those to be answered, receipt handles of those that were answered already, repeated deliveries in all)."""
        fresh: list[Request] = []
        done: list[str] = []
        with self._lock:
            self._turn(now)
            for request in requests:
                first = self._in_hand.get(request.id)
                if first is not None:
                    first.handles += request.handles
                elif request.id in self._answered or request.id in self._answered_before:
                    done += request.handles
                else:
                    self._in_hand[request.id] = request
                    fresh.append(request)
        return fresh, done, len(requests) - len(fresh)

    def answered(self, requests: Sequence[Request], now: float) -> None:
        """Their replies were delivered: never to be answered again."""
        with self._lock:
            self._turn(now)
            self._remove(requests)
            self._answered.update(request.id for request in requests)

    def let_go(self, requests: Sequence[Request]) -> None:
        """They leave unanswered."""
        with self._lock:
            self._remove(requests)

    def waiting_since(self, before: float) -> list[Request]:
        """Requests in hand that were received, and last extended, before that monotonic time."""
        with self._lock:
            return [one for one in self._in_hand.values() if max(one.received, one.extended) < before]

    def _remove(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self._in_hand.pop(request.id, None)

    def _turn(self, now: float) -> None:
        """Two generations: forgetting costs nothing by the request."""
        if now - self._turned >= REMEMBERED_SECONDS or len(self._answered) >= self._most:
            idle = now - self._turned >= 2 * REMEMBERED_SECONDS
            self._answered_before = set() if idle else self._answered
            self._answered, self._turned = set(), now
