"""The worker's request loop: what is answered, what is dropped, what goes back on the queue, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from waypost.clock import ManualClock
from waypost.errors import GatewayUnavailable, MalformedMessage, QueueUnavailable, TritonUnavailable
from waypost.faults import parse_fault
from waypost.metrics import WorkerMetrics
from waypost.questions import Answer, AppKey, Question
from waypost.queueing.memory import MemoryQueue
from waypost.queueing.messages import RecommendMessage, encode
from waypost.queueing.protocols import Delivery, OutgoingMessage, RequestQueue
from waypost.queueing.replies import MemoryReplySender, Reply, ReplyResolver, ReplySender
from waypost.queueing.signing import Keyring, MessageKey
from waypost.queueing.sqs import SqsQueue
from waypost.settings import AwsAccess
from waypost.stages import StageTimer
from waypost.worker.answerer import Answerer, Answerers
from waypost.worker.loop import TRITON_DOWN_SECONDS, WorkerLoop

OURS = Keyring([MessageKey("2025", b"a new secret of ours!")])
FOREIGN = Keyring([MessageKey("2025", b"not a secret of ours!")])
GATEWAY, GONE = "gateway:8090", "gone:8091"


@dataclass
class RecordingAnswerer:
    """The only release, 7: answers everything, unless `trouble` finds a reason to raise."""

    model_version: int | None = 7
    trouble: Callable[[Sequence[Question]], None] = lambda questions: None
    calls: list[list[AppKey]] = field(default_factory=list)  # the users of each call
    unanswered_calls: int = 0

    def share_out(self, request_ids: Sequence[str]) -> list[tuple[Answerer, list[int]]]:
        return [(self, list(range(len(request_ids))))]

    def unanswered(self) -> None:
        self.unanswered_calls += 1

    def answer(self, questions: Sequence[Question], stages: StageTimer) -> list[Answer]:
        self.calls.append([question.user_id for question in questions])
        with stages.time("infer"):
            self.trouble(questions)
        return [Answer(self.model_version, "graphsage", ((question.user_id, 0.5),)) for question in questions]


@dataclass
class Worker:
    """A loop on the twins; `run_until` runs it in a thread of its own until a condition holds."""

    queue: MemoryQueue
    clock: ManualClock
    answerer: RecordingAnswerer
    metrics: WorkerMetrics
    loop: WorkerLoop
    replies: list[Reply]

    def run_until(self, condition: Callable[[], bool]) -> None:
        with running(self.loop):
            eventually(condition)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def outcomes(self, outcome: str) -> float:
        return self.metric("waypost_worker_messages_total", outcome=outcome)

    @property
    def answered_users(self) -> list[AppKey]:
        return [reply.user_id for reply in self.replies]

    @property
    def is_drained(self) -> bool:
        depth = self.queue.depth()
        return (depth.visible, depth.in_flight) == (0, 0)


def a_worker(
    queue: MemoryQueue | None = None,
    answerer: RecordingAnswerer | None = None,
    wrap: Callable[[ReplySender], ReplySender] = lambda sender: sender,
    **different: Any,
) -> Worker:
    clock = ManualClock()
    queue = queue or MemoryQueue(clock)
    answerer, metrics, replies = answerer or RecordingAnswerer(), WorkerMetrics(), list[Reply]()
    sender = MemoryReplySender(ReplyResolver("localhost"), OURS)
    sender.connect(GATEWAY, replies.extend)
    loop = a_loop(queue, answerer, wrap(sender), metrics, clock=clock, **different)
    return Worker(queue, clock, answerer, metrics, loop, replies)


def a_loop(
    queue: RequestQueue, answerer: Answerers, sender: ReplySender, metrics: WorkerMetrics, **different: Any
) -> WorkerLoop:
    options = {"ready": lambda: True, "batch": 64, "receivers": 2, "long_poll_seconds": 0.02, **different}
    return WorkerLoop(queue, OURS, answerer, sender, metrics, **options)


class running:  # noqa: N801  read as a verb in a with statement
    def __init__(self, loop: WorkerLoop) -> None:
        self._loop, self._thread = loop, threading.Thread(target=loop.run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._loop.stop()
        self._thread.join()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it holds; the test's own timeout is the limit."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.002)


def a_message(
    user_id: int = 42, reply_to: str = GATEWAY, seconds: float = 1.0, keyring: Keyring = OURS
) -> OutgoingMessage:
    now = ManualClock().now()
    return signed(encode(RecommendMessage(Question(user_id), f"r{user_id}", now, now + seconds, reply_to)), keyring)


def signed(body: bytes, keyring: Keyring = OURS) -> OutgoingMessage:
    signature = keyring.sign(body)
    return OutgoingMessage(body, {"signature": signature.value, "key_id": signature.key_id})


class TestAnswering:
    def test_a_message_is_answered_and_deleted(self) -> None:
        worker = a_worker()
        worker.queue.send([a_message(user_id=42)])
        worker.run_until(lambda: worker.is_drained)
        assert worker.replies == [Reply("r42", 42, Answer(7, "graphsage", ((42, 0.5),)))]
        assert worker.outcomes("answered") == 1

    def test_all_in_hand_are_answered_by_one_call(self) -> None:
        worker = a_worker(batch=64, receivers=1)
        first_call = threading.Event()
        worker.answerer.trouble = lambda questions: hold(first_call)
        worker.queue.send([a_message(user_id=0)])
        with running(worker.loop):
            eventually(lambda: len(worker.answerer.calls) == 1)
            worker.queue.send([a_message(user_id=i) for i in range(1, 31)])
            eventually(lambda: worker.queue.depth().visible == 0)
            first_call.set()
            eventually(lambda: worker.is_drained)
        assert [len(call) for call in worker.answerer.calls][:1] == [1]
        assert max(len(call) for call in worker.answerer.calls) > 10  # more than one receive
        assert sorted(worker.answered_users) == list(range(31))

    def test_no_call_is_larger_than_the_batch(self) -> None:
        worker = a_worker(batch=4)
        worker.queue.send([a_message(user_id=i) for i in range(30)])
        worker.run_until(lambda: worker.is_drained)
        assert max(len(call) for call in worker.answerer.calls) <= 4
        assert sorted(worker.answered_users) == list(range(30))

    def test_every_stage_is_measured_for_the_answers_version(self) -> None:
        worker = a_worker()
        worker.queue.send([a_message()])
        worker.run_until(lambda: worker.outcomes("answered") == 1)
        for stage in ("queue_wait", "decode", "infer", "reply"):
            labels = {"stage": stage, "model_version": "7", "version": "0.1.0"}
            assert worker.metric("waypost_worker_stage_seconds_count", **labels) == 1, stage

    def test_the_delete_comes_after_the_reply(self) -> None:
        worker = a_worker(
            wrap=lambda sender: LookingSender(sender, lambda: seen.append(worker.queue.depth().in_flight))
        )
        seen: list[int] = []
        worker.queue.send([a_message()])
        worker.run_until(lambda: worker.is_drained)
        assert seen == [1]

    def test_a_fault_on_purpose_slows_its_stage_and_version(self) -> None:
        for version, expected in (("7", 0.3), ("8", 0.0)):
            worker = a_worker(fault=parse_fault(f"infer:300:{version}"))
            worker.queue.send([a_message()])
            worker.run_until(lambda worker=worker: worker.outcomes("answered") == 1)  # type: ignore[misc]
            labels = {"stage": "infer", "model_version": "7", "version": "0.1.0"}
            assert worker.metric("waypost_worker_stage_seconds_sum", **labels) == pytest.approx(expected)


@dataclass
class LookingSender:
    sender: ReplySender
    look: Callable[[], None]

    def send(self, reply_to: str, replies: Sequence[Reply]) -> None:
        self.look()
        self.sender.send(reply_to, replies)


def hold(until: threading.Event) -> None:
    until.wait()


class TestDropping:
    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (signed(b"not JSON"), "MalformedMessage"),
            (signed(b'{"hello":"from another application"}'), "MalformedMessage"),
            (OutgoingMessage(b'{"hello":"from another application"}', {}), "BadSignature"),
            (a_message(keyring=FOREIGN), "BadSignature"),
            (OutgoingMessage(a_message(1).body, a_message(2).attributes), "BadSignature"),
            (a_message(seconds=-0.001), "ExpiredMessage"),
            (a_message(reply_to="http://evil.example/"), "MalformedMessage"),
            (a_message(reply_to="evil.example"), "MalformedMessage"),
        ],
        ids=["not JSON", "not ours", "unsigned", "foreign key", "another's signature", "late", "URL", "foreign host"],
    )
    def test_a_bad_message_is_counted_and_deleted_and_the_next_one_answered(
        self, bad: OutgoingMessage, reason: str
    ) -> None:
        worker = a_worker(receivers=1)
        worker.queue.send([bad, a_message(user_id=7)])
        worker.run_until(lambda: worker.is_drained)
        assert worker.answered_users == [7]
        assert worker.metric("waypost_worker_rejected_total", reason=reason) == 1

    def test_what_is_late_is_never_shown_to_the_model(self) -> None:
        worker = a_worker()
        worker.queue.send([a_message(user_id=1, seconds=1.0), a_message(user_id=2, seconds=9.0)])
        worker.clock.sleep(5)
        worker.run_until(lambda: worker.is_drained)
        assert worker.answerer.calls == [[2]]
        assert worker.outcomes("expired") == 1

    @pytest.mark.parametrize("error", [MalformedMessage("never"), ValueError("an accident")])
    def test_one_question_that_cannot_be_answered_spoils_no_other(self, error: Exception) -> None:
        def trouble(questions: Sequence[Question]) -> None:
            if any(question.user_id == 13 for question in questions):
                raise error

        worker = a_worker(answerer=RecordingAnswerer(trouble=trouble), receivers=1)
        worker.queue.send([a_message(user_id=i) for i in range(10, 16)])
        worker.run_until(lambda: worker.is_drained)
        assert sorted(worker.answered_users) == [10, 11, 12, 14, 15]
        assert worker.outcomes("rejected") + worker.outcomes("failed") == 1


class TestGoingBack:
    def test_messages_stay_on_the_queue_while_triton_is_unavailable(self) -> None:
        down = threading.Event()
        down.set()

        def trouble(questions: Sequence[Question]) -> None:
            if down.is_set():
                raise TritonUnavailable("connection refused")

        worker = a_worker(answerer=RecordingAnswerer(trouble=trouble))
        worker.queue.send([a_message(user_id=1, seconds=5), a_message(user_id=2, seconds=5)])
        with running(worker.loop):
            eventually(lambda: worker.metric("waypost_worker_unavailable_total", part="triton") >= 1)
            assert worker.replies == []
            down.clear()
            worker.clock.sleep(TRITON_DOWN_SECONDS)
            eventually(lambda: worker.is_drained)
        assert sorted(worker.answered_users) == [1, 2]

    def test_a_message_whose_gateway_is_gone_goes_back_until_it_is_late(self) -> None:
        worker = a_worker()
        worker.queue.send([a_message(user_id=1, reply_to=GONE, seconds=1.5), a_message(user_id=2)])
        with running(worker.loop):
            for tries in (1, 2):
                eventually(lambda tries=tries: worker.outcomes("released") == tries)  # type: ignore[misc]
                eventually(lambda: worker.queue.depth().in_flight == 1)
                worker.clock.sleep(1)
            eventually(lambda: worker.is_drained)
        assert worker.answered_users == [2]
        assert worker.outcomes("expired") == 1

    def test_one_dead_gateway_does_not_hold_up_the_others(self) -> None:
        forever = threading.Event()
        worker = a_worker(wrap=lambda sender: HangingSender(sender, forever), receivers=1, batch=1)
        worker.queue.send([a_message(user_id=1, reply_to=GONE), *[a_message(user_id=i) for i in range(2, 12)]])
        with running(worker.loop):
            eventually(lambda: len(worker.replies) == 10)
            forever.set()

    def test_stop_gives_back_what_was_received_and_not_begun(self) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def trouble(questions: Sequence[Question]) -> None:
            begun.set()
            go_on.wait()

        worker = a_worker(answerer=RecordingAnswerer(trouble=trouble), batch=1)
        worker.queue.send([a_message(user_id=i) for i in range(30)])
        with running(worker.loop):
            begun.wait()
            eventually(lambda: worker.queue.depth().in_flight > 10)
            worker.loop.stop()
            go_on.set()
        assert len(worker.replies) == 1  # what was begun is answered
        depth = worker.queue.depth()
        assert (depth.visible, depth.in_flight) == (29, 0)

    def test_stop_gives_back_what_a_long_poll_still_brings(self) -> None:
        queue = SlowQueue(ManualClock())
        worker = a_worker(queue=queue, receivers=1)
        queue.send([a_message()])
        with running(worker.loop):
            queue.polling.wait()
            worker.loop.stop()
            queue.arrives.set()
        assert (queue.depth().visible, worker.replies) == (1, [])


@dataclass
class HangingSender:
    """Hangs on the gateway that is gone until it is let go."""

    sender: ReplySender
    forever: threading.Event

    def send(self, reply_to: str, replies: Sequence[Reply]) -> None:
        if reply_to == GONE:
            self.forever.wait()
            raise GatewayUnavailable("gone")
        self.sender.send(reply_to, replies)


class SlowQueue(MemoryQueue):
    """Its messages arrive when they are let."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.polling, self.arrives = threading.Event(), threading.Event()

    def receive(self, most: int, wait_seconds: float) -> list[Delivery]:
        self.polling.set()
        self.arrives.wait()
        return super().receive(most, 0)


