"""The reply queue: replies over SQS, for clusters whose workers cannot reach a gateway pod directly.

Each gateway process has a queue of its own, made at its start and never shared: `<request queue>-replies-<label>`. A
worker derives that name from its own settings and the label alone, so nothing on the request queue can make it write
elsewhere, and every body is signed. The queue bears its owner and a heartbeat as tags; a graceful stop deletes it, and
any gateway sweeps away those whose heartbeat stopped long ago.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence

from waypost.clock import Clock
from waypost.errors import GatewayUnavailable, MalformedMessage, QueueUnavailable, RejectedError, SettingsError
from waypost.queueing.messages import xml_safe
from waypost.queueing.protocols import MAX_BATCH, Delivery, OutgoingMessage
from waypost.queueing.replies import Reply, decode_replies, reply_bodies
from waypost.queueing.signing import Keyring
from waypost.queueing.sqs import SqsQueue
from waypost.queueing.sqs_calls import SqsCalls
from waypost.settings import AwsAccess

logger = logging.getLogger(__name__)
INFIX = "-replies-"
MAX_NAME = 80  # SQS: characters of a queue's name
LEAST_LABEL = 16  # of which half is the salt
SALT_BYTES = 4  # SQS refuses for a minute to make a queue anew that was deleted, so a restart takes another name
MAX_REPLY_MESSAGE_BYTES = 500_000  # escaped for SQS it may double, and stays below a message's 1 MiB
RETENTION_SECONDS = 60  # SQS' least; nobody waits for a reply that long
VISIBILITY_SECONDS = 5  # a reply that was received and not deleted is late by then, and is dropped as such
POLLERS = 2  # so that replies arrive while others are opened
LONG_POLL_SECONDS = 2  # a stop waits for the polls under way
RETRY_SECONDS = 1.0  # between two looks at a queue that is not there
HEARTBEAT_SECONDS = 60.0
SWEEP_SECONDS = 600.0
DEAD_SECONDS = 1_800.0  # thirty heartbeats missed, and more than clocks may differ
OWNER_TAG, HEARTBEAT_TAG = "waypost-owner", "waypost-heartbeat"
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class ReplyQueueNames:
    """Of the gateways that share one request queue."""

    def __init__(self, request_queue_url: str) -> None:
        self._base, _, request_queue = request_queue_url.rpartition("/")
        self.prefix = request_queue + INFIX

    def name(self, label: str) -> str:
        """Raises MalformedMessage for anything but a label of ours."""
        if not _LABEL.fullmatch(label) or len(self.prefix) + len(label) > MAX_NAME:
            raise MalformedMessage("the reply address is not one of ours")
        return self.prefix + label

    def url(self, label: str) -> str:
        return f"{self._base}/{self.name(label)}"

    def new_label(self, owner: str) -> str:
        """One that no process ever had. Raises SettingsError where the request queue's name leaves no room."""
        room = min(MAX_NAME - len(self.prefix), 63)
        if room < LEAST_LABEL:
            raise SettingsError(
                "the request queue's name leaves no room for reply queues",
                f"give it at most {MAX_NAME - len(INFIX) - LEAST_LABEL} characters, "
                "or set WAYPOST_GATEWAY_REPLY_WAY=direct",
            )
        salt = secrets.token_hex(SALT_BYTES)
        return f"{owner[: room - len(salt) - 1].rstrip('-')}-{salt}"


class QueueReplySender:
    """The worker's end. Which queue it is, only our own settings and the label say."""

    def __init__(self, access: AwsAccess, request_queue_url: str, keyring: Keyring) -> None:
        self._access, self._calls = access, SqsCalls(access)
        self._names, self._keyring = ReplyQueueNames(request_queue_url), keyring

    def send(self, reply_to: str, replies: Sequence[Reply]) -> None:
        queue = SqsQueue(self._access, self._names.url(reply_to), self._calls)
        messages = [self._signed(body) for body in reply_bodies(replies, MAX_REPLY_MESSAGE_BYTES)]
        try:
            failed = queue.send(messages)
        except QueueUnavailable as error:
            raise GatewayUnavailable(f"a reply queue cannot be reached: {error.cause}") from error
        if failed:
            raise GatewayUnavailable("a reply queue did not take all replies")

    def close(self) -> None:
        self._calls.close()

    def _signed(self, body: bytes) -> OutgoingMessage:
        safe = xml_safe(body)
        signature = self._keyring.sign(safe)
        return OutgoingMessage(safe, {"signature": signature.value, "key_id": signature.key_id})


