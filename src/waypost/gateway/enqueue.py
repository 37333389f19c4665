"""Enqueuer: gathers the messages of about two milliseconds into one SQS batch and sends it from a thread of its own.

The event loop never waits for SQS. A batch whose requests are past their deadline is not sent any more, so a queue
that was slow for a while leaves no backlog behind.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from waypost.clock import Clock
from waypost.errors import MalformedMessage, QueueUnavailable
from waypost.gateway.pending import Pending, Waiting
from waypost.queueing.messages import RecommendMessage, encode
from waypost.queueing.protocols import MAX_BATCH, OutgoingMessage, RequestQueue
from waypost.queueing.signing import Keyring

COALESCE_SECONDS = 0.002  # under 1 % of the objective, and at 1,000 requests/s it makes one call of two or more
SENDER_THREADS = 8  # batches on their way at once; a send takes about 10 ms, so this is 8,000 messages/s
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Outgoing:
    message: RecommendMessage
    waiting: Waiting


class Enqueuer:
    def __init__(self, queue: RequestQueue, keyring: Keyring, pending: Pending, clock: Clock) -> None:
        self._queue, self._keyring, self._pending, self._clock = queue, keyring, pending, clock
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(SENDER_THREADS, thread_name_prefix="sender")
        self._gathered: list[_Outgoing] = []
        self._timer: asyncio.TimerHandle | None = None
        self._queue_was_down = False

    def submit(self, message: RecommendMessage, waiting: Waiting) -> None:
        """Send soon; a message that could not be sent fails in Pending."""
        self._gathered.append(_Outgoing(message, waiting))
        if len(self._gathered) >= MAX_BATCH:
            self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(COALESCE_SECONDS, self._flush)

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
            self._threads.submit(self._send, batch)

    def _send(self, batch: list[_Outgoing]) -> None:
        now = self._clock.now()
        batch = [outgoing for outgoing in batch if outgoing.message.deadline > now]
        try:
            self._send_signed(batch)
        except QueueUnavailable as error:
            self._fail(batch)
            self._note_down(error)
        except Exception:
            self._fail(batch)
            logger.exception("messages not sent")

    def _send_signed(self, batch: list[_Outgoing]) -> None:
        signed = [(outgoing, message) for outgoing in batch if (message := self._sign(outgoing)) is not None]
        if not signed:
            return
        failed = self._queue.send([message for _, message in signed])
        sent = self._clock.monotonic()
        for position, (outgoing, _) in enumerate(signed):
            if position not in failed:
                outgoing.waiting.sent = sent
        self._fail([signed[position][0] for position in failed])
        self._queue_was_down = False

    def _sign(self, outgoing: _Outgoing) -> OutgoingMessage | None:
        try:
            body = encode(outgoing.message)
        except MalformedMessage:
            self._fail([outgoing])
            return None
        signature = self._keyring.sign(body)
        return OutgoingMessage(body, {"signature": signature.value, "key_id": signature.key_id})

    def _fail(self, batch: list[_Outgoing]) -> None:
        for outgoing in batch:
            self._loop.call_soon_threadsafe(self._pending.fail, outgoing.message.request_id, "queue")

    def _note_down(self, error: QueueUnavailable) -> None:
        """Once for each time it goes down, not once for each request."""
        if not self._queue_was_down:
            self._queue_was_down = True
            logger.warning("the request queue is unavailable, answers are degraded", extra={"cause": str(error)})