class TestPausing:
    def test_nothing_is_received_until_a_release_is_served(self) -> None:
        ready = threading.Event()
        asked = threading.Event()

        def is_ready() -> bool:
            asked.set()
            return ready.is_set()

        worker = a_worker(ready=is_ready)
        worker.queue.send([a_message()])
        with running(worker.loop):
            asked.wait()
            assert worker.queue.depth().visible == 1
            ready.set()
            eventually(lambda: worker.is_drained)
        assert worker.answered_users == [42]

    def test_a_queue_that_is_down_is_looked_for_again(self) -> None:
        queue = MemoryQueue(ManualClock(), reachable=False)
        worker = a_worker(queue=queue)
        with running(worker.loop):
            eventually(lambda: worker.metric("waypost_worker_unavailable_total", part="queue") >= 1)
            queue.reachable = True
            queue.send([a_message()])
            eventually(lambda: worker.is_drained)
        assert worker.answered_users == [42]

    def test_a_delete_that_fails_brings_the_message_again_and_the_reply_twice(self) -> None:
        queue = ForgetfulQueue(ManualClock())
        worker = a_worker(queue=queue)
        queue.send([a_message(seconds=100)])
        with running(worker.loop):
            eventually(lambda: len(worker.replies) == 1 and queue.refused == 1)
            queue.visible_again()
            eventually(lambda: worker.is_drained)
        assert worker.answered_users == [42, 42]