class QueueReplyReceiver:
    """The gateway's end: its own queue, the threads that poll it, and the one that keeps and sweeps.

    A gateway serves without its queue, as long as that cannot be made: its answers are degraded.
    """

    def __init__(
        self,
        access: AwsAccess,
        request_queue_url: str,
        owner: str,
        keyring: Keyring,
        clock: Clock,
        long_poll_seconds: int = LONG_POLL_SECONDS,
    ) -> None:
        self._long_poll_seconds = long_poll_seconds
        self._calls, self._keyring, self._clock = SqsCalls(access), keyring, clock
        self._names = ReplyQueueNames(request_queue_url)
        self._owner, self._label = owner, self._names.new_label(owner)
        self._queue = SqsQueue(access, self._names.url(self._label), self._calls)
        self._stop, self._made = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def reply_to(self) -> str:
        return self._label

    def start(self, take: Callable[[list[Reply]], None], reject: Callable[[RejectedError], None]) -> None:
        work = [self._keep, *(lambda: self._poll(take, reject) for _ in range(POLLERS))]
        self._threads = [threading.Thread(target=one, name="reply-queue", daemon=True) for one in work]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        self._made.set()  # wakes the pollers
        for thread in self._threads:
            thread.join()
        try:
            self._calls.call("DeleteQueue", {"QueueUrl": self._names.url(self._label)})
        except QueueUnavailable as error:
            logger.warning("the reply queue was left for a sweep", extra={"cause": str(error)})
        self._calls.close()

    def beat(self) -> None:
        """Have the queue there, with a heartbeat of now. Raises QueueUnavailable."""
        tags = {OWNER_TAG: self._owner, HEARTBEAT_TAG: str(int(self._clock.now()))}
        attributes = {
            "MessageRetentionPeriod": str(RETENTION_SECONDS),
            "VisibilityTimeout": str(VISIBILITY_SECONDS),
        }
        name = self._names.name(self._label)
        self._calls.call("CreateQueue", {"QueueName": name, "Attributes": attributes, "tags": tags})
        self._calls.call("TagQueue", {"QueueUrl": self._names.url(self._label), "Tags": tags})
        self._made.set()

    def sweep(self) -> list[str]:
        """Delete the reply queues whose gateway is dead; their names. Raises QueueUnavailable."""
        listed = self._calls.call("ListQueues", {"QueueNamePrefix": self._names.prefix, "MaxResults": 1_000})
        names = [str(url).rpartition("/")[2] for url in listed.get("QueueUrls") or ()]
        labels = [name.removeprefix(self._names.prefix) for name in names if name.startswith(self._names.prefix)]
        return [self._names.name(label) for label in labels if _LABEL.fullmatch(label) and self._swept(label)]

    def _swept(self, label: str) -> bool:
        """One whose tags we did not write is left alone, whatever it is called; so is one from the future."""
        if label == self._label:
            return False
        url = self._names.url(label)
        try:
            tags = self._calls.call("ListQueueTags", {"QueueUrl": url}).get("Tags") or {}
            beaten_at = tags.get(HEARTBEAT_TAG, "")
            if OWNER_TAG not in tags or not beaten_at.isdecimal() or not self._is_dead(int(beaten_at)):
                return False
            self._calls.call("DeleteQueue", {"QueueUrl": url})
        except QueueUnavailable:  # another gateway swept it, or we may not
            return False
        logger.info("the reply queue of a dead gateway was deleted", extra={"queue": self._names.name(label)})
        return True

    def _is_dead(self, beaten_at: float) -> bool:
        return self._clock.now() - beaten_at > DEAD_SECONDS

    def _keep(self) -> None:
        """Heartbeats, and a sweep now and then."""
        next_sweep = self._clock.monotonic() + secrets.randbelow(int(SWEEP_SECONDS))  # gateways start together
        trouble = False
        while not self._stop.is_set():
            try:
                self.beat()
                if self._clock.monotonic() >= next_sweep:
                    next_sweep = self._clock.monotonic() + SWEEP_SECONDS
                    self.sweep()
                trouble = False
            except QueueUnavailable as error:
                if not trouble:
                    logger.warning("the reply queue was not kept", extra={"cause": str(error)})
                trouble = True
            self._stop.wait(RETRY_SECONDS if trouble else HEARTBEAT_SECONDS)

    def _poll(self, take: Callable[[list[Reply]], None], reject: Callable[[RejectedError], None]) -> None:
        self._made.wait()
        while not self._stop.is_set():
            try:
                deliveries = self._queue.receive(MAX_BATCH, self._long_poll_seconds)
                self._hand_over(deliveries, take, reject)
            except QueueUnavailable:  # the keeper tells, and makes it anew
                self._stop.wait(RETRY_SECONDS)
            except Exception:
                logger.exception("replies were not received")
                self._stop.wait(RETRY_SECONDS)

    def _hand_over(
        self,
        deliveries: Iterable[Delivery],
        take: Callable[[list[Reply]], None],
        reject: Callable[[RejectedError], None],
    ) -> None:
        """Replies first, then delete: whoever waits, waits no longer than he must."""
        handles = []
        for delivery in deliveries:
            handles.append(delivery.receipt_handle)
            try:
                self._keyring.verify(
                    delivery.body, delivery.attributes.get("key_id"), delivery.attributes.get("signature")
                )
                take(decode_replies(delivery.body))
            except RejectedError as error:
                reject(error)
        self._queue.delete(handles)
