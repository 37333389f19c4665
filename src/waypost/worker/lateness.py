"""Lateness: how long a caller still waits, by three clocks that need not agree.

A message carries times of the gateway's clock (issued_at, deadline) and of the queue's (sent_at, first_received_at);
this worker adds its monotonic one. Differences within one clock are exact, whatever the others say:

    time left = (deadline - issued_at) - sending - (queue's clock now - sent_at)

The queue's clock is read off the deliveries: it had reached first_received_at when they arrived, so the greatest
(first_received_at - our monotonic time) of the last minutes is what it is ahead by, less the quickest way of an answer.
`sending`, from issued_at to sent_at, crosses two clocks. Where the gateway's quickest message of the last seconds took
no more than sends take, the two agree and it counts whole; else only what a message took longer than that one counts.
No clock of a pod can so make a good request late, and the time left is never longer than the gateway gave."""

from __future__ import annotations

import math
import threading

from waypost.limits import MAX_DEADLINE_MS
from waypost.queueing.messages import RecommendMessage
from waypost.queueing.protocols import Delivery

QUEUE_SECONDS = 60.0  # an answer that was under way for long is told by the quicker ones of the last minutes
GATEWAY_SECONDS = 5.0  # a gateway whose clock was put back is believed again after at most twice this
QUICK_SEND_SECONDS = 0.05  # coalescing and a send; two clocks that differ by less may as well agree
MAX_GATEWAYS = 1_024  # reply addresses remembered
MAX_SPAN_SECONDS = MAX_DEADLINE_MS / 1_000


class Lateness:
    """Safe for use by several threads."""

    def __init__(self) -> None:
        self._queue = _Greatest(QUEUE_SECONDS)
        self._gateways: dict[str, _Greatest] = {}
        self._lock = threading.Lock()

    def received(self, deliveries: list[Delivery], at: float) -> None:
        """These arrived `at` that monotonic time: they tell how far the queue's clock is."""
        reached = max((max(one.first_received_at, one.sent_at) for one in deliveries), default=-math.inf)
        with self._lock:
            self._queue.add(reached - at, at)

    def in_queue(self, delivery: Delivery, at: float) -> float:
        """Seconds since the queue took the message, at that monotonic time."""
        return max(0.0, at + self._queue.value - delivery.sent_at)

    def expires_at(self, message: RecommendMessage, delivery: Delivery, at: float) -> float:
        """The monotonic time after which nobody waits for this answer; `at`: when it was received."""
        return at + span(message) - self._sending(message, delivery, at) - self.in_queue(delivery, at)

    def _sending(self, message: RecommendMessage, delivery: Delivery, at: float) -> float:
        took = delivery.sent_at - message.issued_at
        with self._lock:
            quickest = -self._gateway(message.reply_to).add(-took, at)
        agree = 0 <= quickest <= QUICK_SEND_SECONDS
        return took if agree else took - quickest

    def _gateway(self, reply_to: str) -> _Greatest:
        found = self._gateways.get(reply_to)
        if found is None:
            if len(self._gateways) >= MAX_GATEWAYS:
                del self._gateways[next(iter(self._gateways))]  # the one known longest
            found = self._gateways[reply_to] = _Greatest(GATEWAY_SECONDS)
        return found


def span(message: RecommendMessage) -> float:
    """Seconds that the gateway gave."""
    return min(message.deadline - message.issued_at, MAX_SPAN_SECONDS)


class _Greatest:
    """The greatest value of the last `seconds` to twice as many."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._begun = seconds, -math.inf
        self._before = self._now = self.value = -math.inf

    def add(self, value: float, at: float) -> float:
        """The greatest, this one included."""
        if at - self._begun >= self._seconds:
            self._before = self._now if at - self._begun < 2 * self._seconds else -math.inf
            self._now, self._begun = -math.inf, at
        self._now = max(self._now, value)
        self.value = max(self._now, self._before)
        return self.value
