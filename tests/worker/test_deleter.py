"""Deletes gather into full calls, nothing is lost at the end, and a queue that is down ends no thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from waypost.errors import QueueUnavailable
from waypost.metrics import WorkerMetrics
from waypost.queueing.memory import MemoryQueue
from waypost.queueing.protocols import MAX_BATCH
from waypost.worker.deleter import Deleter

FOREVER = 600.0


@dataclass
class RecordingQueue(MemoryQueue):
    calls: list[list[str]] = field(default_factory=list)
    called: threading.Event = field(default_factory=threading.Event)
    trouble: Exception | None = None

    def delete(self, receipt_handles: Sequence[str]) -> None:
        self.calls.append(list(receipt_handles))
        self.called.set()
        if self.trouble is not None:
            raise self.trouble


def a_deleter(queue: RecordingQueue, linger_seconds: float = FOREVER, threads: int = 1) -> Deleter:
    deleter = Deleter(queue, WorkerMetrics(), linger_seconds, threads)
    deleter.start()
    return deleter


def test_handles_of_several_batches_make_full_calls() -> None:
    queue = RecordingQueue()
    deleter = a_deleter(queue)
    for start in range(0, 32, 4):
        deleter.add([str(i) for i in range(start, start + 4)])
    deleter.close()
    assert [len(call) % MAX_BATCH for call in queue.calls] == [0] * (len(queue.calls) - 1) + [2]
    assert sorted(int(handle) for call in queue.calls for handle in call) == list(range(32))


def test_a_single_one_is_deleted_when_the_linger_is_over() -> None:
    queue = RecordingQueue()
    deleter = a_deleter(queue, linger_seconds=0.01)
    deleter.add(["a"])
    assert queue.called.wait(30)
    deleter.close()
    assert queue.calls == [["a"]]


def test_closing_deletes_what_is_left_whatever_threads_there_are() -> None:
    queue = RecordingQueue()
    deleter = a_deleter(queue, threads=2)
    deleter.add([str(i) for i in range(25)])
    deleter.close()
    assert sorted(int(handle) for call in queue.calls for handle in call) == list(range(25))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("deleter")]


@pytest.mark.parametrize("trouble", [QueueUnavailable("down"), ValueError("an accident")])
def test_a_call_that_fails_does_not_end_the_deleting(trouble: Exception) -> None:
    queue = RecordingQueue(trouble=trouble)
    deleter = a_deleter(queue, linger_seconds=0.001)
    deleter.add(["a"])
    assert queue.called.wait(30)
    queue.trouble = None
    deleter.add(["b"])
    deleter.close()
    assert queue.calls[-1] == ["b"]
