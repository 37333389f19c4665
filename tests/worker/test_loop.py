"""The worker's request loop: what is answered, what is dropped, what goes back on the queue, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import boto3
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
from waypost.worker.loop import LoopLimits, WorkerLoop
from waypost.worker.settlement import AGAIN_SECONDS, MAX_RECEIVES

OURS = Keyring([MessageKey("2025", b"a new secret of ours!")])
FOREIGN = Keyring([MessageKey("2025", b"not a secret of ours!")])
GATEWAY, GONE = "gateway:8090", "gone:8091"


@dataclass
class RecordingAnswerer:
    """The only release, 7: answers everything, unless `trouble` finds a reason to raise."""

    model_version: int | None = 7
    instead: Answerer | None = None
    trouble: Callable[[Sequence[Question]], None] = lambda questions: None
    calls: list[list[AppKey]] = field(default_factory=list)  # the users of each call
    unanswered_calls: int = 0

    def share_out(self, request_ids: Sequence[str], may_try: bool = True) -> list[tuple[Answerer, list[int]]]:
        return [(self, list(range(len(request_ids))))]

    def unanswered(self) -> None:
        self.unanswered_calls += 1

    def answer(self, questions: Sequence[Question], stages: StageTimer, patience: float | None = None) -> list[Answer]:
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
    names = {field.name for field in fields(LoopLimits)}
    limits = {"long_poll_seconds": 0.02, "linger_seconds": 0.002, **different}
    options = {"ready": lambda: True, **{name: value for name, value in different.items() if name not in names}}
    chosen = LoopLimits(**{name: value for name, value in limits.items() if name in names})
    return WorkerLoop(queue, OURS, answerer, sender, metrics, limits=chosen, **options)


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
        worker = a_worker(batch=64, receivers=1, answering_threads=1)
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

    def test_the_stages_of_an_answer_add_up_to_its_whole_time(self) -> None:
        worker = a_worker(
            wrap=lambda sender: LookingSender(sender, lambda: worker.clock.sleep(0.07)),
            fault=parse_fault("decode:30:7"),
            receivers=1,
        )
        worker.answerer.trouble = lambda questions: worker.clock.sleep(0.05)
        worker.queue.send([a_message(user_id=i, seconds=5) for i in range(3)])
        worker.clock.sleep(0.25)
        worker.run_until(lambda: worker.outcomes("answered") == 3)
        labels = {"model_version": "7", "version": "0.1.0"}
        stages = sum(
            worker.metric("waypost_worker_stage_seconds_sum", stage=stage, **labels)
            for stage in ("queue_wait", "decode", "lookup", "tokenize", "infer", "encode", "reply")
        )
        whole = worker.metric("waypost_worker_request_seconds_sum", source="graphsage", **labels)
        assert whole == pytest.approx(stages)
        assert whole >= 3 * (0.25 + 0.03 + 0.05 + 0.07)

    def test_the_age_of_every_delivery_is_told_whatever_becomes_of_it(self) -> None:
        worker = a_worker(receivers=1)
        worker.queue.send([a_message(user_id=1, seconds=1), a_message(user_id=2, seconds=9), signed(b"not JSON")])
        worker.queue.send([a_message(user_id=2, seconds=9)])
        worker.clock.sleep(5)
        worker.run_until(lambda: worker.is_drained)
        for outcome in ("expired", "answered", "rejected", "duplicate"):
            labels = {"outcome": outcome, "version": "0.1.0"}
            assert worker.metric("waypost_worker_delivery_age_seconds_count", **labels) == 1, outcome
            assert worker.metric("waypost_worker_delivery_age_seconds_sum", **labels) == pytest.approx(5), outcome
        waited = {"stage": "queue_wait", "model_version": "7", "version": "0.1.0"}
        assert worker.metric("waypost_worker_stage_seconds_count", **waited) == 1, "stages are of answers only"

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


class TestDuplicates:
    def test_what_comes_again_after_its_delete_is_answered_once(self) -> None:
        worker = a_worker()
        worker.queue.send([a_message(user_id=1, seconds=5)])
        with running(worker.loop):
            eventually(lambda: worker.is_drained)
            worker.queue.send([a_message(user_id=1, seconds=5)])
            eventually(lambda: worker.outcomes("duplicate") == 1)
            eventually(lambda: worker.is_drained)
        assert worker.answerer.calls == [[1]]
        assert worker.answered_users == [1]

    def test_what_comes_again_while_it_is_answered_is_deleted_with_the_first_and_not_before(self) -> None:
        worker, go_on = a_worker(), threading.Event()
        worker.answerer.trouble = lambda questions: hold(go_on)
        worker.queue.send([a_message(user_id=1, seconds=5), a_message(user_id=1, seconds=5)])
        with running(worker.loop):
            eventually(lambda: worker.outcomes("duplicate") == 1)
            assert worker.queue.depth().in_flight == 2
            go_on.set()
            eventually(lambda: worker.is_drained)
        assert worker.answered_users == [1]

    def test_what_comes_again_of_a_request_that_goes_back_goes_back_too(self) -> None:
        down = threading.Event()
        down.set()

        def trouble(questions: Sequence[Question]) -> None:
            if down.is_set():
                eventually(lambda: worker.outcomes("duplicate") == 1)
                down.clear()
                raise TritonUnavailable("connection refused")

        worker = a_worker(answerer=RecordingAnswerer(trouble=trouble))
        worker.queue.send([a_message(user_id=1, seconds=5), a_message(user_id=1, seconds=5)])
        worker.run_until(lambda: worker.is_drained)
        assert worker.outcomes("released") == 2
        assert worker.answered_users == [1]


class TestDeadLetters:
    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (signed(b"not JSON"), "the message is not JSON"),
            (a_message(user_id=987_654, keyring=FOREIGN), "the signature does not fit the message"),
            (OutgoingMessage(b"{}", {}), "the message is not signed"),
            (a_message(user_id=987_654, reply_to="http://evil.example/"), "the reply address is not one of ours"),
        ],
        ids=["malformed", "foreign", "unsigned", "reply address"],
    )
    def test_what_can_never_be_answered_is_a_dead_letter_at_once_with_its_reason(
        self, bad: OutgoingMessage, reason: str
    ) -> None:
        dead = MemoryQueue(ManualClock())
        worker = a_worker(dead_letters=dead)
        worker.queue.send([bad])
        worker.run_until(lambda: worker.is_drained)
        (letter,) = dead.receive(10, 0)
        assert (letter.body, letter.attributes["reason"]) == (bad.body, reason)
        assert letter.attributes.items() >= bad.attributes.items()
        assert worker.replies == []
        assert worker.metric("waypost_worker_dead_letters_total") == 1

    def test_what_fails_by_an_accident_is_one_after_three_receives_and_its_reason_names_no_user(self) -> None:
        def trouble(questions: Sequence[Question]) -> None:
            raise ValueError(f"user {questions[0].user_id} is odd")

        dead = MemoryQueue(ManualClock())
        worker = a_worker(answerer=RecordingAnswerer(trouble=trouble), dead_letters=dead)
        worker.queue.send([a_message(user_id=987_654, seconds=5)])
        worker.run_until(lambda: worker.is_drained)
        (letter,) = dead.receive(10, 0)
        assert letter.attributes["reason"] == "ValueError"
        assert worker.outcomes("released") == MAX_RECEIVES - 1
        assert worker.outcomes("failed") == 1

    def test_what_the_dead_letter_queue_does_not_take_stays_where_it_is(self) -> None:
        dead = MemoryQueue(ManualClock(), reachable=False)
        worker = a_worker(dead_letters=dead)
        worker.queue.send([signed(b"not JSON")])
        worker.run_until(lambda: worker.metric("waypost_worker_unavailable_total", part="dead_letters") == 1)
        assert worker.queue.depth().in_flight == 1


class TestHeartbeat:
    def test_slow_work_stays_hidden_from_other_workers(self) -> None:
        go_on = threading.Event()
        worker = a_worker(visibility_seconds=4, heartbeat_seconds=0.001)
        worker.queue.visibility_timeout_seconds = 4
        worker.answerer.trouble = lambda questions: hold(go_on)
        worker.queue.send([a_message(user_id=1, seconds=9)])
        with running(worker.loop):
            eventually(lambda: len(worker.answerer.calls) == 1)
            for extended in (1, 2):
                worker.clock.sleep(2.5)
                eventually(lambda n=extended: worker.metric("waypost_worker_extended_total") == n)  # type: ignore[misc]
            assert worker.queue.depth().visible == 0
            go_on.set()
            eventually(lambda: worker.is_drained)
        assert worker.answered_users == [1]

    def test_in_the_ordinary_case_nothing_is_extended(self) -> None:
        worker = a_worker(visibility_seconds=4, heartbeat_seconds=0.001)
        worker.queue.send([a_message(user_id=i) for i in range(50)])
        worker.run_until(lambda: worker.is_drained)
        assert worker.metric("waypost_worker_extended_total") == 0


class TestTrial:
    def test_a_canary_that_hangs_holds_up_nobody_else(self) -> None:
        hangs = threading.Event()
        canary = RecordingAnswerer(model_version=8, trouble=lambda questions: hold(hangs))
        served = RecordingAnswerer()
        canary.instead = served
        worker = a_worker(answerer=TwoReleases(served=served, canary=canary), answering_threads=1)
        worker.queue.send([a_message(user_id=i, seconds=5) for i in range(2)])
        with running(worker.loop):
            eventually(lambda: len(canary.calls) == 1)
            worker.queue.send([a_message(user_id=i, seconds=5) for i in range(2, 42)])
            eventually(lambda: len(worker.replies) >= 40)
            assert len(canary.calls) == 1
            hangs.set()
        assert sorted(worker.answered_users, key=int) == list(range(42))


@dataclass
class TwoReleases(RecordingAnswerer):
    """Every other request is the canary's."""

    served: RecordingAnswerer = field(default_factory=RecordingAnswerer)
    canary: RecordingAnswerer = field(default_factory=RecordingAnswerer)

    def share_out(self, request_ids: Sequence[str], may_try: bool = True) -> list[tuple[Answerer, list[int]]]:
        positions = list(range(len(request_ids)))
        shared: list[tuple[Answerer, list[int]]] = [(self.canary, positions[1::2]), (self.served, positions[::2])]
        return [(answerer, part) for answerer, part in shared if part]


