"""RequestQueue: the few things Waypost asks of SQS.

SQS and its in-memory twin pass the same contract tests. Delivery is at least once, also after a delete, and in any
order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

MAX_BATCH = 10  # SQS: entries in one send, receive, delete or release
MAX_BATCH_BYTES = 1 << 20  # SQS: bodies and attributes of one batch, and of one message alone
MAX_WAIT_SECONDS = 20  # SQS: long polling
SEND_SECONDS = 2.0  # a send takes about 10 ms; after this long no caller waits any more


@dataclass(frozen=True)
class OutgoingMessage:
    body: bytes  # UTF-8 of XML 1.0 characters
    attributes: Mapping[str, str]

    @cached_property
    def size(self) -> int:
        """Bytes as SQS counts them: the body and each attribute's name, type and value."""
        return len(self.body) + sum(
            len(name) + len("String") + len(value.encode()) for name, value in self.attributes.items()
        )


@dataclass(frozen=True)
class Delivery:
    body: bytes
    attributes: Mapping[str, str]
    receipt_handle: str  # of this delivery, not of the message
    receive_count: int  # 1 at the first delivery
    sent_at: float  # seconds since the epoch, by the queue's clock
    first_received_at: float = 0.0  # likewise, of the first delivery; 0: the queue does not say


@dataclass(frozen=True)
class QueueDepth:
    """Approximate, and a minute late at worst."""

    visible: int
    in_flight: int


class RequestQueue(Protocol):
    """Every method raises QueueUnavailable when the queue cannot be reached or refuses the whole call."""

    def send(self, messages: Sequence[OutgoingMessage], within_seconds: float = SEND_SECONDS) -> frozenset[int]:
        """Send any number; the positions of those that the queue did not take (too large, or refused one by one).

        A queue that does not answer within so many seconds counts as unavailable.
        """

    def receive(self, most: int, wait_seconds: float) -> list[Delivery]:
        """At most `most` (10 at a time) messages, waiting up to `wait_seconds` for the first one."""

    def delete(self, receipt_handles: Sequence[str]) -> None:
        """These are done. A stale handle is no error: that message may come again."""

    def release(self, receipt_handles: Sequence[str], after_seconds: int = 0) -> None:
        """Make these visible again, at once or after whole seconds. A stale handle is no error."""

    def depth(self) -> QueueDepth:
        """How many wait and how many are being worked on."""
