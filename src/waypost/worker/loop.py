"""The request loop: receive, decode and verify, drop what is too late, answer, reply, delete; in this order only.

Receivers long-poll in threads of their own and hand over to one processing loop, which answers all it has by one
call. Finishers reply and then delete, so that a gateway that is gone holds nobody up. Delete comes last: whatever
dies on the way, the message comes again, and a second reply is dropped by its gateway. Stop is one method; what was
received and not begun goes back on the queue at once.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from waypost.clock import Clock, SystemClock
from waypost.errors import (
    ExpiredMessage,
    GatewayUnavailable,
    QueueUnavailable,
    RejectedError,
    TritonUnavailable,
)
from waypost.faults import NO_FAULT, Fault
from waypost.metrics import WorkerMetrics
from waypost.questions import Answer
from waypost.queueing.messages import RecommendMessage, decode
from waypost.queueing.protocols import MAX_BATCH, Delivery, RequestQueue
from waypost.queueing.replies import Reply, ReplySender
from waypost.queueing.signing import Keyring
from waypost.stages import StageTimer
from waypost.worker.answerer import Answerer, Answerers
from waypost.worker.handoff import Handoff, Received

LONG_POLL_SECONDS = 2  # SQS allows 20; a stop waits for the polls under way, and a pause begins after them
NOT_READY_SECONDS = 0.05  # how soon a release that was just loaded gets its first request
QUEUE_DOWN_SECONDS = 1.0  # between two looks at a queue that is down
# Until a message that Triton could not answer comes back, and before the next batch: a hiccup must not use up the three
# receives after which SQS gives a message to the dead-letter queue.
TRITON_DOWN_SECONDS = 1
GATEWAY_GONE_SECONDS = 1  # before its messages come again: by then most are late and dropped, as they should be
FINISHERS = 4  # batches whose replies are on their way at once
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A verified message whose caller still waits."""

    delivery: Delivery
    message: RecommendMessage
    queue_wait: float  # seconds