class TestOverload:
    def test_what_became_too_late_in_the_pool_is_dropped_before_the_call(self) -> None:
        go_on = threading.Event()
        worker = a_worker(batch=1, answering_threads=1, receivers=1)
        worker.answerer.trouble = lambda questions: hold(go_on)
        worker.queue.send([a_message(user_id=i) for i in range(5)])
        with running(worker.loop):
            eventually(lambda: len(worker.answerer.calls) == 1 and worker.queue.depth().in_flight == 5)
            worker.clock.sleep(2)
            go_on.set()
            eventually(lambda: worker.is_drained)
        assert len(worker.answerer.calls) == 1
        assert worker.outcomes("expired") == 4

    def test_it_is_looked_at_again_right_before_the_call(self) -> None:
        worker = a_worker(fault=parse_fault("queue_wait:1200:7"))  # lost between the taking and the call
        worker.queue.send([a_message(user_id=1, seconds=1.0), a_message(user_id=2, seconds=9.0)])
        worker.run_until(lambda: worker.is_drained)
        assert worker.answerer.calls == [[2]]
        assert worker.outcomes("expired") == 1

    def test_with_more_work_than_time_the_newest_are_answered(self) -> None:
        worker = a_worker(max_requests_per_second=10, answering_threads=1, receivers=1)
        worker.queue.send([a_message(user_id=i, seconds=1.0) for i in range(100)])
        worker.clock.sleep(0.6)
        worker.queue.send([a_message(user_id=1_000, seconds=1.6)])  # of 0.6: it was issued later
        worker.run_until(lambda: worker.is_drained)
        assert len(worker.answered_users) <= 8
        assert 1_000 in worker.answered_users
        assert worker.outcomes("expired") == 101 - len(worker.answered_users)


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
            worker.clock.sleep(AGAIN_SECONDS)
            eventually(lambda: worker.is_drained)
        assert sorted(worker.answered_users) == [1, 2]

    def test_a_message_whose_gateway_is_gone_goes_back_until_it_is_late(self) -> None:
        worker = a_worker()
        worker.queue.send([a_message(user_id=1, reply_to=GONE, seconds=2.5), a_message(user_id=2)])
        with running(worker.loop):
            for tries in (1, 2):
                eventually(lambda tries=tries: worker.outcomes("released") == tries)  # type: ignore[misc]
                eventually(lambda: worker.queue.depth().in_flight == 1)
                worker.clock.sleep(1)
            eventually(lambda: worker.is_drained)  # when it would come a third time, nobody would wait any more
        assert worker.answered_users == [2]
        assert worker.outcomes("expired") == 1

    def test_one_dead_gateway_does_not_hold_up_the_others(self) -> None:
        forever = threading.Event()
        worker = a_worker(wrap=lambda sender: HangingSender(sender, forever), receivers=1)
        worker.queue.send([a_message(user_id=1, reply_to=GONE), *[a_message(user_id=i) for i in range(2, 12)]])
        with running(worker.loop):
            eventually(lambda: len(worker.replies) == 10)
            forever.set()

    def test_stop_gives_back_what_was_received_and_not_begun(self) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def trouble(questions: Sequence[Question]) -> None:
            begun.set()
            go_on.wait()

        worker = a_worker(answerer=RecordingAnswerer(trouble=trouble), batch=1, answering_threads=1)
        worker.queue.send([a_message(user_id=i) for i in range(30)])
        with running(worker.loop):
            begun.wait()
            eventually(lambda: worker.queue.depth().in_flight > 10)
            worker.loop.stop()
            eventually(lambda: worker.queue.depth().in_flight == 1)  # soon, not after what was begun
            go_on.set()
        assert len(worker.replies) == 1  # what was begun is answered
        depth = worker.queue.depth()
        assert (depth.visible, depth.in_flight) == (29, 0)

    def test_what_a_long_poll_still_brings_after_stop_is_answered(self) -> None:
        queue = SlowQueue(ManualClock())
        worker = a_worker(queue=queue, receivers=1)
        queue.send([a_message()])
        with running(worker.loop):
            queue.polling.wait()
            worker.loop.stop()
            queue.arrives.set()
        assert worker.is_drained
        assert worker.answered_users == [42]

    @pytest.mark.parametrize("error", [TritonUnavailable("connection refused"), ValueError("an accident")])
    def test_a_stopping_worker_spends_one_of_three_receives_on_what_it_cannot_answer(self, error: Exception) -> None:
        def trouble(questions: Sequence[Question]) -> None:
            raise error

        queue = PollingQueue(ManualClock(), polls=6)
        worker = a_worker(queue=queue, answerer=RecordingAnswerer(trouble=trouble), receivers=6)
        with running(worker.loop):
            eventually(lambda: queue.polling == 6)
            worker.loop.stop()
            queue.send([a_message(seconds=5)])  # to one poll; given back at once it would come to the next
            eventually(lambda: len(worker.answerer.calls) == 1)
            queue.go_on.set()
        assert queue.depth().visible == 1
        (again,) = queue.receive(10, 0)
        assert again.receive_count == 2


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


