"""Which reply queues there are, asked of SQS itself."""

from __future__ import annotations

from waypost.queueing.reply_queue import ReplyQueueNames
from waypost.queueing.sqs_calls import SqsCalls
from waypost.settings import AwsAccess


def labels_of_reply_queues(access: AwsAccess, request_queue_url: str) -> list[str]:
    """Of the gateways that share this request queue."""
    prefix = ReplyQueueNames(request_queue_url).prefix
    listed = SqsCalls(access).call("ListQueues", {"QueueNamePrefix": prefix}).get("QueueUrls") or []
    return [str(url).rpartition("/")[2].removeprefix(prefix) for url in listed]
