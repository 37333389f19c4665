"""What a call to SQS costs this process: boto3's client, as it was used before, against SqsQueue; in CPU milliseconds.

    python -m bench.sqs_calls

On an emulator of its own. The two take turns, so that whatever else runs is felt by both.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from waypost.local import stack
from waypost.queueing.protocols import OutgoingMessage
from waypost.queueing.sqs import SqsQueue
from waypost.settings import EmbeddedStack, LocalSettings, read_settings, read_shared

CALLS, ROUNDS = 20, 10
BODY = (
    '{"schema":1,"request_id":"0123456789abcdef0123456789abcdef","user_id":42,"k":20,"recent_post_ids":[],'
    '"exclude_post_ids":[],"tags":{"any":[],"all":[],"none":[]},"query":null,"exclude_seen":true,'
    '"issued_at":1790000000.123456,"deadline":1790000000.373456,"reply_to":"gateway:43211"}'
)
SIGNED = {"signature": "A" * 44, "key_id": "2025"}
Calls = dict[str, Callable[[Any], Any]]  # each takes what the one before returned


def boto3_calls(parts: EmbeddedStack, size: int) -> Calls:
    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=16, parameter_validation=False)
    aws, url = parts.aws(), parts.request_queue_url
    sqs = boto3.session.Session().client(
        "sqs", endpoint_url=aws.endpoint_url, region_name=aws.region, aws_access_key_id=aws.access_key_id,
        aws_secret_access_key=aws.secret_access_key, config=config,
    )  # fmt: skip
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in SIGNED.items()}
    entries: list[Any] = [{"Id": str(i), "MessageBody": BODY, "MessageAttributes": attributes} for i in range(size)]

    def receive(_: object) -> list[str]:
        found = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["signature", "key_id"],
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )  # fmt: skip
        return [message["ReceiptHandle"] for message in found["Messages"]]

    def delete(handles: Sequence[str]) -> None:
        deleted: list[Any] = [{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(handles)]
        sqs.delete_message_batch(QueueUrl=url, Entries=deleted)

    return {
        "send": lambda _: sqs.send_message_batch(QueueUrl=url, Entries=entries),
        "receive": receive,
        "delete": delete,
    }


def our_calls(parts: EmbeddedStack, size: int) -> Calls:
    queue = SqsQueue(parts.aws(), parts.request_queue_url)
    messages = [OutgoingMessage(BODY.encode(), SIGNED)] * size
    return {
        "send": lambda _: queue.send(messages),
        "receive": lambda _: [delivery.receipt_handle for delivery in queue.receive(10, 0)],
        "delete": queue.delete,
    }


def measure(ways: dict[str, Calls]) -> dict[tuple[str, str], list[float]]:
    """CPU milliseconds of each call, by way and action: the mean of each round, the first round left out."""
    found: dict[tuple[str, str], list[float]] = {(way, action): [] for way in ways for action in ways[way]}
    for _ in range(ROUNDS + 1):
        for way, calls in ways.items():
            spent = dict.fromkeys(calls, 0.0)
            for _ in range(CALLS):
                given: Any = None
                for action, call in calls.items():
                    began = time.thread_time()
                    given = call(given)
                    spent[action] += time.thread_time() - began
            for action, seconds in spent.items():
                found[way, action].append(seconds / CALLS * 1_000)
    return {key: rounds[1:] for key, rounds in found.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        parts = stack.up(Path(folder), read_settings(LocalSettings, {}), read_shared({}), ("s3", "sqs"))
        try:
            for size in (1, 10):
                found = measure({"boto3": boto3_calls(parts, size), "ours": our_calls(parts, size)})
                for (way, action), rounds in found.items():
                    middle, spread = statistics.median(rounds), (min(rounds), max(rounds))
                    print(f"{size:2} messages {action:8}{way:6} {middle:.3f} ms ({spread[0]:.3f} to {spread[1]:.3f})")
        finally:
            stack.down(Path(folder))


if __name__ == "__main__":
    main()
