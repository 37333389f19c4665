"""Bugs of a gateway."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.chaos.planted.planting import plant
from waypost.errors import QueueUnavailable
from waypost.gateway import run
from waypost.gateway.pending import Pending
from waypost.gateway.popular import PopularList
from waypost.gateway.recommend import Recommendation, Recommender
from waypost.questions import Answer, Question
from waypost.queueing.replies import Reply
from waypost.queueing.sqs import SqsQueue

MORE_SECONDS = 0.4
TRIES = 6
DEFAULT_K = 20


def user_id_as_label() -> None:
    recommend = Recommender.recommend

    async def counting(self: Recommender, question: Question, *arguments: Any) -> Recommendation:
        self._metrics.replies.labels(str(question.user_id)).inc()
        return await recommend(self, question, *arguments)

    plant(Recommender, "recommend", counting)


def second_reply_accepted() -> None:
    """A reply that nobody waits for counts as used."""
    resolve = Pending.resolve

    def always(self: Pending, reply: Reply) -> bool:
        resolve(self, reply)
        return True

    plant(Pending, "resolve", always)


def wrong_users_reply_accepted() -> None:
    resolve = Pending.resolve

    def trusting(self: Pending, reply: Reply) -> bool:
        waiting = self._waiting.get(reply.request_id)
        return resolve(self, reply if waiting is None else replace(reply, user_id=waiting.user_id))

    plant(Pending, "resolve", trusting)


def waits_past_the_deadline() -> None:
    wait = Pending.wait

    async def patient(self: Pending, request_id: str, waiting: Any, seconds: float) -> Any:
        return await wait(self, request_id, waiting, seconds + MORE_SECONDS)

    plant(Pending, "wait", patient)


def k_ignored_when_degraded() -> None:
    items = PopularList.items
    plant(PopularList, "items", lambda self, question: items(self, replace(question, k=DEFAULT_K)))


def error_when_degraded() -> None:
    """Where the model does not answer, nobody does."""

    def nothing(self: Recommender, question: Question) -> Answer:
        raise RuntimeError("no answer")

    plant(Recommender, "_popular", nothing)


def degraded_not_marked() -> None:
    recommend = Recommender.recommend

    async def silent(self: Recommender, question: Question, *arguments: Any) -> Recommendation:
        found = await recommend(self, question, *arguments)
        return replace(found, degraded=False)

    plant(Recommender, "recommend", silent)


def retries_without_budget() -> None:
    send = SqsQueue.send

    def stubborn(*arguments: Any, **named: Any) -> frozenset[int]:
        for _ in range(TRIES - 1):
            try:
                return send(*arguments, **named)
            except QueueUnavailable:
                continue
        return send(*arguments, **named)

    plant(SqsQueue, "send", stubborn)


def dropped_on_sigterm() -> None:
    """It ends at once, whatever is in flight."""
    serve = run.serve

    async def careless(*arguments: Any) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
        await serve(*arguments)

    plant(run, "serve", careless)


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__: bug
    for bug in (
        user_id_as_label, second_reply_accepted, wrong_users_reply_accepted, waits_past_the_deadline,
        k_ignored_when_degraded, error_when_degraded, degraded_not_marked, retries_without_budget, dropped_on_sigterm,
    )
}  # fmt: skip
