"""SqsQueue: RequestQueue's few calls as SQS spells them.

Nothing is retried: a request has 250 ms, and whoever calls knows better what to do than a library that sleeps. A
partial failure of a send comes as HTTP 200 with `Failed`, which is read here, entry by entry; one of a delete or a
release is left alone, since that message comes again by itself. SQS' MD5 of a body is not compared: the signature that
travels with it covers the whole way to the worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from waypost.errors import QueueUnavailable
from waypost.queueing.protocols import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_WAIT_SECONDS,
    SEND_SECONDS,
    Delivery,
    OutgoingMessage,
    QueueDepth,
)
from waypost.queueing.sqs_calls import CALL_SECONDS, SqsCalls
from waypost.settings import AwsAccess

POLL_GRACE_SECONDS = 3.0  # a long poll's answer on its way
SIGNED_ATTRIBUTES = ["signature", "key_id"]
TOLD_ATTRIBUTES = ["ApproximateReceiveCount", "SentTimestamp", "ApproximateFirstReceiveTimestamp"]  # by the queue
T = TypeVar("T")


class SqsQueue:
    """One queue. A process that has several gives them the same calls.

    Raises SettingsError when AWS' own settings are incomplete.
    """

    def __init__(self, access: AwsAccess, url: str, calls: SqsCalls | None = None) -> None:
        self._calls, self._url = calls or SqsCalls(access), url

    def send(self, messages: Sequence[OutgoingMessage], within_seconds: float = SEND_SECONDS) -> frozenset[int]:
        sizes = [message.size for message in messages]
        fit = [i for i, size in enumerate(sizes) if size <= MAX_BATCH_BYTES]
        failed = set(range(len(messages))) - set(fit)
        unreachable: QueueUnavailable | None = None
        for batch in split(fit, sizes):
            try:
                failed |= self._send_batch({i: messages[i] for i in batch}, min(within_seconds, SEND_SECONDS))
            except QueueUnavailable as error:
                unreachable, failed = error, failed | set(batch)
        if unreachable and len(failed) == len(messages):
            raise unreachable
        return frozenset(failed)

    def receive(self, most: int, wait_seconds: float) -> list[Delivery]:
        wait = min(round(wait_seconds), MAX_WAIT_SECONDS)
        answer = self._call(
            "ReceiveMessage",
            CALL_SECONDS if wait == 0 else wait + POLL_GRACE_SECONDS,
            MaxNumberOfMessages=min(most, MAX_BATCH),
            WaitTimeSeconds=wait,
            MessageAttributeNames=SIGNED_ATTRIBUTES,
            MessageSystemAttributeNames=TOLD_ATTRIBUTES,
        )
        return [_delivery(message) for message in answer.get("Messages") or ()]

    def delete(self, receipt_handles: Sequence[str]) -> None:
        for handles in _tens(receipt_handles):
            entries = [{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(handles)]
            self._call("DeleteMessageBatch", Entries=entries)

    def release(self, receipt_handles: Sequence[str], after_seconds: int = 0) -> None:
        for handles in _tens(receipt_handles):
            entries = [
                {"Id": str(i), "ReceiptHandle": handle, "VisibilityTimeout": after_seconds}
                for i, handle in enumerate(handles)
            ]
            self._call("ChangeMessageVisibilityBatch", Entries=entries)

    def depth(self) -> QueueDepth:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self._call("GetQueueAttributes", AttributeNames=names)["Attributes"]
        visible, in_flight = (int(attributes[name]) for name in names)
        return QueueDepth(visible, in_flight)

    def close(self) -> None:
        self._calls.close()

    def _send_batch(self, batch: Mapping[int, OutgoingMessage], seconds: float) -> set[int]:
        answer = self._call("SendMessageBatch", seconds, Entries=[_entry(i, message) for i, message in batch.items()])
        return {int(entry["Id"]) for entry in answer.get("Failed") or ()}

    def _call(self, action: str, seconds: float = CALL_SECONDS, **content: object) -> dict[str, Any]:
        return self._calls.call(action, {"QueueUrl": self._url, **content}, seconds)


def split(chosen: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Positions in their order, in batches that SQS takes: at most 10 entries and 1 MiB in all."""
    batches: list[list[int]] = []
    filled = 0
    for position in chosen:
        full = not batches or len(batches[-1]) == MAX_BATCH or filled + sizes[position] > MAX_BATCH_BYTES
        if full:
            batches.append([])
            filled = 0
        batches[-1].append(position)
        filled += sizes[position]
    return batches


def _tens(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + MAX_BATCH] for start in range(0, len(items), MAX_BATCH))


def _entry(position: int, message: OutgoingMessage) -> dict[str, object]:
    return {
        "Id": str(position),
        "MessageBody": message.body.decode(),
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()
        },
    }


def _delivery(message: Mapping[str, Any]) -> Delivery:
    system = message.get("Attributes") or {}
    return Delivery(
        body=message.get("Body", "").encode(),
        attributes={
            name: value["StringValue"]
            for name, value in (message.get("MessageAttributes") or {}).items()
            if "StringValue" in value
        },
        receipt_handle=message["ReceiptHandle"],
        receive_count=int(system.get("ApproximateReceiveCount", "1")),
        sent_at=int(system.get("SentTimestamp", "0")) / 1000,
        first_received_at=int(system.get("ApproximateFirstReceiveTimestamp", "0")) / 1000,
    )
