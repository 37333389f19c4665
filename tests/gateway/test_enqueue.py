"""How messages gather into batches, and what becomes of those that the queue does not take."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from waypost.clock import SystemClock
from waypost.errors import QueueUnavailable
from waypost.gateway.breaker import Breaker
from waypost.gateway.enqueue import COALESCE_SECONDS, RETRY_SECONDS, Enqueuer
from waypost.gateway.pending import Pending, Waiting
from waypost.metrics import GatewayMetrics
from waypost.questions import Question, TagFilter
from waypost.queueing.memory import MemoryQueue
from waypost.queueing.messages import RecommendMessage, decode
from waypost.queueing.protocols import OutgoingMessage

from .conftest import KEYRING

PATIENT_SECONDS = 30.0
NO_TAGS = TagFilter()


@dataclass
class ScriptedQueue(MemoryQueue):
    """Remembers every send; takes nothing while `down`, waits while `held`, refuses the named requests `refusals`
    times."""

    down: bool = False
    refused: Sequence[str] = ()
    refusals: int = 1_000
    sends: list[list[str]] = field(default_factory=list)
    within: list[float] = field(default_factory=list)  # seconds that each was given
    held: threading.Event = field(default_factory=threading.Event)

    def send(self, messages: Sequence[OutgoingMessage], within_seconds: float = 0) -> frozenset[int]:
        names = [decode(message.body).request_id for message in messages]
        self.sends.append(names)
        self.within.append(within_seconds)
        self.held.wait()
        if self.down:
            raise QueueUnavailable("the queue is down")
        if not (self.refusals and set(names) & set(self.refused)):
            return super().send(messages)
        self.refusals -= 1
        return frozenset(i for i, name in enumerate(names) if name in self.refused)

    @property
    def sizes(self) -> list[int]:
        return list(map(len, self.sends))


@dataclass
class Under:
    """The enqueuer under test, on the event loop that it was made on."""

    queue: ScriptedQueue
    breaker: Breaker = field(default_factory=Breaker)
    metrics: GatewayMetrics = field(default_factory=GatewayMetrics)
    pending: Pending = field(default_factory=Pending)
    coalesce_seconds: float = COALESCE_SECONDS

    def __post_init__(self) -> None:
        self.enqueuer = Enqueuer(
            self.queue, KEYRING, self.pending, SystemClock(), self.breaker, self.metrics, self.coalesce_seconds
        )

    def submit(self, *names: str, seconds: float = PATIENT_SECONDS, tags: TagFilter = NO_TAGS) -> list[Waiting]:
        return [self._submit(name, seconds, tags) for name in names]

    def _submit(self, name: str, seconds: float, tags: TagFilter) -> Waiting:
        waiting, now = self.pending.open(name, 42), SystemClock().now()
        message = RecommendMessage(Question(42, tags=tags), name, now, now + seconds, "gateway")
        self.enqueuer.submit(message, waiting)
        return waiting

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110  what is waited for happens in other threads too
            await asyncio.sleep(0.001)


def run(
    test: Callable[[Under], Awaitable[None]],
    held: bool = False,
    coalesce_seconds: float = COALESCE_SECONDS,
    **queue: object,
) -> Under:
    """Run on a loop of its own, and close."""

    async def whole() -> Under:
        under = Under(ScriptedQueue(**queue), coalesce_seconds=coalesce_seconds)  # type: ignore[arg-type]
        if not held:
            under.queue.held.set()
        await test(under)
        under.queue.held.set()
        await under.enqueuer.close()
        await asyncio.sleep(0)
        return under

    return asyncio.run(whole())


def names(count: int) -> list[str]:
    return [f"request-{i}" for i in range(count)]


class TestBatches:
    def test_what_is_asked_at_one_moment_travels_together(self) -> None:
        async def test(under: Under) -> None:
            waiting = under.submit(*names(7))
            await under.until(lambda: all(one.sent for one in waiting))

        assert run(test).queue.sizes == [7]

    def test_ten_go_at_once_and_no_batch_is_larger(self) -> None:
        async def test(under: Under) -> None:
            waiting = under.submit(*names(23))
            await under.until(lambda: all(one.sent for one in waiting))

        assert sorted(run(test).queue.sizes) == [3, 10, 10]

    def test_behind_a_send_under_way_messages_gather(self) -> None:
        async def test(under: Under) -> None:
            under.submit("first")
            await under.until(lambda: under.queue.sends)
            for name in names(10):
                under.submit(name)
                await asyncio.sleep(0)
            await under.until(lambda: len(under.queue.sends) == 2)

        assert run(test, held=True, coalesce_seconds=PATIENT_SECONDS).queue.sizes == [1, 10]

    def test_what_gathered_goes_as_soon_as_nothing_is_under_way(self) -> None:
        async def test(under: Under) -> None:
            under.submit("first")
            await under.until(lambda: under.queue.sends)
            under.submit("second")
            await asyncio.sleep(0)
            under.submit("third")
            under.queue.held.set()
            await under.until(lambda: len(under.queue.sends) == 2)

        assert run(test, held=True, coalesce_seconds=PATIENT_SECONDS).queue.sizes == [1, 2]

    def test_they_do_not_wait_for_it_to_end(self) -> None:
        async def test(under: Under) -> None:
            under.submit("first")
            await under.until(lambda: under.queue.sends)
            under.submit("second")
            await under.until(lambda: len(under.queue.sends) == 2)  # the first one never ends

        assert run(test, held=True).queue.sizes == [1, 1]

    def test_a_message_whose_caller_waits_no_more_is_not_sent(self) -> None:
        async def test(under: Under) -> None:
            under.submit("late", seconds=-1)
            waiting = under.submit("in time")
            await under.until(lambda: waiting[0].sent)

        assert run(test).queue.sends == [["in time"]]

    def test_a_send_gets_the_time_that_its_callers_have(self) -> None:
        async def test(under: Under) -> None:
            waiting = under.submit("request", seconds=0.2)
            await under.until(lambda: waiting[0].sent)

        (within,) = run(test).queue.within
        assert 0 < within <= 0.2


class TestFailures:
    def test_a_failed_send_is_made_once_more(self) -> None:
        async def test(under: Under) -> None:
            (waiting,) = under.submit("request")
            await under.until(lambda: waiting.sent)
            assert not waiting.outcome.done()

        under = run(test, refused=["request"], refusals=1)
        assert under.queue.sends == [["request"], ["request"]]
        assert under.metrics.send_retries._value.get() == 1

    def test_only_what_the_queue_did_not_take_is_sent_again(self) -> None:
        async def test(under: Under) -> None:
            waiting = under.submit("one", "two", "three")
            await under.until(waiting[1].outcome.done)
            assert [one.outcome.done() for one in waiting] == [False, True, False]
            assert waiting[1].outcome.result() == "queue"

        assert run(test, refused=["two"]).queue.sends == [["one", "two", "three"], ["two"]]

    @pytest.mark.parametrize("count", [20, 400])
    def test_second_tries_stay_within_a_tenth_of_the_first_ones(self, count: int) -> None:
        async def test(under: Under) -> None:
            for name in names(count):
                (waiting,) = under.submit(name)
                await under.until(waiting.outcome.done)
                assert waiting.outcome.result() == "queue"

        assert len(run(test, down=True).queue.sends) <= count + 10 + count // 10

    def test_with_too_little_time_left_nothing_is_sent_again(self) -> None:
        async def test(under: Under) -> None:
            (waiting,) = under.submit("request", seconds=RETRY_SECONDS)
            await under.until(waiting.outcome.done)

        assert len(run(test, down=True).queue.sends) == 1

    def test_the_breaker_hears_of_a_queue_that_is_down(self) -> None:
        async def test(under: Under) -> None:
            while under.breaker.state == "closed":
                under.submit("request")
                await asyncio.sleep(0.02)

        assert run(test, down=True).breaker.state == "open"

    def test_what_no_queue_would_take_says_nothing_about_this_one(self) -> None:
        async def test(under: Under) -> None:
            for _ in range(40):
                (waiting,) = under.submit("request", tags=TagFilter(any=("x" * (1 << 20),)))
                await under.until(waiting.outcome.done)
                assert waiting.outcome.result() == "queue"
                await asyncio.sleep(0.02)

        under = run(test, down=True)
        assert (under.breaker.state, under.queue.sends) == ("closed", [])
