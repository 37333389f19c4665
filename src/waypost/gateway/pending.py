"""Pending: who waits for which request's reply. The first reply wins; later ones find nobody and are dropped.

Everything here runs on the event loop, `sent` aside, so there is no lock.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from waypost.questions import Answer, AppKey
from waypost.queueing.replies import Reply

# Why the model did not rank: no reply in time, the queue did not take the message, it is known to be dead and was not
# asked, a reply that is not this request's, or something nobody thought of.
Cause = Literal["timeout", "queue", "breaker", "reply", "error"]


@dataclass(slots=True)
class Waiting:
    user_id: AppKey
    outcome: asyncio.Future[Answer | Cause]
    sent: float | None = None  # monotonic seconds at which the queue had it; set by a sender thread


class Pending:
    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self, request_id: str, user_id: AppKey) -> Waiting:
        waiting = Waiting(user_id, asyncio.get_running_loop().create_future())
        self._waiting[request_id] = waiting
        return waiting

    async def wait(self, request_id: str, waiting: Waiting, seconds: float) -> Answer | Cause:
        """What became of it within so many seconds."""
        timer = asyncio.get_running_loop().call_later(seconds, self.fail, request_id, "timeout")
        try:
            return await waiting.outcome
        finally:
            timer.cancel()
            self._waiting.pop(request_id, None)

    def resolve(self, reply: Reply) -> bool:
        """False when nobody waits for it (any more)."""
        waiting = self._waiting.pop(reply.request_id, None)
        if waiting is None or waiting.outcome.done():
            return False
        waiting.outcome.set_result(reply.answer if reply.user_id == waiting.user_id else "reply")
        return True

    def fail(self, request_id: str, cause: Cause) -> None:
        waiting = self._waiting.pop(request_id, None)
        if waiting is not None and not waiting.outcome.done():
            waiting.outcome.set_result(cause)
