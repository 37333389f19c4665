"""The request loop: receive, decode and verify, drop what is too late, answer, reply, delete; in this order only.

Receivers (`intake.py`) verify and read what they get and put it into the pool. Two threads answer: each takes all that
waits and asks the model by one call; while one call is under way the next waits until it is full. What is too late is
dropped when it is taken and looked at again right before the call. Finishers (`finish.py`) reply and then have it
deleted. Delete comes last: whatever dies on the way, the message comes again. Stop is one method; long polls under way
end, what they bring is answered, and what was not begun by then goes back on the queue."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from waypost.clock import Clock, SystemClock
from waypost.errors import TritonUnavailable
from waypost.faults import NO_FAULT, Fault
from waypost.logs.requests import RequestLog, silent
from waypost.metrics import WorkerMetrics
from waypost.queueing.protocols import RequestQueue
from waypost.queueing.replies import ReplySender
from waypost.queueing.signing import Keyring
from waypost.stages import StageTimer
from waypost.worker.answerer import Answerer, Answerers
from waypost.worker.batch_size import BatchSize
from waypost.worker.deleter import LINGER_SECONDS, Deleter
from waypost.worker.finish import Finishers
from waypost.worker.heartbeat import LOOK_SECONDS, Heartbeat
from waypost.worker.intake import Intake
from waypost.worker.lane import Lane
from waypost.worker.ledger import Ledger
from waypost.worker.pool import Pool
from waypost.worker.request import Answered, Request
from waypost.worker.request_lines import WorkerLines, ids_of
from waypost.worker.settlement import Settlement
from waypost.worker.throttle import Throttle

LONG_POLL_SECONDS = 2  # SQS allows 20; a stop waits for the polls under way, and a pause begins after them
VISIBILITY_SECONDS = 30  # SQS' default, and what the embedded queue has
TRITON_DOWN_SECONDS = 1  # before the next batch is tried
LOOK_AGAIN_SECONDS = 0.02  # while the throttle is shut, before the pool is searched for what became too late
LAST_SECONDS = 0.25  # after the last receive, for what it brought: a call of the model or two
NEWS_SHARE = 0.2  # of the latest call in what an answer is believed to take
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopLimits:
    """What one worker takes on."""

    batch: int = 64  # requests in one call of the model
    receivers: int = 6  # of 2 and 6 the whole path was faster with 6, at rest and at saturation (docs/decisions.md)
    answering_threads: int = 2  # calls of the model at a time
    max_requests_per_second: float | None = None
    visibility_seconds: int = VISIBILITY_SECONDS  # the queue's visibility timeout
    long_poll_seconds: float = LONG_POLL_SECONDS
    linger_seconds: float = LINGER_SECONDS
    heartbeat_seconds: float = LOOK_SECONDS


class WorkerLoop:
    def __init__(
        self,
        queue: RequestQueue,
        keyring: Keyring,
        answerers: Answerers,
        replies: ReplySender,
        metrics: WorkerMetrics,
        *,
        ready: Callable[[], bool],
        limits: LoopLimits,
        dead_letters: RequestQueue | None = None,
        fault: Fault = NO_FAULT,
        clock: Clock | None = None,
        log: RequestLog | None = None,
    ) -> None:
        self._answerers, self._metrics, self._fault = answerers, metrics, fault
        self._batch = BatchSize(limits.batch)
        self._clock = clock or SystemClock()
        self._pool = Pool(limits.batch)
        self._throttle = Throttle(limits.max_requests_per_second, self._clock)
        self._deleter = Deleter(queue, metrics, limits.linger_seconds)
        lines = WorkerLines(log or silent())
        self._settlement = Settlement(queue, dead_letters, Ledger(), self._deleter, metrics, self._clock, lines)
        self._intake = Intake(
            queue, keyring, self._pool, self._settlement, metrics, self._clock,
            ready=ready, receivers=limits.receivers, long_poll_seconds=limits.long_poll_seconds,
        )  # fmt: skip
        self._finishers = Finishers(replies, self._settlement, metrics, self._clock, lines)
        self._heartbeat = Heartbeat(self._settlement, limits.visibility_seconds, self._clock, limits.heartbeat_seconds)
        self._trial = Lane("trial")
        self._answering = [
            threading.Thread(target=self._run, name=f"answering-{i}") for i in range(limits.answering_threads)
        ]
        self._needed = 0.0  # seconds from the call of the model to the delivered reply, of late

    def run(self) -> None:
        """Serve until `stop`; returns once everything in hand is answered or back on the queue."""
        self._deleter.start()
        self._heartbeat.start()
        self._intake.start()
        for thread in self._answering:
            thread.start()
        try:
            self._pool.wait_until_closed()
        finally:
            self.stop()
            self._intake.join()
            self._settlement.let_go()
            self._pool.wait_until_empty(LAST_SECONDS)
            self._pool.end()
            self._settlement.give_back(self._pool.leftovers())
            for thread in self._answering:
                thread.join()
            self._trial.close()
            self._finishers.close()
            self._heartbeat.stop()
            self._deleter.close()

    def stop(self) -> None:
        """From any thread or signal handler, any number of times."""
        if not self._pool.closed:
            self._settlement.hold()
            self._pool.close()

    @property
    def alive(self) -> bool:
        """No receiver or answering thread died; a process in which one did must be replaced."""
        begun = [thread for thread in self._answering if thread.ident is not None]
        return self._pool.closed or (self._intake.alive and all(thread.is_alive() for thread in begun))

    def _run(self) -> None:
        """One answering thread."""
        while self._pool.wait(self._batch.requests):
            free = self._throttle.take(self._batch.requests, LOOK_AGAIN_SECONDS)
            requests, late = self._pool.take(free, self._clock.monotonic(), self._needed)
            self._throttle.give_back(free - len(requests))
            self._settlement.late(late)
            if requests:
                self._process(requests)
                self._pool.answered()

    def _process(self, requests: Sequence[Request]) -> None:
        """One batch, up to its replies; never raises."""
        try:
            now = self._clock.monotonic()
            for request in requests:
                request.begun = now
            for answerer, part in self._answerers.share_out([one.id for one in requests], self._trial.free):
                self._hand_over(answerer, [requests[position] for position in part])
        except Exception:
            logger.exception("a batch was not answered, its messages go back", extra=ids_of(requests))
            self._settlement.give_back(requests)

    def _hand_over(self, answerer: Answerer, requests: Sequence[Request]) -> None:
        """A release on trial answers in a thread of its own, or not at all."""
        if answerer.instead is None:
            self._process_part(answerer, requests)
        elif not self._trial.offer(partial(self._process_part, answerer, requests)):
            self._process_part(answerer.instead, requests)

    def _process_part(self, answerer: Answerer, requests: Sequence[Request]) -> None:
        """What one release answers of a batch."""
        stages = StageTimer(answerer.model_version, self._fault, self._clock)
        with stages.time("queue_wait"):
            pass  # a fault on purpose, where there is one
        with stages.time("decode"):
            in_time = self._drop_late(requests)
        if not in_time:
            return
        started = self._clock.monotonic()
        stages.add("decode", started - in_time[0].begun - stages.seconds["queue_wait"] - stages.seconds["decode"])
        try:
            answered = self._answer(answerer, in_time, stages)
        except TritonUnavailable as error:
            self._back_off(in_time, error)
            return
        self._learn(in_time, self._clock.monotonic() - started)
        self._finishers.finish(answered, stages)

    def _learn(self, requests: Sequence[Request], seconds: float) -> None:
        """What answers take, for those to come."""
        self._batch.called(len(requests), seconds, sum(request.span for request in requests) / len(requests))
        self._needed += NEWS_SHARE * (seconds + self._finishers.reply_seconds - self._needed)

    def _drop_late(self, requests: Sequence[Request]) -> list[Request]:
        now = self._clock.monotonic()
        in_time: list[Request] = []
        late: list[Request] = []
        for request in requests:
            (late if request.is_late(now, self._needed) else in_time).append(request)
        self._settlement.late(late)
        return in_time

    def _back_off(self, requests: Sequence[Request], error: TritonUnavailable) -> None:
        """They go back, and with them what waits: another pod's Triton may answer them."""
        self._answerers.unanswered()
        self._metrics.unavailable.labels("triton").inc()
        logger.warning("triton is unavailable, messages go back", extra={"cause": str(error), **ids_of(requests)})
        self._settlement.give_back_tried(requests)
        self._settlement.give_back(self._pool.leftovers())
        self._pool.pause(TRITON_DOWN_SECONDS)

    def _answer(self, answerer: Answerer, requests: Sequence[Request], stages: StageTimer) -> list[Answered]:
        """One call for all; where that fails for good, one call for each, so that one bad question spoils no other."""
        try:
            return self._answer_together(answerer, requests, stages)
        except TritonUnavailable:
            raise
        except Exception as error:
            if len(requests) == 1:
                self._settlement.failed(requests[0], error)
                return []
        return [answered for one in requests for answered in self._answer(answerer, [one], stages)]

    def _answer_together(self, answerer: Answerer, requests: Sequence[Request], stages: StageTimer) -> list[Answered]:
        self._metrics.batch.observe(len(requests))
        for one in requests:
            one.batch = len(requests)
        patience = min(request.expires for request in requests) - self._clock.monotonic()
        answers = answerer.answer([one.message.question for one in requests], stages, patience)
        return [Answered(one, answer) for one, answer in zip(requests, answers, strict=True)]
