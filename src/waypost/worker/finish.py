"""Finishers: reply, then delete, then count; a thread for each gateway's part of a batch.

A gateway that is gone holds up nobody else: after a reply that failed slowly, nobody asks it again for a moment."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from waypost.clock import Clock
from waypost.errors import GatewayUnavailable, RejectedError
from waypost.metrics import Delivered, WorkerMetrics
from waypost.queueing.replies import ReplySender
from waypost.stages import StageTimer
from waypost.worker.request import Answered
from waypost.worker.request_lines import WorkerLines, ids_of
from waypost.worker.settlement import Settlement
from waypost.worker.shown import ShownPosts

FINISHERS = 8  # replies on their way at once
GATEWAY_GONE_SECONDS = 1  # before its messages come again: by then most are late and dropped, as they should be
SLOW_FAILURE_SECONDS = 0.25  # a failure at once costs nobody anything and may be a single reset connection
MAX_GATEWAYS_GONE = 1_024  # reply addresses remembered
logger = logging.getLogger(__name__)


class Finishers:
    def __init__(
        self,
        replies: ReplySender,
        settlement: Settlement,
        metrics: WorkerMetrics,
        clock: Clock,
        lines: WorkerLines,
    ) -> None:
        self._replies, self._settlement, self._metrics, self._clock = replies, settlement, metrics, clock
        self._lines = lines
        self._threads = ThreadPoolExecutor(FINISHERS, thread_name_prefix="finisher")
        self._free = threading.BoundedSemaphore(FINISHERS)
        self._gone: dict[str, float] = {}  # reply address -> when it may be asked again
        self.reply_seconds = 0.0  # what the last one took
        self._shown = ShownPosts()
        metrics.shown_posts.set_function(self._shown.count)

    def finish(self, answered: Sequence[Answered], stages: StageTimer) -> None:
        """Begin to; waits while all finishers are at work."""
        ended = self._clock.monotonic()
        by_gateway: defaultdict[str, list[Answered]] = defaultdict(list)
        for one in answered:
            by_gateway[one.request.message.reply_to].append(one)
        for reply_to, group in by_gateway.items():
            self._free.acquire()
            part = stages.apart(stages.model_version)
            part.absorb(stages)
            self._threads.submit(self._finish, reply_to, group, part, ended)

    def close(self) -> None:
        """Returns once all that was begun is done."""
        self._threads.shutdown()

    def _finish(self, reply_to: str, group: list[Answered], stages: StageTimer, ended: float) -> None:
        try:
            if self._reply(reply_to, group, stages):
                now = self._clock.monotonic()
                self._settlement.answered([one.request for one in group])
                self._count(group, stages, ended, now)
                self._lines.answered(group, stages, ended, now)
        except Exception:
            unfinished = [one.request for one in group]
            logger.exception("a batch was not finished, its messages come again", extra=ids_of(unfinished))
            self._settlement.give_back(unfinished)
        finally:
            self._free.release()

    def _reply(self, reply_to: str, group: list[Answered], stages: StageTimer) -> bool:
        """Whether the gateway has them; else they are given back or dead letters."""
        started = self._clock.monotonic()
        try:
            if self._gone.get(reply_to, started) > started:
                raise GatewayUnavailable("a gateway was unavailable a moment ago")
            stages.lose("reply")
            self._replies.send(reply_to, [one.reply for one in group])
        except GatewayUnavailable as error:
            self._note_gone(reply_to, error, self._clock.monotonic() - started)
            self._settlement.give_back([one.request for one in group], GATEWAY_GONE_SECONDS)
            return False
        except RejectedError as error:
            for one in group:
                self._settlement.failed(one.request, error)
            return False
        self.reply_seconds = self._clock.monotonic() - started
        return True

    def _note_gone(self, reply_to: str, error: GatewayUnavailable, took: float) -> None:
        self._metrics.unavailable.labels("gateway").inc()
        now = self._clock.monotonic()
        if self._gone.get(reply_to, now) > now:
            return
        logger.warning("a gateway is unavailable, messages go back", extra={"cause": str(error)})
        if took >= SLOW_FAILURE_SECONDS:
            if len(self._gone) >= MAX_GATEWAYS_GONE:
                self._gone.clear()
            self._gone[reply_to] = now + GATEWAY_GONE_SECONDS

    def _count(self, group: Sequence[Answered], stages: StageTimer, ended: float, now: float) -> None:
        """Every second from the queue's taking a request to its delivered reply belongs to one stage."""
        shared = {**stages.seconds, "reply": now - ended}
        lost, before_answer = shared.pop("queue_wait", 0.0), shared.pop("decode", 0.0)
        for source in {one.answer.source for one in group}:
            requests = [one.request for one in group if one.answer.source == source]
            delivered = Delivered(
                source,
                request_ids=[request.message.request_id for request in requests],
                queue_wait=[request.waited + lost for request in requests],
                decode=[request.ready - request.received + before_answer for request in requests],
                whole=[request.in_queue + now - request.received for request in requests],
            )
            self._metrics.answered(group[0].answer.model_version, shared, delivered)
        if self._metrics.observed:
            self._shown.show([one.answer for one in group])
