"""Workers that are stopped while requests come, on real SQS: nothing is lost, and nothing becomes a dead letter."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import pytest

from tests.worker.test_loop import GATEWAY, OURS, RecordingAnswerer, eventually, running, signed
from waypost.clock import SystemClock
from waypost.metrics import WorkerMetrics
from waypost.questions import Question
from waypost.queueing.messages import RecommendMessage, encode
from waypost.queueing.protocols import QueueDepth
from waypost.queueing.replies import MemoryReplySender, Reply, ReplyResolver
from waypost.queueing.sqs import SqsQueue
from waypost.settings import AwsAccess
from waypost.worker.loop import LoopLimits, WorkerLoop

SECONDS = 9.0  # that callers wait
STOPS = 3  # as many as the receives after which the queue sets a message aside
ANSWERS_BETWEEN = 10


@dataclass
class Shop:
    """A caller that asks all the time, and workers as they are in production: six receivers, polls of two seconds."""

    access: AwsAccess
    url: str
    asked: list[str] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue, self.dead_letters = SqsQueue(self.access, self.url), SqsQueue(self.access, f"{self.url}-dead")

    def worker(self) -> WorkerLoop:
        sender = MemoryReplySender(ReplyResolver("localhost"), OURS)
        sender.connect(GATEWAY, self.replies.extend)
        return WorkerLoop(
            SqsQueue(self.access, self.url), OURS, RecordingAnswerer(), sender, WorkerMetrics(),
            ready=lambda: True, limits=LoopLimits(),
        )  # fmt: skip

    @contextmanager
    def asking(self) -> Iterator[None]:
        enough = threading.Event()
        thread = threading.Thread(target=self._ask_until, args=(enough,))
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()

    def _ask_until(self, enough: threading.Event) -> None:
        while not enough.wait(0.05):
            now, request_id = SystemClock().now(), f"r{len(self.asked)}"
            message = RecommendMessage(Question(len(self.asked)), request_id, now, now + SECONDS, GATEWAY)
            self.queue.send([signed(encode(message))])
            self.asked.append(request_id)

    def answered_more(self, by: int) -> None:
        """Wait for so many answers more."""
        wanted = len(self.replies) + by
        eventually(lambda: len(self.replies) >= wanted)


@pytest.mark.parametrize("another", [True, False], ids=["while another lives", "while none lives"])
def test_stopping_workers_loses_no_request_and_makes_no_dead_letter(
    another: bool, aws_access: AwsAccess, request_queue_url: str
) -> None:
    shop = Shop(aws_access, request_queue_url)
    with shop.asking(), running(shop.worker()) if another else nullcontext():
        for _ in range(STOPS):
            with running(shop.worker()):
                shop.answered_more(ANSWERS_BETWEEN)
    with running(shop.worker()):
        eventually(lambda: shop.queue.depth() == QueueDepth(0, 0))
    assert shop.dead_letters.depth() == QueueDepth(0, 0)
    assert Counter(reply.request_id for reply in shop.replies) == Counter(shop.asked)