class ForgetfulQueue(MemoryQueue):
    """Refuses the first delete."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.refused = 0
        self._manual = clock

    def delete(self, receipt_handles: Sequence[str]) -> None:
        if not self.refused:
            self.refused = 1
            raise QueueUnavailable("connection reset")
        super().delete(receipt_handles)

    def visible_again(self) -> None:
        self._manual.sleep(self.visibility_timeout_seconds + 1)


class TestHealth:
    def test_the_loop_is_alive_before_while_and_after_it_runs(self) -> None:
        worker = a_worker()
        assert worker.loop.alive
        with running(worker.loop):
            assert worker.loop.alive
        assert worker.loop.alive

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_receiver_that_died_of_an_accident_is_noticed(self) -> None:
        worker = a_worker(queue=BrokenQueue(ManualClock()), receivers=1)
        with running(worker.loop):
            eventually(lambda: not worker.loop.alive)


class BrokenQueue(MemoryQueue):
    def receive(self, most: int, wait_seconds: float) -> list[Delivery]:
        raise SystemExit  # ends a thread without a word


@pytest.fixture
def sqs(aws_access: AwsAccess, request_queue_url: str) -> SqsQueue:
    return SqsQueue(aws_access, request_queue_url)


def test_the_loop_lives_on_real_sqs(sqs: SqsQueue) -> None:
    replies: list[Reply] = []
    sender = MemoryReplySender(ReplyResolver("localhost"), OURS)
    sender.connect(GATEWAY, replies.extend)
    loop = a_loop(sqs, RecordingAnswerer(), sender, WorkerMetrics(), clock=ManualClock(), long_poll_seconds=1)
    sqs.send([signed(b"not JSON"), *[a_message(user_id=i) for i in range(25)], a_message(keyring=FOREIGN)])
    with running(loop):
        eventually(lambda: len(replies) == 25)
    assert sorted(reply.user_id for reply in replies) == list(range(25))
    assert sqs.depth().visible == sqs.depth().in_flight == 0
