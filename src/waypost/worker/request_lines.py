"""A worker's line about a request: how it left this worker, whose it was (by pseudonym), and where the time went.

Nothing of the question stands in it. Of a message that was not signed by us nothing stands in it at all, its id
neither: anybody may have written that.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from waypost.errors import RejectedError
from waypost.logs import cause_of
from waypost.logs.requests import SLOW_LINES, SLOW_SECONDS, RequestLog, harmless
from waypost.stages import StageTimer
from waypost.worker.request import Answered, Request

MILLISECONDS = 1_000
NOT_ALONE = 10  # ids of a batch that a line names


class WorkerLines:
    """Safe for use by several threads. Times are monotonic seconds."""

    def __init__(self, log: RequestLog) -> None:
        self._log = log

    @harmless
    def answered(self, group: Sequence[Answered], stages: StageTimer, ended: float, now: float) -> None:
        """Their gateway has the replies since `now`; `stages` of all, from the pool to `ended`."""
        for one in group:
            if (why := self._why(one.request, now)) is not None:
                self._answered(one, stages, ended, now, why)

    def _why(self, request: Request, now: float) -> str | None:
        if now > request.expires:
            return "late"
        if request.in_queue + now - request.received > SLOW_SECONDS:
            return "slow" if self._log.has_room("slow", SLOW_LINES) else None
        return self._log.chooses(request.id, now)

    def _answered(self, one: Answered, stages: StageTimer, ended: float, now: float, why: str) -> None:
        request, answer = one.request, one.answer
        fields = {
            **self._facts(request, now),
            "source": answer.source,
            "items": len(answer.items),
            "batch": request.batch,
            "stages_ms": {name: _ms(spent) for name, spent in request.stages(stages, now - ended).items()},
            "why": why,
        }
        if answer.model_version is not None:
            fields["model_version"] = answer.model_version
        self._log.write(logging.WARNING if why == "late" else logging.INFO, "answered", fields)

    @harmless
    def expired(self, requests: Sequence[Request], now: float) -> None:
        """Dropped, for nobody waits for them any more, or would when they could be answered."""
        for request in requests:
            fields = {**self._facts(request, now), "cause": "too late to be answered in time", "why": "expired"}
            self._log.write(logging.WARNING, "expired", fields)

    @harmless
    def rejected(self, error: RejectedError) -> None:
        """A message that was not read: whoever can write to the queue can cause these, so they are bounded."""
        cause = type(error).__name__
        if self._log.has_room(cause):
            self._log.write(logging.WARNING, "rejected", {"cause": str(error), "reason": cause, "why": "rejected"})

    @harmless
    def failed(self, request: Request, error: Exception, now: float) -> None:
        """Its question, alone, can never be answered; the cause is a sentence of ours or the name of a class."""
        fields = {**self._facts(request, now), "cause": cause_of(error), "batch": request.batch, "why": "failed"}
        self._log.write(logging.ERROR, "failed", fields)

    @harmless
    def buried(self, reason: str, taken: bool, request: Request | None) -> None:
        """`taken`: by the dead-letter queue, which else may have been unreachable: then the message comes again."""
        fields = {"request_id": request.id if request else None, "cause": reason, "taken": taken, "why": "dead letter"}
        if request is not None or self._log.has_room("dead letter"):
            self._log.write(logging.ERROR, "dead letter", fields)

    def _facts(self, request: Request, now: float) -> dict[str, object]:
        return {
            "request_id": request.id,
            "user": self._log.pseudonym(request.message.question.user_id),
            "receive_count": request.delivery.receive_count,
            "milliseconds": _ms(request.in_queue + now - request.received),
            "given_ms": _ms(request.span),
            "remaining_ms": _ms(request.expires - now),
        }


def ids_of(requests: Sequence[Request]) -> dict[str, object]:
    """For a line about several: how many, and the first of them."""
    return {"requests": len(requests), "request_ids": [request.id for request in requests[:NOT_ALONE]]}


def _ms(seconds: float) -> float:
    return round(seconds * MILLISECONDS, 2)
