"""The reply queue in place of the pod's own door, on the real emulator: the same answers, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.reply_queues import labels_of_reply_queues
from waypost.clock import SystemClock
from waypost.gateway.run import Outside
from waypost.metrics import WorkerMetrics
from waypost.objects.memory import MemoryObjectStore
from waypost.queueing.reply_queue import QueueReplyReceiver, QueueReplySender
from waypost.queueing.sqs import SqsQueue
from waypost.release.signing import NO_KEYS
from waypost.settings import AwsAccess, GatewaySettings
from waypost.worker.loop import LoopLimits, WorkerLoop

from .conftest import KEYRING, Client, OnlyRelease, ScriptedAnswerer, a_gateway, eventually


@pytest.fixture
def receiver(aws_access: AwsAccess, request_queue_url: str) -> QueueReplyReceiver:
    return QueueReplyReceiver(aws_access, request_queue_url, "gateway", KEYRING, SystemClock())


@pytest.fixture
def gateway(
    aws_access: AwsAccess, request_queue_url: str, receiver: QueueReplyReceiver, store: MemoryObjectStore
) -> Iterator[Client]:
    outside = Outside(SqsQueue(aws_access, request_queue_url), store, KEYRING, NO_KEYS, receiver)
    with a_gateway(GatewaySettings(port=0, pointer_seconds=0.02), outside, None) as client:
        eventually(lambda: client.get("/readyz").status == 200)
        eventually(lambda: receiver.reply_to in labels_of_reply_queues(aws_access, request_queue_url))
        yield client


@pytest.fixture
def worker(aws_access: AwsAccess, request_queue_url: str) -> Iterator[None]:
    loop = WorkerLoop(
        SqsQueue(aws_access, request_queue_url),
        KEYRING,
        OnlyRelease(ScriptedAnswerer()),
        QueueReplySender(aws_access, request_queue_url, KEYRING),
        WorkerMetrics(),
        ready=lambda: True,
        limits=LoopLimits(receivers=1, long_poll_seconds=1),
    )
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield
    loop.stop()
    thread.join()


@pytest.mark.usefixtures("worker")
def test_the_models_answer_comes_over_the_reply_queue_and_a_stop_deletes_it(
    gateway: Client, aws_access: AwsAccess, request_queue_url: str
) -> None:
    answers = [gateway.post({"user_id": user, "k": 3, "deadline_ms": 10_000}) for user in range(5)]
    assert [answer.json["source"] for answer in answers] == ["graphsage"] * 5
    assert [answer.json["user_id"] for answer in answers] == list(range(5))
    assert gateway.metric('waypost_gateway_replies_total{outcome="used"}') == 5
    gateway.stop()
    assert not labels_of_reply_queues(aws_access, request_queue_url)
