"""Postbox: what the proxies of all processes know together about one queue: what is in hand, and what comes again."""

from __future__ import annotations

import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

OWN_HANDLE = "chaos-"  # deliveries that SQS knows nothing of
KEPT = 200  # deleted messages that may come again
Entry = dict[str, Any]


@dataclass
class Postbox:
    queue: str  # its name
    epoch: float = field(default_factory=lambda: time.time() - time.monotonic())
    in_hand: dict[str, Entry] = field(default_factory=dict)  # handle -> message
    deleted: deque[Entry] = field(default_factory=lambda: deque(maxlen=KEPT))
    due: list[tuple[float, Entry, str]] = field(default_factory=list)  # when, message, how

    def take_due(self, most: int) -> list[tuple[Entry, str]]:
        """Deliveries whose time has come."""
        now = time.monotonic()
        ready = [one for one in self.due if one[0] <= now][: max(0, most)]
        for one in ready:
            self.due.remove(one)
        return [(message, how) for _, message, how in ready]

    def keep_back(self, seconds: float, message: Entry) -> None:
        """The same delivery, later."""
        self.due.append((time.monotonic() + seconds, message, "late"))

    def again(self, seconds: float, message: Entry, how: str) -> None:
        """Another delivery of it."""
        system = dict(message.get("Attributes", {}))
        system["ApproximateReceiveCount"] = str(int(system.get("ApproximateReceiveCount", "1")) + 1)
        copy = {**message, "ReceiptHandle": OWN_HANDLE + uuid.uuid4().hex, "Attributes": system}
        self.due.append((time.monotonic() + seconds, copy, how))

    def forget(self) -> None:
        """The queue was lost with its server."""
        self.due.clear()
        self.deleted.clear()
