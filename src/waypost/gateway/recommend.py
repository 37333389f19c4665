"""Recommender: one request's way: ask the queue, wait for the reply until just before the deadline, else be popular.

It knows neither HTTP nor SQS. Whatever goes wrong on the way, the caller gets an answer; only where no release was ever
published is there nothing to say.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from waypost.clock import Clock
from waypost.faults import Fault
from waypost.gateway.breaker import Breaker
from waypost.gateway.enqueue import Enqueuer
from waypost.gateway.follower import PopularFollower
from waypost.gateway.pending import Cause, Pending, Waiting
from waypost.gateway.reserve import Reserve
from waypost.key_types import KeyTypes
from waypost.logs import begin_request
from waypost.logs import request_id as current_request
from waypost.metrics import GatewayMetrics
from waypost.questions import Answer, AppKey, Question
from waypost.queueing.messages import RecommendMessage

BUSY_RETRY_SECONDS = 1  # a request takes a quarter of a second
UNPUBLISHED_RETRY_SECONDS = 30  # a first night takes minutes
logger = logging.getLogger(__name__)


class Refused(Exception):
    """429 or 503, and when to ask again: an answer, not an accident."""

    def __init__(self, status: int, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after_seconds = status, detail, retry_after_seconds


@dataclass(slots=True)
class Recommendation:
    request_id: str
    user_id: AppKey
    answer: Answer
    degraded: bool
    stages: dict[str, float] = field(default_factory=dict)  # seconds
    cause: Cause | None = None  # of its being degraded


class Recommender:
    def __init__(
        self,
        enqueuer: Enqueuer,
        pending: Pending,
        follower: PopularFollower,
        breaker: Breaker,
        reserve: Reserve,
        metrics: GatewayMetrics,
        clock: Clock,
        reply_to: str,
        concurrency: int,
        fault: Fault,
    ) -> None:
        self._enqueuer, self._pending, self._follower = enqueuer, pending, follower
        self._breaker, self._reserve = breaker, reserve
        self._metrics, self._clock, self._reply_to = metrics, clock, reply_to
        self._concurrency, self._fault = concurrency, fault
        self._in_flight = 0
        metrics.in_flight.set_function(lambda: self._in_flight)  # asked when scraped, not told at each request

    @property
    def ready(self) -> bool:
        return self._follower.state == "published"

    @property
    def knows_keys(self) -> bool:
        """Whether a release has said what the app's ids are."""
        return self._follower.popular is not None

    @property
    def key_types(self) -> KeyTypes:
        """What the app's ids are, by the release that this gateway follows."""
        return self._follower.key_types

    def require_room(self) -> None:
        """Raises Refused when this request cannot be taken."""
        if self._in_flight >= self._concurrency:
            raise Refused(429, f"{self._concurrency} requests are in flight already", BUSY_RETRY_SECONDS)
        if self._follower.state == "never":
            raise Refused(503, "no release was ever published; run `waypost night` first", UNPUBLISHED_RETRY_SECONDS)

    async def recommend(self, question: Question, arrived: float, deadline_seconds: float) -> Recommendation:
        """The model's answer, or the popular one in time. `arrived`: monotonic seconds. Raises Refused."""
        self._in_flight += 1
        try:
            return await self._recommend(question, arrived, deadline_seconds)
        finally:
            self._in_flight -= 1

    async def pause(self, stage: str, model_version: int | None) -> None:
        """The fault on purpose, if this stage has one."""
        if seconds := self._fault.delay(stage, model_version):
            await asyncio.sleep(seconds)

    async def _recommend(self, question: Question, arrived: float, deadline_seconds: float) -> Recommendation:
        request_id = current_request() or begin_request()
        due = arrived + deadline_seconds - self._reserve.seconds(deadline_seconds)  # then the wait ends
        await self.pause("validate", self._follower.model_version)
        asked = self._clock.monotonic()
        waiting = self._pending.open(request_id, question.user_id)
        outcome = await self._ask(request_id, question, waiting, due)
        answered = self._clock.monotonic()
        sent = min(answered if waiting.sent is None else waiting.sent, answered)
        stages = {"validate": asked - arrived, "enqueue": sent - asked, "wait": answered - sent}
        if isinstance(outcome, Answer):
            return Recommendation(request_id, question.user_id, outcome, False, stages)
        self._metrics.degraded.labels(outcome).inc()
        popular = self._popular(question)
        if outcome == "timeout":
            self._reserve.was_late(self._clock.monotonic() - due)
        return Recommendation(request_id, question.user_id, popular, True, stages, outcome)

    async def _ask(self, request_id: str, question: Question, waiting: Waiting, due: float) -> Answer | Cause:
        """What came of it until `due`, monotonic seconds; never raises."""
        try:
            await self.pause("enqueue", self._follower.model_version)
            remaining = due - self._clock.monotonic()
            if not self._breaker.admits(self._clock.monotonic(), remaining):
                self._pending.fail(request_id, "breaker")
            elif remaining > 0:
                now = self._clock.now()
                message = RecommendMessage(question, request_id, now, now + remaining, self._reply_to)
                self._enqueuer.submit(message, waiting)
            outcome = await self._pending.wait(request_id, waiting, remaining)
            if isinstance(outcome, Answer):
                await self.pause("wait", outcome.model_version)
        except Exception:
            logger.exception("a request was not asked, its answer is degraded")
            self._pending.fail(request_id, "error")
            return "error"
        return outcome

    def _popular(self, question: Question) -> Answer:
        popular = self._follower.popular
        if popular is None:
            raise Refused(503, "neither the model nor a popularity list can answer yet", BUSY_RETRY_SECONDS)
        return Answer(None, "popular", popular.items(question))
