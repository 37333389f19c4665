"""Intake: receivers long-poll the queue, verify and read what comes and put it into the pool, each in its own thread.

So the next messages are read while Triton infers. All of them wait for a message that comes alone; under load those
that brought little rest for a moment, since few full receives cost less than many small ones. A long poll cannot be
taken back: what it brings while the worker stops is answered like the rest, for given back it would come to the next
of our own polls, and after three of them be a dead letter that nobody had looked at."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from waypost.clock import Clock
from waypost.errors import MalformedMessage, QueueUnavailable, RejectedError
from waypost.metrics import WorkerMetrics
from waypost.queueing.messages import decode
from waypost.queueing.protocols import MAX_BATCH, Delivery, RequestQueue
from waypost.queueing.signing import Keyring
from waypost.worker.lateness import Lateness, span
from waypost.worker.pool import Pool
from waypost.worker.request import Request
from waypost.worker.settlement import Settlement

NOT_READY_SECONDS = 0.05  # how soon a release that was just loaded gets its first request
QUEUE_DOWN_SECONDS = 1.0  # between two looks at a queue that is down
REST_SECONDS = 0.02  # of all receivers but one, after a receive that was not full; the longest wait it adds
FULL_POOL_SECONDS = 0.05  # then a receiver looks all the same whether what stands in the queue is stale
STALE_SECONDS = 0.05  # in the queue: another pod with time for it would have taken it
logger = logging.getLogger(__name__)


class Intake:
    def __init__(
        self,
        queue: RequestQueue,
        keyring: Keyring,
        pool: Pool,
        settlement: Settlement,
        metrics: WorkerMetrics,
        clock: Clock,
        *,
        ready: Callable[[], bool],
        receivers: int,
        long_poll_seconds: float,
    ) -> None:
        self._queue, self._keyring, self._pool, self._settlement = queue, keyring, pool, settlement
        self._metrics, self._clock, self._ready = metrics, clock, ready
        self._long_poll_seconds, self._lateness = long_poll_seconds, Lateness()
        self._queue_was_down = False
        self._stale = False
        self._threads = [
            threading.Thread(target=self._run, args=(i > 0,), name=f"receiver-{i}") for i in range(receivers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Returns once the long polls under way have ended; the pool must be closed."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    @property
    def alive(self) -> bool:
        """Whether no receiver died."""
        return all(thread.is_alive() for thread in self._threads if thread.ident is not None)

    def _run(self, helps: bool) -> None:
        """One receiver."""
        while not self._pool.closed:
            if not self._ready():
                self._pool.pause(NOT_READY_SECONDS)
                continue
            self._pool.wait_for_room(FULL_POOL_SECONDS, self._stale)
            if not self._pool.closed and 0 < self._receive() < MAX_BATCH and helps:
                self._pool.pause(REST_SECONDS)

    def _receive(self) -> int:
        """How many messages came."""
        try:
            deliveries = self._queue.receive(MAX_BATCH, self._long_poll_seconds)
            self._queue_was_down = False
        except QueueUnavailable as error:
            self._note_queue_down(error)
            return 0
        if deliveries:
            self._take_in(deliveries)
        else:
            self._stale = False
        return len(deliveries)

    def _take_in(self, deliveries: list[Delivery]) -> None:
        now = self._clock.monotonic()
        self._lateness.received(deliveries, now)
        read = self._read_all(deliveries, now)
        self._stale = any(request.in_queue > STALE_SECONDS for request in read)
        fresh = self._settlement.take_in(read)
        if fresh and not self._pool.put(fresh):
            self._settlement.give_back(fresh)

    def _read_all(self, deliveries: Sequence[Delivery], now: float) -> list[Request]:
        """The verified ones; the others are dead letters."""
        read: list[Request] = []
        for delivery in deliveries:
            try:
                read.append(self._read(delivery, now))
            except RejectedError as error:
                self._settlement.refused(delivery, error, self._lateness.in_queue(delivery, now))
            except Exception:  # whatever is wrong with a message, it may not end the receiver
                logger.exception("a message could not be read")
                unreadable = MalformedMessage("the message cannot be read")
                self._settlement.refused(delivery, unreadable, self._lateness.in_queue(delivery, now))
        ready = self._clock.monotonic()
        for request in read:
            request.ready = ready
        return read

    def _read(self, delivery: Delivery, now: float) -> Request:
        """Raises BadSignature or MalformedMessage."""
        attributes = delivery.attributes
        self._keyring.verify(delivery.body, attributes.get("key_id"), attributes.get("signature"))
        message = decode(delivery.body)
        return Request(
            delivery=delivery,
            message=message,
            received=now,
            ready=now,
            in_queue=self._lateness.in_queue(delivery, now),
            span=span(message),
            expires=self._lateness.expires_at(message, delivery, now),
            handles=[delivery.receipt_handle],
        )

    def _note_queue_down(self, error: QueueUnavailable) -> None:
        """Once for each time it goes down, not once for each look."""
        self._metrics.unavailable.labels("queue").inc()
        if not self._queue_was_down:
            self._queue_was_down = True
            logger.warning("the request queue is unavailable", extra={"cause": str(error)})
        self._pool.pause(QUEUE_DOWN_SECONDS)
