"""Deleter: deletes what was replied to, by tens gathered over several finished batches, from threads of its own.

Nobody waits for a delete. A message that is not deleted comes again and is recognised, or is too late by then."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from waypost.errors import QueueUnavailable
from waypost.metrics import WorkerMetrics
from waypost.queueing.protocols import MAX_BATCH, RequestQueue

LINGER_SECONDS = 0.1  # from 100 requests/s on every call is full; short against a visibility timeout
THREADS = 2  # calls at once: of 10 ms each, 2,000 deletes/s
MOST_AT_ONCE = 5 * MAX_BATCH  # before the other thread helps: waking it costs as much as a call
logger = logging.getLogger(__name__)


class Deleter:
    def __init__(
        self,
        queue: RequestQueue,
        metrics: WorkerMetrics,
        linger_seconds: float = LINGER_SECONDS,
        threads: int = THREADS,
    ) -> None:
        self._queue, self._metrics, self._linger = queue, metrics, linger_seconds
        self._handles: list[str] = []
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name=f"deleter-{i}") for i in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def add(self, receipt_handles: Sequence[str]) -> None:
        """To be deleted soon."""
        with self._changed:
            wake = not self._handles or len(self._handles) + len(receipt_handles) >= MAX_BATCH
            self._handles += receipt_handles
            if wake and self._handles:
                self._changed.notify()

    def close(self) -> None:
        """Returns once everything that was added is deleted, or the queue has refused it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _run(self) -> None:
        while handles := self._next():
            try:
                self._queue.delete(handles)
            except QueueUnavailable:
                self._metrics.unavailable.labels("queue").inc()
            except Exception:  # a thread that ended would leave every later one to come again
                logger.exception("messages were not deleted, they come again")

    def _next(self) -> list[str]:
        """A full call's handles, or what has gathered within the linger; empty once closed and done."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closed or bool(self._handles))
                self._changed.wait_for(lambda: self._closed or len(self._handles) >= MAX_BATCH, self._linger)
                full = len(self._handles) // MAX_BATCH * MAX_BATCH  # the rest waits for more
                count = min(full, MOST_AT_ONCE) or len(self._handles)
                taken, self._handles = self._handles[:count], self._handles[count:]
                if taken or self._closed:  # else the other thread was quicker
                    if self._handles:
                        self._changed.notify()
                    return taken
