"""Enqueuer: gathers messages into one SQS batch and sends it from a thread of its own.

A full batch goes at once, and so does any while none is under way; behind one that is, messages gather for a few
milliseconds, so batches fill by themselves when there is much to send. The event loop never waits for SQS. A message
past its deadline is not sent any more, so a queue that was slow for a while leaves no backlog. A failed message is sent
once more where time and the budget of retries allow; nothing else in the gateway or the worker retries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from waypost.clock import Clock
from waypost.errors import MalformedMessage, QueueUnavailable
from waypost.gateway.breaker import Breaker
from waypost.gateway.pending import Pending, Waiting
from waypost.metrics import GatewayMetrics
from waypost.queueing.messages import RecommendMessage, encode
from waypost.queueing.protocols import MAX_BATCH, MAX_BATCH_BYTES, OutgoingMessage, RequestQueue
from waypost.queueing.retry_budget import RetryBudget
from waypost.queueing.signing import Keyring

COALESCE_SECONDS = 0.004  # under 2 % of the objective
SENDER_THREADS = 8  # batches on their way at once; a send takes about 10 ms, so this is 8,000 messages/s
RETRY_SECONDS = 0.03  # with less time left no answer would come to a second try
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Outgoing:
    message: RecommendMessage
    waiting: Waiting


@dataclass(frozen=True, slots=True, eq=False)
class _Signed:
    outgoing: _Outgoing
    message: OutgoingMessage


class Enqueuer:
    def __init__(
        self,
        queue: RequestQueue,
        keyring: Keyring,
        pending: Pending,
        clock: Clock,
        breaker: Breaker,
        metrics: GatewayMetrics,
        coalesce_seconds: float = COALESCE_SECONDS,
    ) -> None:
        self._coalesce_seconds = coalesce_seconds
        self._queue, self._keyring, self._pending, self._clock = queue, keyring, pending, clock
        self._breaker, self._metrics, self._budget = breaker, metrics, RetryBudget()
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(SENDER_THREADS, thread_name_prefix="sender")
        self._under_way = 0  # batches
        self._gathered: list[_Outgoing] = []
        self._timer: asyncio.Handle | None = None
        self._queue_was_down = False

    def submit(self, message: RecommendMessage, waiting: Waiting) -> None:
        """Send soon; a message that could not be sent fails in Pending."""
        self._gathered.append(_Outgoing(message, waiting))
        if len(self._gathered) >= MAX_BATCH:
            self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._coalesce_seconds if self._under_way else 0, self._flush)

    async def close(self) -> None:
        """Send what is gathered and wait for the threads."""
        self._flush()
        await asyncio.to_thread(self._threads.shutdown)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._gathered:
            batch, self._gathered = self._gathered, []
            self._under_way += 1
            self._threads.submit(self._send, batch)

    def _send(self, batch: list[_Outgoing]) -> None:
        """In a sender's thread; never raises."""
        reached: bool | None = None  # nothing was tried
        failed: list[_Outgoing] = []
        try:
            signed, failed = self._sign_all(batch)
            if signed:
                reached, unsent = self._send_twice(signed)
                failed += [one.outgoing for one in unsent]
        except Exception:
            failed = batch
            logger.exception("messages not sent", extra={"request_ids": [one.message.request_id for one in batch]})
        self._loop.call_soon_threadsafe(self._done, reached, [one.message.request_id for one in failed])

    def _done(self, reached: bool | None, failed: Sequence[str]) -> None:
        """A batch is no longer under way; on the event loop."""
        self._under_way -= 1
        if reached is not None:
            now = self._clock.monotonic()
            (self._breaker.sent if reached else self._breaker.send_failed)(now)
        for request_id in failed:
            self._pending.fail(request_id, "queue")
        if not self._under_way:
            self._flush()

    def _sign_all(self, batch: Sequence[_Outgoing]) -> tuple[list[_Signed], list[_Outgoing]]:
        """Those whose callers still wait, ready to be sent; and those that no queue would take."""
        now = self._clock.now()
        signed: list[_Signed] = []
        unfit: list[_Outgoing] = []
        for outgoing in batch:
            if outgoing.message.deadline <= now:
                continue
            message = self._sign(outgoing.message)
            if message is None:
                unfit.append(outgoing)
            else:
                signed.append(_Signed(outgoing, message))
        return signed, unfit

    def _sign(self, message: RecommendMessage) -> OutgoingMessage | None:
        """None for text that is not Unicode, and for what is too large."""
        try:
            body = encode(message)
        except MalformedMessage:
            return None
        signature = self._keyring.sign(body)
        outgoing = OutgoingMessage(body, {"signature": signature.value, "key_id": signature.key_id})
        return outgoing if outgoing.size <= MAX_BATCH_BYTES else None

    def _send_twice(self, signed: list[_Signed]) -> tuple[bool, list[_Signed]]:
        """Whether the queue took anything, and what it did not take, not at the second try either."""
        self._budget.earn(len(signed))
        unsent = self._send_once(signed)
        reached = len(unsent) < len(signed)
        if again := [one for one in unsent if self._may_retry(one)]:
            self._metrics.send_retries.inc(len(again))
            still = self._send_once(again)
            reached = reached or len(still) < len(again)
            unsent = [one for one in unsent if one not in again] + still
        if reached:
            self._queue_was_down = False
        return reached, unsent

    def _send_once(self, signed: Sequence[_Signed]) -> list[_Signed]:
        """What the queue did not take."""
        try:
            left = max(one.outgoing.message.deadline for one in signed) - self._clock.now()
            failed = self._queue.send([one.message for one in signed], left)
        except QueueUnavailable as error:
            self._note_down(error)
            return list(signed)
        sent = self._clock.monotonic()
        for position, one in enumerate(signed):
            if position not in failed:
                one.outgoing.waiting.sent = sent
        return [signed[position] for position in sorted(failed)]

    def _may_retry(self, one: _Signed) -> bool:
        in_time = one.outgoing.message.deadline - self._clock.now() > RETRY_SECONDS
        return in_time and self._budget.spend()

    def _note_down(self, error: QueueUnavailable) -> None:
        """Once for each time it goes down, not once for each request."""
        if not self._queue_was_down:
            self._queue_was_down = True
            logger.warning("the request queue is unavailable, answers are degraded", extra={"cause": str(error)})