class PollingQueue(MemoryQueue):
    """Its first polls wait as long as nothing comes and they are not let go on."""

    def __init__(self, clock: ManualClock, polls: int) -> None:
        super().__init__(clock)
        self.polls, self.polling, self.go_on = polls, 0, threading.Event()

    def receive(self, most: int, wait_seconds: float) -> list[Delivery]:
        with self._changed:
            self.polling += 1
            waits = self.polling <= self.polls
        while True:
            over = not waits or self.go_on.wait(0.002)
            if (found := super().receive(most, 0)) or over:
                return found


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

    def test_a_delete_that_fails_brings_the_message_again_and_it_is_recognised(self) -> None:
        queue = ForgetfulQueue(ManualClock(), visibility_timeout_seconds=2)
        worker = a_worker(queue=queue)
        queue.send([a_message(seconds=9)])
        with running(worker.loop):
            eventually(lambda: len(worker.replies) == 1 and queue.refused == 1)
            queue.visible_again()
            eventually(lambda: worker.is_drained)
        assert worker.answered_users == [42]
        assert worker.outcomes("duplicate") == 1


class ForgetfulQueue(MemoryQueue):
    """Refuses the first delete."""

    def __init__(self, clock: ManualClock, visibility_timeout_seconds: float) -> None:
        super().__init__(clock, visibility_timeout_seconds)
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


