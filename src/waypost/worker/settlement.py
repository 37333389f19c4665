"""Settlement: how a request leaves this worker: answered, too late, given back, or as a dead letter. Each is counted.

What can never be answered goes to the dead-letter queue with its reason: at once where it is the message's own fault
(not signed by us, malformed), for no other try could end otherwise; after three receives where its question failed
here by an accident. Without a dead-letter queue to send to it is counted and deleted. The reason is a fixed sentence or
the name of an exception's class, so that no user id is ever in it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from waypost.clock import Clock
from waypost.errors import QueueUnavailable, RejectedError
from waypost.metrics import WorkerMetrics
from waypost.queueing.protocols import Delivery, OutgoingMessage, RequestQueue
from waypost.worker.deleter import Deleter
from waypost.worker.ledger import Ledger
from waypost.worker.request import Request, handles_of
from waypost.worker.request_lines import WorkerLines

MAX_RECEIVES = 3  # then the queue's own redrive policy gives a message to the dead letters, without a reason
AGAIN_SECONDS = 1  # before what was in vain more than once comes again: a hiccup must not use up its three receives
logger = logging.getLogger(__name__)


class Settlement:
    """Safe for use by several threads."""

    def __init__(
        self,
        queue: RequestQueue,
        dead_letters: RequestQueue | None,
        ledger: Ledger,
        deleter: Deleter,
        metrics: WorkerMetrics,
        clock: Clock,
        lines: WorkerLines,
    ) -> None:
        self._queue, self._dead_letters, self._ledger, self._lines = queue, dead_letters, ledger, lines
        self._deleter, self._metrics, self._clock = deleter, metrics, clock
        metrics.in_hand.set_function(lambda: len(ledger))
        self._changing_visibility = threading.Lock()  # what was given back must not be extended after that
        self._holds, self._held = False, list[Request]()

    def take_in(self, requests: Sequence[Request]) -> list[Request]:
        """Those that are neither answered nor in hand; the others are deleted, now or with the first of their kind."""
        fresh, done, repeated = self._ledger.take_in(requests, self._clock.monotonic())
        if repeated:
            new = set(map(id, fresh))
            self._count("duplicate", [request for request in requests if id(request) not in new])
            self._deleter.add(done)
        return fresh

    def answered(self, requests: Sequence[Request]) -> None:
        """Their gateway has the replies."""
        self._ledger.answered(requests, self._clock.monotonic())
        self._deleter.add(handles_of(requests))
        self._metrics.messages.labels("answered").inc(len(requests))

    def late(self, requests: Sequence[Request]) -> None:
        """Nobody waits for them any more, or will when they could be answered."""
        if requests:
            self._ledger.let_go(requests)
            self._deleter.add(handles_of(requests))
            self._count("expired", requests)
            self._metrics.rejected.labels("ExpiredMessage").inc(len(requests))
            self._lines.expired(requests, self._clock.monotonic())

    def refused(self, delivery: Delivery, error: RejectedError, in_queue: float) -> None:
        """A message that nobody can ever answer, received so many seconds after the queue had taken it."""
        self._metrics.left("rejected", [in_queue])
        self._metrics.rejected.labels(type(error).__name__).inc()
        self._lines.rejected(error)
        self._bury([delivery.receipt_handle], delivery, error)

    def failed(self, request: Request, error: Exception) -> None:
        """Its question, alone, could not be answered."""
        if not isinstance(error, RejectedError) and request.delivery.receive_count < MAX_RECEIVES:
            logger.error(
                "a message could not be answered, it goes back", exc_info=error, extra={"request_id": request.id}
            )
            self.give_back([request])
            return
        self._ledger.let_go([request])
        if isinstance(error, RejectedError):
            self._count("rejected", [request])
            self._metrics.rejected.labels(type(error).__name__).inc()
        else:
            self._count("failed", [request])
            logger.error("a message could not be answered", exc_info=error, extra={"request_id": request.id})
        self._lines.failed(request, error, self._clock.monotonic())
        self._bury(request.handles, request.delivery, error, request)

    def give_back(self, requests: Sequence[Request], after_seconds: int = 0) -> None:
        """To be answered by another pod, or by this one later; those that will be too late by then are dropped."""
        with self._changing_visibility:
            if self._holds:
                self._held.extend(requests)
                return
        back = self._clock.monotonic() + after_seconds
        self.late([request for request in requests if request.expires <= back])
        waited_for = [request for request in requests if request.expires > back]
        if waited_for:
            with self._changing_visibility:
                self._ledger.let_go(waited_for)
                self._count("released", [one for one in waited_for for _ in one.handles])
                self._change_visibility(handles_of(waited_for), after_seconds)

    def give_back_tried(self, requests: Sequence[Request]) -> None:
        """Triton did not answer: at once at first, for another pod's may; what that did not help comes back later."""
        self.give_back([request for request in requests if request.delivery.receive_count == 1])
        self.give_back([request for request in requests if request.delivery.receive_count > 1], AGAIN_SECONDS)

    def hold(self) -> None:
        """Give nothing back until `let_go`: as long as polls of ours are under way it would come to them again, one
        after another, and each time is one of its three receives. From a signal handler too."""
        self._holds = True

    def let_go(self) -> None:
        """No poll of ours is under way any more."""
        with self._changing_visibility:
            self._holds = False
            held, self._held = self._held, []
        self.give_back(held)

    def extend(self, received_before: float, seconds: int) -> None:
        """The visibility of what is in hand since before that monotonic time."""
        with self._changing_visibility:
            slow = self._ledger.waiting_since(received_before)
            if not slow:
                return
            now = self._clock.monotonic()
            for request in slow:
                request.extended = now
            self._metrics.extensions.inc(len(slow))
            self._change_visibility(handles_of(slow), seconds)

    def _bury(
        self, handles: Sequence[str], delivery: Delivery, error: Exception, request: Request | None = None
    ) -> None:
        if self._dead_letters is not None:
            reason = str(error) if isinstance(error, RejectedError) else type(error).__name__
            letter = OutgoingMessage(delivery.body, {**delivery.attributes, "reason": reason})
            try:
                refused = self._dead_letters.send([letter])
            except QueueUnavailable:
                refused = frozenset([0])
            self._lines.buried(reason, not refused, request)
            if refused:  # it comes again, and after its third receive the queue itself sets it aside
                self._metrics.unavailable.labels("dead_letters").inc()
                return
            self._metrics.dead_letters.inc()
        self._deleter.add(handles)

    def _count(self, outcome: str, requests: Sequence[Request]) -> None:
        """How old each was when it left unanswered."""
        now = self._clock.monotonic()
        self._metrics.left(outcome, [one.age(now) for one in requests], [one.id for one in requests])

    def _change_visibility(self, handles: Sequence[str], seconds: int) -> None:
        try:
            self._queue.release(handles, seconds)
        except QueueUnavailable:
            self._metrics.unavailable.labels("queue").inc()  # they come again after the visibility timeout
