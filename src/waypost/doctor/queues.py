"""The request queue and the queue of its dead letters: reachable, how deep, and made as workers need it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from urllib.parse import urlsplit

from waypost.doctor.clocks import Clocks
from waypost.doctor.findings import Finding, ok, skipped, warn
from waypost.doctor.looking import Look, Part
from waypost.queueing.sqs_calls import SqsCalls
from waypost.settings import Parts

QUEUE, DEAD_LETTERS = "queue", "dead letters"
CALL_SECONDS = 2.0
MANY_WAITING = 1_000  # about what one worker answers in a second; callers wait a quarter of one
UNREACHABLE = "check AWS_ENDPOINT_URL, the network and the role"
Attributes = Mapping[str, str]


def queues_look(parts: Parts, dead_letter_queue_url: str | None, visibility_seconds: int, clocks: Clocks) -> Look:
    """`dead_letter_queue_url`: where workers set messages aside; else where the queue's own redrive does."""

    def find() -> Iterator[Finding]:
        with closing(SqsCalls(parts.sqs)) as calls:
            attributes = _attributes(calls, parts.request_queue_url)
            yield from _request_queue(attributes, visibility_seconds)
            clocks.compare_date_of(parts.sqs.endpoint_url or _origin(parts.request_queue_url), "SQS")
            yield _dead_letters(calls, dead_letter_queue_url or _redrive_url(calls, attributes))

    seconds = CALL_SECONDS + 1.0
    return Look((Part(QUEUE, seconds, UNREACHABLE), Part(DEAD_LETTERS, 2 * CALL_SECONDS, UNREACHABLE)), find)


def _attributes(calls: SqsCalls, url: str) -> Attributes:
    content = {"QueueUrl": url, "AttributeNames": ["All"]}
    found: Attributes = calls.call("GetQueueAttributes", content, CALL_SECONDS).get("Attributes") or {}
    return found


def _request_queue(attributes: Attributes, visibility_seconds: int) -> Iterator[Finding]:
    waiting, in_flight = depth_of(attributes)
    said = f"has {waiting} waiting and {in_flight} in flight"
    if waiting >= MANY_WAITING:
        yield warn(QUEUE, f"{said}: callers have gone before they are answered", "see the workers; grafana/runbook.md")
    else:
        yield ok(QUEUE, said)
    hidden = int(attributes.get("VisibilityTimeout", visibility_seconds))
    if hidden < visibility_seconds:
        said = f"gives messages back after {hidden} s, workers count on {visibility_seconds} s"
        yield warn(QUEUE, said, f"set WAYPOST_WORKER_VISIBILITY_SECONDS={hidden}, or the queue's visibility timeout")
    if "RedrivePolicy" not in attributes:
        said = "has no redrive policy: a message that no worker survives comes back for ever"
        yield warn(QUEUE, said, "give it one, as deploy/terraform does")


def _dead_letters(calls: SqsCalls, url: str | None) -> Finding:
    if url is None:
        return skipped(DEAD_LETTERS, "no dead-letter queue is known")
    waiting, in_flight = depth_of(_attributes(calls, url))
    if waiting + in_flight == 0:
        return ok(DEAD_LETTERS, "are none")
    fix = "read one's attribute `reason` and its body; grafana/runbook.md, WaypostDeadLetters"
    return warn(DEAD_LETTERS, f"are {waiting + in_flight}: requests that could not be processed", fix)


def depth_of(attributes: Attributes) -> tuple[int, int]:
    """Waiting, and in flight, as the queue counts them: approximately."""
    names = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
    waiting, in_flight = (int(attributes.get(name, 0)) for name in names)
    return waiting, in_flight


def _redrive_url(calls: SqsCalls, attributes: Attributes) -> str | None:
    try:
        name = json.loads(attributes.get("RedrivePolicy", "{}"))["deadLetterTargetArn"].rpartition(":")[2]
    except (ValueError, KeyError, AttributeError):
        return None
    return str(calls.call("GetQueueUrl", {"QueueName": name}, CALL_SECONDS).get("QueueUrl"))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"
