"""SQS over boto3, with the timeouts, pool and retries that boto3's defaults lack. botocore's exceptions end here.

Nothing is retried: a request has 250 ms, and whoever calls knows better what to do than a library that sleeps. A
partial failure of a send comes as HTTP 200 with `Failed`, which is read here, entry by entry; one of a delete or a
release is left alone, since that message comes again by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from waypost.errors import QueueUnavailable, SettingsError
from waypost.queueing.protocols import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_WAIT_SECONDS,
    Delivery,
    OutgoingMessage,
    QueueDepth,
)
from waypost.settings import AwsAccess

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef, SendMessageBatchRequestEntryTypeDef

CONNECT_SECONDS = 1.0  # the queue is in the same region
CALL_SECONDS = 2.0  # a send or delete takes about 10 ms; after this long no caller waits any more
POLL_SECONDS = MAX_WAIT_SECONDS + 3.0  # a long poll, and the answer on its way
POOL_SIZE = 16  # connections; at least the gateway's sender threads, or the worker's receivers and finishers
SIGNED_ATTRIBUTES = ["signature", "key_id"]
T = TypeVar("T")


class SqsQueue:
    def __init__(self, access: AwsAccess, url: str) -> None:
        self._access, self._url = access, url
        self._client = _sqs_client(access, CALL_SECONDS)
        self._poller: SQSClient | None = None  # the gateway never polls
        self._poller_lock = threading.Lock()

    def send(self, messages: Sequence[OutgoingMessage]) -> frozenset[int]:
        fit = [i for i, message in enumerate(messages) if message.size <= MAX_BATCH_BYTES]
        failed = set(range(len(messages))) - set(fit)
        unreachable: QueueUnavailable | None = None
        for batch in split(fit, [message.size for message in messages]):
            try:
                failed |= self._send_batch({i: messages[i] for i in batch})
            except QueueUnavailable as error:
                unreachable, failed = error, failed | set(batch)
        if unreachable and len(failed) == len(messages):
            raise unreachable
        return frozenset(failed)

    def receive(self, most: int, wait_seconds: float) -> list[Delivery]:
        with self._reachable("receive from"):
            answer = self._polling_client().receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(most, MAX_BATCH),
                WaitTimeSeconds=min(round(wait_seconds), MAX_WAIT_SECONDS),
                MessageAttributeNames=SIGNED_ATTRIBUTES,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            )
        return [_delivery(message) for message in answer.get("Messages", [])]

    def delete(self, receipt_handles: Sequence[str]) -> None:
        for handles in _tens(receipt_handles):
            with self._reachable("delete from"):
                self._client.delete_message_batch(
                    QueueUrl=self._url,
                    Entries=[{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(handles)],
                )

    def release(self, receipt_handles: Sequence[str], after_seconds: int = 0) -> None:
        for handles in _tens(receipt_handles):
            with self._reachable("release to"):
                self._client.change_message_visibility_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(i), "ReceiptHandle": handle, "VisibilityTimeout": after_seconds}
                        for i, handle in enumerate(handles)
                    ],
                )

    def depth(self) -> QueueDepth:
        with self._reachable("measure"):
            attributes = self._client.get_queue_attributes(
                QueueUrl=self._url,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )["Attributes"]
        return QueueDepth(
            visible=int(attributes["ApproximateNumberOfMessages"]),
            in_flight=int(attributes["ApproximateNumberOfMessagesNotVisible"]),
        )

    def _send_batch(self, batch: Mapping[int, OutgoingMessage]) -> set[int]:
        with self._reachable("send to"):
            answer = self._client.send_message_batch(
                QueueUrl=self._url, Entries=[_entry(i, message) for i, message in batch.items()]
            )
        return {int(entry["Id"]) for entry in answer.get("Failed", [])}

    def _polling_client(self) -> SQSClient:
        with self._poller_lock:
            if self._poller is None:
                self._poller = _sqs_client(self._access, POLL_SECONDS)
            return self._poller

    @contextmanager
    def _reachable(self, action: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise QueueUnavailable(
                f"SQS refused to {action} the request queue: {code}",
                "check WAYPOST_REQUEST_QUEUE_URL, the role and the region",
            ) from error
        except BotoCoreError as error:
            raise QueueUnavailable(
                f"SQS cannot be reached to {action} the request queue: {type(error).__name__}",
                "check AWS_ENDPOINT_URL and the network",
            ) from error


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


def _entry(position: int, message: OutgoingMessage) -> SendMessageBatchRequestEntryTypeDef:
    return {
        "Id": str(position),
        "MessageBody": message.body.decode(),
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()
        },
    }


def _delivery(message: MessageTypeDef) -> Delivery:
    system = message.get("Attributes", {})
    return Delivery(
        body=message.get("Body", "").encode(),
        attributes={
            name: value["StringValue"]
            for name, value in message.get("MessageAttributes", {}).items()
            if "StringValue" in value
        },
        receipt_handle=message["ReceiptHandle"],
        receive_count=int(system.get("ApproximateReceiveCount", "1")),
        sent_at=int(system.get("SentTimestamp", "0")) / 1000,
    )


def _sqs_client(access: AwsAccess, read_timeout_seconds: float) -> SQSClient:
    """A client whose every call ends. Raises SettingsError when AWS' own settings are incomplete."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_timeout_seconds,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=POOL_SIZE,
        tcp_keepalive=True,  # a long poll through a NAT that forgets idle connections
        parameter_validation=False,  # both sides are ours, and it costs as much as the rest of the call
    )
    try:
        return boto3.session.Session().client(  # a session of its own: making clients is not thread-safe
            "sqs",
            endpoint_url=access.endpoint_url,
            region_name=access.region,
            aws_access_key_id=access.access_key_id,
            aws_secret_access_key=access.secret_access_key,
            config=config,
        )
    except NoRegionError:
        raise SettingsError("no AWS region is set", "set AWS_REGION") from None
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"AWS settings are refused: {error}", "check AWS_ENDPOINT_URL and the credentials"
        ) from None
