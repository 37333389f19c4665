"""Inbox: where replies arrive whose signature was right, whichever way they came. On the event loop only."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from waypost.clock import Clock
from waypost.errors import RejectedError
from waypost.gateway.breaker import Breaker
from waypost.gateway.pending import Pending
from waypost.metrics import GatewayMetrics
from waypost.queueing.replies import Reply

logger = logging.getLogger(__name__)


class Inbox:
    def __init__(self, pending: Pending, breaker: Breaker, metrics: GatewayMetrics, clock: Clock) -> None:
        self._pending, self._breaker, self._metrics, self._clock = pending, breaker, metrics, clock

    def take(self, replies: Sequence[Reply]) -> None:
        """Each to who waits for it; late and repeated ones are counted. All tell the breaker that somebody lives."""
        self._breaker.replied(self._clock.monotonic())
        used = sum(map(self._pending.resolve, replies))
        self._metrics.replies.labels("used").inc(used)
        self._metrics.replies.labels("late").inc(len(replies) - used)

    def reject(self, error: RejectedError) -> None:
        """What was not signed by us, or is no reply."""
        self._metrics.replies.labels("rejected").inc()
        logger.warning("a reply was rejected", extra={"cause": str(error)})
