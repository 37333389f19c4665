"""How long a caller still waits, with the clocks of gateway, queue and worker apart by seconds to minutes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from waypost.questions import Question
from waypost.queueing.messages import RecommendMessage
from waypost.queueing.protocols import Delivery
from waypost.worker.lateness import GATEWAY_SECONDS, MAX_SPAN_SECONDS, QUICK_SEND_SECONDS, Lateness

SPAN = 0.225  # what a gateway gives of 250 ms
SKEWS = (-180.0, -1.0, 0.0, 1.0, 180.0)  # seconds


class World:
    """One true time and three clocks: the gateway's and the queue's may be wrong, the worker's began at any moment."""

    def __init__(self, gateway: float = 0.0, queue: float = 0.0) -> None:
        self.gateway, self.queue = gateway, queue
        self.monotonic = -1_000_000.0  # of the worker, as against the true time
        self.lateness = Lateness()

    def left(
        self, issued: float, sent: float, first: float, received: float | None = None, reply_to: str = "gateway-1"
    ) -> float:
        """Seconds that the worker believes are left when the message arrives; all times are true ones."""
        received = first if received is None else received
        at = received + self.monotonic
        issued_at = issued + self.gateway
        message = RecommendMessage(Question(1), "r", issued_at, issued_at + SPAN, reply_to)
        delivery = Delivery(b"", {}, "h", 1, sent + self.queue, first + self.queue)
        self.lateness.received([delivery], at)
        return self.lateness.expires_at(message, delivery, at) - at


@pytest.mark.parametrize(("gateway", "queue"), list(itertools.product(SKEWS, SKEWS)))
def test_a_good_request_is_never_late_and_a_stale_one_always_whatever_the_clocks_say(
    gateway: float, queue: float
) -> None:
    world = World(gateway, queue)
    for i in range(20):  # an ordinary second
        left = world.left(1000 + i, 1000.005 + i, 1000.025 + i)
        assert 0.19 <= left <= SPAN
    assert world.left(1020, 1020.005, 1020.305) < 0, "it stood in the queue"
    assert world.left(1021, 1021.3, 1021.31) < 0, "its send took long"
    assert world.left(1022, 1022.005, 1022.02, received=1023) < 0, "the answer to the receive was held up"
    assert world.left(1020, 1020.005, 1020.02, received=1025) < 0, "delivered again, with the old receive's time"
    assert world.left(1026, 1026.005, 1026.02) > 0.19, "and the next one is in time again"


@pytest.mark.parametrize(("gateway", "queue"), list(itertools.product(SKEWS, SKEWS)))
def test_the_first_message_of_all_is_judged_by_its_time_in_the_queue(gateway: float, queue: float) -> None:
    assert World(gateway, queue).left(1000, 1000.005, 1000.025) > 0.19
    assert World(gateway, queue).left(1000, 1000.005, 1030) < 0


def test_a_new_worker_before_a_backlog_finds_all_of_it_stale_but_its_end() -> None:
    world = World(gateway=60, queue=-60)
    left = [world.left(970 + i, 970.005 + i, 1000) for i in range(30)]
    assert all(seconds < 0 for seconds in left)
    assert world.left(1000, 1000.005, 1000.02) > 0.19


def test_one_gateways_clock_says_nothing_about_anothers() -> None:
    world = World()
    assert world.left(1000 + 180, 1000.005, 1000.02, reply_to="fast") > 0.19
    assert world.left(1000 - 180, 1000.005, 1000.02, reply_to="slow") > 0.19
    assert world.left(1001, 1001.3, 1001.31, reply_to="slow") == pytest.approx(SPAN - 0.31 + 0.3, abs=0.01), (
        "a step of 180 s: its quickest message is this one"
    )


def test_a_gateway_whose_clock_was_put_back_is_believed_again_soon() -> None:
    world = World()
    for i in range(3):
        world.left(1000 + i, 1000.005 + i, 1000.02 + i)
    world.gateway = -30
    times = [1003 + i for i in range(2 * int(GATEWAY_SECONDS) + 2)]
    left = [world.left(time, time + 0.005, time + 0.02) for time in times]
    assert left[0] < 0
    assert left[-1] > 0.19


def test_where_the_clocks_agree_the_way_into_the_queue_counts_whole() -> None:
    world = World()
    assert world.left(1000, 1000.04, 1000.05) == pytest.approx(SPAN - 0.05)
    apart = World(gateway=-1)
    assert apart.left(1000, 1000.04, 1000.05) == pytest.approx(SPAN - 0.01)
    assert QUICK_SEND_SECONDS > 0.04


def test_no_message_has_more_time_than_the_longest_deadline() -> None:
    world = World()
    at = 5.0
    message = RecommendMessage(Question(1), "r", 1000.0, 1_000_000.0, "gateway-1")
    delivery = Delivery(b"", {}, "h", 1, 1000.0, 1000.0)
    world.lateness.received([delivery], at)
    assert world.lateness.expires_at(message, delivery, at) - at <= MAX_SPAN_SECONDS


def test_a_queue_that_does_not_tell_its_first_receive_is_judged_by_its_quickest_message() -> None:
    world = World()
    delivery = Delivery(b"", {}, "h", 1, 1000.0)
    world.lateness.received([delivery], 5.0)
    assert world.lateness.in_queue(delivery, 5.0) == 0
    assert world.lateness.in_queue(replace(delivery, sent_at=999.0), 5.0) == 1.0
