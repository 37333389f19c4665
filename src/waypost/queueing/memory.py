"""The in-memory twin of SQS, for tests: visibility timeouts, receive counts and limits; it passes SQS' contract tests.

Visibility follows the clock that it is given, so that tests can move it; a long poll waits in real time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from waypost.clock import Clock, SystemClock
from waypost.errors import QueueUnavailable
from waypost.queueing.protocols import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    SEND_SECONDS,
    Delivery,
    OutgoingMessage,
    QueueDepth,
)

LOOK_AGAIN_SECONDS = 0.02  # a long poll wakes for a send at once, for an expired visibility timeout after this


@dataclass
class _Stored:
    message: OutgoingMessage
    sent_at: float
    visible_at: float
    receive_count: int = 0
    handle: str = ""
    first_received_at: float = 0.0


@dataclass
class MemoryQueue:
    """`reachable = False` makes every call raise QueueUnavailable, as a queue that is down does."""

    clock: Clock = field(default_factory=SystemClock)
    visibility_timeout_seconds: float = 30.0
    reachable: bool = True
    _messages: dict[int, _Stored] = field(default_factory=dict)
    _next: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def send(self, messages: Sequence[OutgoingMessage], within_seconds: float = SEND_SECONDS) -> frozenset[int]:
        with self._changed:
            self._require_reachable()
            refused = frozenset(i for i, message in enumerate(messages) if message.size > MAX_BATCH_BYTES)
            for message in (message for i, message in enumerate(messages) if i not in refused):
                now = self.clock.now()
                self._messages[self._next] = _Stored(message, now, now)
                self._next += 1
            self._changed.notify_all()
        return refused

    def receive(self, most: int, wait_seconds: float) -> list[Delivery]:
        end = time.monotonic() + wait_seconds
        with self._changed:
            while True:
                self._require_reachable()
                found = [stored for stored in self._messages.items() if stored[1].visible_at <= self.clock.now()]
                remaining = end - time.monotonic()
                if found or remaining <= 0:
                    return [self._deliver(number, stored) for number, stored in found[: min(most, MAX_BATCH)]]
                self._changed.wait(min(remaining, LOOK_AGAIN_SECONDS))

    def delete(self, receipt_handles: Sequence[str]) -> None:
        with self._changed:
            self._require_reachable()
            for number in self._current(receipt_handles):
                del self._messages[number]

    def release(self, receipt_handles: Sequence[str], after_seconds: int = 0) -> None:
        with self._changed:
            self._require_reachable()
            for number in self._current(receipt_handles):
                self._messages[number].visible_at = self.clock.now() + after_seconds
            self._changed.notify_all()

    def depth(self) -> QueueDepth:
        with self._changed:
            self._require_reachable()
            visible = sum(stored.visible_at <= self.clock.now() for stored in self._messages.values())
            return QueueDepth(visible, len(self._messages) - visible)

    def _deliver(self, number: int, stored: _Stored) -> Delivery:
        stored.receive_count += 1
        stored.first_received_at = stored.first_received_at or self.clock.now()
        stored.visible_at = self.clock.now() + self.visibility_timeout_seconds
        stored.handle = f"{number}/{stored.receive_count}"
        message = stored.message
        return Delivery(
            message.body,
            message.attributes,
            stored.handle,
            stored.receive_count,
            stored.sent_at,
            stored.first_received_at,
        )

    def _current(self, handles: Sequence[str]) -> list[int]:
        wanted = set(handles)
        return [number for number, stored in self._messages.items() if stored.handle in wanted]

    def _require_reachable(self) -> None:
        if not self.reachable:
            raise QueueUnavailable("the queue cannot be reached")
