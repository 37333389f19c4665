"""The request queue as KEDA and the pods see it: a real SQS protocol on loopback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3

from waypost.local.aws import REGION
from waypost.settings import EmbeddedStack

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH = 10  # SendMessageBatch takes at most so many


@dataclass(frozen=True)
class RequestQueue:
    sqs: SQSClient
    name: str
    url: str

    def fill(self, messages: int) -> None:
        for start in range(0, messages, BATCH):
            entries = [{"Id": str(i), "MessageBody": "waiting"} for i in range(start, min(start + BATCH, messages))]
            self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)  # type: ignore[arg-type]

    def purge(self) -> None:
        self.sqs.purge_queue(QueueUrl=self.url)

    def remove(self) -> None:
        """So that nobody can read it."""
        self.sqs.delete_queue(QueueUrl=self.url)

    def bring_back(self) -> None:
        assert self.sqs.create_queue(QueueName=self.name)["QueueUrl"] == self.url


def make_queue(stack: EmbeddedStack, name: str) -> RequestQueue:
    sqs = boto3.client(
        "sqs",
        endpoint_url=stack.aws_endpoint_url,
        region_name=REGION,
        aws_access_key_id=stack.aws_access_key_id,
        aws_secret_access_key=stack.aws_secret_access_key,
    )
    return RequestQueue(sqs, name, sqs.create_queue(QueueName=name)["QueueUrl"])
