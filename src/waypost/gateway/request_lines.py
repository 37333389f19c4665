"""A gateway's line about a request: what was answered and why, who asked (by pseudonym), and where the time went.

Nothing of what a caller sent stands in it but numbers within limits: no id, tag, query, address or header. A line that
cannot be made is a line that says so, and never the caller's error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import orjson

from waypost.gateway.recommend import Recommendation
from waypost.http_models import RecommendRequest, Tags
from waypost.logs import request_id
from waypost.logs.requests import SLOW_LINES, SLOW_SECONDS, RequestLog, harmless

MILLISECONDS = 1_000
MAX_PROBLEMS = 5  # of a 422, which may have more of them than anybody reads
_FIELDS = frozenset(RecommendRequest.model_fields) | frozenset(Tags.model_fields)


class GatewayLines:
    """On the event loop."""

    def __init__(self, log: RequestLog) -> None:
        self._log = log

    @harmless
    def answered(self, found: Recommendation, tenant: str, seconds: float, given: float, now: float) -> None:
        """`seconds` it took of the `given`; `now`: monotonic."""
        late = seconds > given
        if found.degraded or late:
            self._answered(found, tenant, seconds, given, "late" if late else "degraded")
        elif seconds > SLOW_SECONDS:
            if self._log.has_room("slow", SLOW_LINES):
                self._answered(found, tenant, seconds, given, "slow")
        elif (chosen := self._log.chooses(found.request_id, now)) is not None:
            self._answered(found, tenant, seconds, given, chosen)

    def _answered(self, found: Recommendation, tenant: str, seconds: float, given: float, why: str) -> None:
        answer = found.answer
        fields: dict[str, object] = {
            "request_id": found.request_id,
            "user": self._log.pseudonym(found.user_id),
            "tenant": tenant,
            "status": 200,
            "source": answer.source,
            "degraded": found.degraded,
            "cause": found.cause,
            "items": len(answer.items),
            "milliseconds": round(seconds * MILLISECONDS, 1),
            "given_ms": round(given * MILLISECONDS, 1),
            "remaining_ms": round((given - seconds) * MILLISECONDS, 1),
            "stages_ms": {stage: round(spent * MILLISECONDS, 2) for stage, spent in found.stages.items()},
            "why": why,
        }
        if answer.model_version is not None:
            fields["model_version"] = answer.model_version
        self._log.write(logging.WARNING if found.degraded or why == "late" else logging.INFO, "answered", fields)

    @harmless
    def refused(self, status: int, cause: str, tenant: str | None) -> None:
        """`cause`: a sentence of ours. Those that anybody can cause, or a quota, are bounded; a 503 is not."""
        fields = {"request_id": request_id(), "tenant": tenant, "status": status, "cause": cause, "why": "refused"}
        if status >= 500:
            self._log.write(logging.ERROR, "refused", fields)
        elif self._log.has_room(f"{status} {tenant}" if tenant else str(status)):
            self._log.write(logging.WARNING, "refused", fields)

    @harmless
    def invalid(self, body: bytes, tenant: str) -> None:
        """A 422 with that body: which fields of ours, and what is wrong; a name of the caller's own is left out."""
        problems = [_problem(one) for one in orjson.loads(body)["detail"][:MAX_PROBLEMS]]
        fields = {
            "request_id": request_id(),
            "tenant": tenant,
            "status": 422,
            "cause": "the request is not valid",
            "problems": problems,
            "why": "refused",
        }
        self._log.write(logging.WARNING, "refused", fields)

    @harmless
    def cut(self, status: int) -> None:
        """A connection was answered by that status and closed before there was a whole request."""
        if self._log.has_room(f"cut {status}"):
            self._log.write(logging.WARNING, "connection cut", {"status": status})


def _problem(told: Mapping[str, object]) -> dict[str, object]:
    place = told["loc"]
    named = [part for part in place if part in _FIELDS] if isinstance(place, list) else []
    return {"field": ".".join(map(str, named)) or None, "type": told["type"]}