@dataclass(frozen=True, slots=True)
class Answered:
    accepted: Accepted
    answer: Answer


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
        batch: int,
        receivers: int,
        fault: Fault = NO_FAULT,
        clock: Clock | None = None,
        long_poll_seconds: float = LONG_POLL_SECONDS,
    ) -> None:
        self._queue, self._keyring, self._answerers, self._replies = queue, keyring, answerers, replies
        self._metrics, self._ready, self._batch, self._fault = metrics, ready, batch, fault
        self._clock, self._long_poll_seconds = clock or SystemClock(), long_poll_seconds
        self._handoff = Handoff(batch)
        self._finishers = ThreadPoolExecutor(FINISHERS, thread_name_prefix="finisher")
        self._free_finishers = threading.BoundedSemaphore(FINISHERS)
        self._receivers = [threading.Thread(target=self._receive, name=f"receiver-{i}") for i in range(receivers)]
        self._queue_was_down = False

    def run(self) -> None:
        """Serve until `stop`; returns once everything in hand is answered or back on the queue."""
        for receiver in self._receivers:
            receiver.start()
        try:
            while taken := self._handoff.take(self._batch):
                self._process(taken)
        finally:
            self.stop()
            self._finishers.shutdown()
            self._give_back([received.delivery for received in self._handoff.leftovers()])
            for receiver in self._receivers:
                receiver.join()

    def stop(self) -> None:
        """From any thread or signal handler, any number of times."""
        self._handoff.close()

    @property
    def alive(self) -> bool:
        """No receiver died; a process in which one did must be replaced."""
        begun = [receiver for receiver in self._receivers if receiver.ident is not None]
        return self._handoff.closed or all(receiver.is_alive() for receiver in begun)

    def _receive(self) -> None:
        """One receiver."""
        while not self._handoff.closed:
            if not self._ready():
                self._handoff.pause(NOT_READY_SECONDS)
                continue
            try:
                deliveries = self._queue.receive(MAX_BATCH, self._long_poll_seconds)
                self._queue_was_down = False
            except QueueUnavailable as error:
                self._note_queue_down(error)
                continue
            received = [Received(delivery, self._clock.now()) for delivery in deliveries]
            if received and not self._handoff.put(received):
                self._give_back(deliveries)

    def _process(self, received: Sequence[Received]) -> None:
        """One batch, up to its replies; never raises."""
        started = self._clock.monotonic()
        accepted = self._accept(received)
        decoded = self._clock.monotonic() - started
        if not accepted:
            return
        for answerer, part in self._answerers.share_out([one.message.request_id for one in accepted]):
            stages = StageTimer(answerer.model_version, self._fault, self._clock)
            with stages.time("decode"):
                pass  # a fault on purpose, where there is one
            stages.add("decode", decoded)
            self._process_part(answerer, [accepted[position] for position in part], stages)

    def _process_part(self, answerer: Answerer, accepted: Sequence[Accepted], stages: StageTimer) -> None:
        """What one release answers of a batch."""
        try:
            answered = self._answer(answerer, accepted, stages)
        except TritonUnavailable as error:
            self._answerers.unanswered()
            self._metrics.unavailable.labels("triton").inc()
            logger.warning("triton is unavailable, messages go back", extra={"cause": str(error)})
            waiting = [received.delivery for received in self._handoff.leftovers()]  # another pod may answer these
            self._give_back([*(one.delivery for one in accepted), *waiting], TRITON_DOWN_SECONDS)
            self._handoff.pause(TRITON_DOWN_SECONDS)
            return
        self._free_finishers.acquire()
        self._finishers.submit(self._finish, answered, stages)

    def _accept(self, received: Sequence[Received]) -> list[Accepted]:
        """The verified messages whose callers still wait; the others are counted and deleted."""
        accepted: list[Accepted] = []
        dropped: list[str] = []
        for one in received:
            try:
                accepted.append(self._read(one))
            except RejectedError as error:
                self._count_rejected(error)
                dropped.append(one.delivery.receipt_handle)
        self._delete(dropped)
        return accepted

    def _read(self, received: Received) -> Accepted:
        """Raises BadSignature, MalformedMessage or ExpiredMessage."""
        delivery = received.delivery
        self._keyring.verify(delivery.body, delivery.attributes.get("key_id"), delivery.attributes.get("signature"))
        message = decode(delivery.body)
        if message.deadline <= self._clock.now():
            raise ExpiredMessage("nobody waits for this answer any more")
        return Accepted(delivery, message, max(0.0, received.at - delivery.sent_at))

    def _answer(self, answerer: Answerer, accepted: Sequence[Accepted], stages: StageTimer) -> list[Answered]:
        """One call for all; where that fails for good, one call for each, so that one bad question spoils no other."""
        try:
            return self._answer_together(answerer, accepted, stages)
        except TritonUnavailable:
            raise
        except Exception as error:
            if len(accepted) == 1:
                self._drop(accepted[0], error)
                return []
        return [answered for one in accepted for answered in self._answer(answerer, [one], stages)]

    def _answer_together(self, answerer: Answerer, accepted: Sequence[Accepted], stages: StageTimer) -> list[Answered]:
        self._metrics.batch.observe(len(accepted))
        answers = answerer.answer([one.message.question for one in accepted], stages)
        return [Answered(one, answer) for one, answer in zip(accepted, answers, strict=True)]

    def _finish(self, answered: Sequence[Answered], stages: StageTimer) -> None:
        """Reply, then delete, then count; in a finisher's thread."""
        try:
            with stages.time("reply"):
                delivered = self._reply(answered)
            self._delete([one.accepted.delivery.receipt_handle for one in delivered])
            self._count_answered(delivered, stages)
        except Exception:
            logger.exception("a batch was not finished, its messages come again")
        finally:
            self._free_finishers.release()

    def _reply(self, answered: Sequence[Answered]) -> list[Answered]:
        """One body for each gateway; those whose gateway took them. The others go back on the queue."""
        by_gateway: defaultdict[str, list[Answered]] = defaultdict(list)
        for one in answered:
            by_gateway[one.accepted.message.reply_to].append(one)
        return [one for reply_to, group in by_gateway.items() for one in self._reply_to(reply_to, group)]

    def _reply_to(self, reply_to: str, group: list[Answered]) -> list[Answered]:
        try:
            self._replies.send(reply_to, [_reply_of(one) for one in group])
        except GatewayUnavailable as error:
            self._metrics.unavailable.labels("gateway").inc()
            logger.warning("a gateway is unavailable, messages go back", extra={"cause": str(error)})
            self._give_back([one.accepted.delivery for one in group], GATEWAY_GONE_SECONDS)
            return []
        except RejectedError as error:
            for one in group:
                self._drop(one.accepted, error)
            return []
        return group

    def _drop(self, accepted: Accepted, error: Exception) -> None:
        """A message that can never be answered: counted and deleted; its gateway answers degraded."""
        if isinstance(error, RejectedError):
            self._count_rejected(error)
        else:
            self._metrics.messages.labels("failed").inc()
            logger.error("a message could not be answered", exc_info=error)
        self._delete([accepted.delivery.receipt_handle])

    def _give_back(self, deliveries: Sequence[Delivery], after_seconds: int = 0) -> None:
        if not deliveries:
            return
        self._metrics.messages.labels("released").inc(len(deliveries))
        try:
            self._queue.release([delivery.receipt_handle for delivery in deliveries], after_seconds)
        except QueueUnavailable:
            self._metrics.unavailable.labels(
                "queue"
            ).inc()  # they come back by themselves, after the visibility timeout

    def _delete(self, receipt_handles: Sequence[str]) -> None:
        if not receipt_handles:
            return
        try:
            self._queue.delete(receipt_handles)
        except QueueUnavailable:
            self._metrics.unavailable.labels("queue").inc()  # they come again, too late to be answered again

    def _count_rejected(self, error: RejectedError) -> None:
        expired = isinstance(error, ExpiredMessage)
        self._metrics.messages.labels("expired" if expired else "rejected").inc()
        self._metrics.rejected.labels(type(error).__name__).inc()
        if not expired:
            logger.warning("a message was dropped", extra={"cause": str(error)})

    def _count_answered(self, answered: Sequence[Answered], stages: StageTimer) -> None:
        for one in answered:
            self._metrics.answers.labels(one.answer.source).inc()
            seconds = {"queue_wait": one.accepted.queue_wait, **stages.seconds}
            self._metrics.answered(one.answer.model_version, seconds)
        self._metrics.messages.labels("answered").inc(len(answered))

    def _note_queue_down(self, error: QueueUnavailable) -> None:
        """Once for each time it goes down, not once for each look."""
        self._metrics.unavailable.labels("queue").inc()
        if not self._queue_was_down:
            self._queue_was_down = True
            logger.warning("the request queue is unavailable", extra={"cause": str(error)})
        self._handoff.pause(QUEUE_DOWN_SECONDS)


def _reply_of(answered: Answered) -> Reply:
    message = answered.accepted.message
    return Reply(message.request_id, message.question.user_id, answered.answer)