def test_the_loop_lives_on_real_sqs(sqs: SqsQueue, aws_access: AwsAccess, request_queue_url: str) -> None:
    dead_url = f"{request_queue_url}-dead"
    replies: list[Reply] = []
    sender = MemoryReplySender(ReplyResolver("localhost"), OURS)
    sender.connect(GATEWAY, replies.extend)
    loop = a_loop(
        sqs, RecordingAnswerer(), sender, WorkerMetrics(),
        clock=ManualClock(), long_poll_seconds=1, dead_letters=SqsQueue(aws_access, dead_url),
    )  # fmt: skip
    sqs.send([signed(b"not JSON"), *[a_message(user_id=i, seconds=9) for i in range(25)], a_message(keyring=FOREIGN)])
    with running(loop):
        eventually(lambda: len(replies) == 25)
    assert sorted(reply.user_id for reply in replies) == list(range(25))
    assert sqs.depth().visible == sqs.depth().in_flight == 0
    assert reasons(aws_access, dead_url) == {"the message is not JSON", "the signature does not fit the message"}


def reasons(access: AwsAccess, url: str) -> set[str]:
    """Of all dead letters."""
    client = boto3.client(
        "sqs", endpoint_url=access.endpoint_url, region_name=access.region,
        aws_access_key_id=access.access_key_id, aws_secret_access_key=access.secret_access_key,
    )  # fmt: skip
    found = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["reason"])
    return {message["MessageAttributes"]["reason"]["StringValue"] for message in found["Messages"]}
