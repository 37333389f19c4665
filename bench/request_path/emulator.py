"""What the SQS emulator alone takes: from the end of a send to the receive that brings the message, at a given rate.

So many connections wait in long polls as the worker's receivers do and ask again at once; plain HTTP, unsigned, because
a library's own time is none of the emulator's.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bench.commands import serve
from bench.request_path.generator import percentiles

POLL_SECONDS = 2  # as the worker's
CALL_SECONDS = 10.0
LOOK_SECONDS = 0.1  # how often a waiting poll of the emulator looks again, from its own start on


@dataclass
class Messages:
    sent: dict[str, float] = field(default_factory=dict)  # body -> when its send was answered
    received: dict[str, float] = field(default_factory=dict)


class _Caller:
    def __init__(self, endpoint: str, queue_url: str) -> None:
        parts = urlsplit(endpoint)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=CALL_SECONDS)
        self._queue_url = queue_url

    def call(self, action: str, **arguments: Any) -> dict[str, Any]:
        body = json.dumps({"QueueUrl": self._queue_url, **arguments})
        headers = {"X-Amz-Target": f"AmazonSQS.{action}", "Content-Type": "application/x-amz-json-1.0"}
        self._connection.request("POST", "/", body, headers)
        response = self._connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer
        found: dict[str, Any] = json.loads(answer or b"{}")
        return found


def paced(endpoint: str, queue_url: str, rate: float, seconds: float, receivers: int) -> Messages:
    messages, over = Messages(), threading.Event()

    def receive() -> None:
        caller = _Caller(endpoint, queue_url)
        while not over.is_set():
            answer = caller.call("ReceiveMessage", MaxNumberOfMessages=10, WaitTimeSeconds=POLL_SECONDS)
            now = time.monotonic()
            messages.received.update({one["Body"]: now for one in answer.get("Messages", [])})

    threads = [threading.Thread(target=receive) for _ in range(receivers)]
    for thread in threads:
        thread.start()
        time.sleep(LOOK_SECONDS / receivers)  # polls that look at the same moment are as good as one
    _send(_Caller(endpoint, queue_url), messages, rate, seconds)
    time.sleep(1)  # for the last
    over.set()
    for thread in threads:
        thread.join()
    return messages


def _send(caller: _Caller, messages: Messages, rate: float, seconds: float) -> None:
    gaps, body = random.Random(2), 0
    began = intended = time.monotonic()
    while (intended := intended + gaps.expovariate(rate)) < began + seconds:
        time.sleep(max(0.0, intended - time.monotonic()))
        caller.call("SendMessage", MessageBody=str(body))
        messages.sent[str(body)] = time.monotonic()
        body += 1


def describe(messages: Messages) -> dict[str, Any]:
    seconds = [
        max(0.0, messages.received[body] - at) for body, at in messages.sent.items() if body in messages.received
    ]
    return {"answers": len(seconds), "latency": percentiles(seconds)}


if __name__ == "__main__":
    serve({"paced": (paced, describe)})
