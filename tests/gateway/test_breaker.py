"""The breaker opens for what is dead, not for what is slow, lets little through while it is open, and closes again."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.gateway.breaker import PATIENT_SECONDS, PROBE_SECONDS, Breaker, State

PATIENT, HASTY = 0.225, 0.04  # what is left of a deadline of 250 ms, and of one of 50 ms
NOTICED_SECONDS = 2.0


@dataclass
class World:
    """A queue, a worker and callers around one breaker; requests come evenly, replies after `reply_seconds`."""

    reply_seconds: float | None = 0.03  # None: never
    sends: bool = True
    now: float = 1_000.0
    asked: int = 0
    refused: int = 0
    became: list[State] = field(default_factory=list)
    due: list[float] = field(default_factory=list)  # when replies come

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.became.append)

    def run(self, seconds: float, per_second: float, patience: float = PATIENT) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 1 / per_second
            self._deliver()
            self._ask(patience)

    def _deliver(self) -> None:
        for at in [at for at in self.due if at <= self.now]:
            self.due.remove(at)
            self.breaker.replied(at)

    def _ask(self, patience: float) -> None:
        if not self.breaker.admits(self.now, patience):
            self.refused += 1
            return
        self.asked += 1
        if not self.sends:
            self.breaker.send_failed(self.now)
            return
        self.breaker.sent(self.now)
        if self.reply_seconds is not None and (patience >= PATIENT_SECONDS or self.reply_seconds < patience):
            self.due.append(self.now + self.reply_seconds)


@pytest.mark.parametrize("per_second", [5, 20, 100, 1_000])
def test_a_queue_without_replies_is_noticed_within_two_seconds(per_second: float) -> None:
    world = World()
    world.run(5, per_second)
    assert world.became == []
    world.reply_seconds = None
    world.due.clear()
    world.run(NOTICED_SECONDS, per_second)
    assert world.became == ["open"]


@pytest.mark.parametrize("per_second", [3, 20, 100, 1_000])
def test_failing_sends_are_noticed_within_two_seconds(per_second: float) -> None:
    world = World()
    world.run(5, per_second)
    world.sends = False
    world.due.clear()
    world.run(NOTICED_SECONDS, per_second)
    assert world.became == ["open"]


def test_sends_that_hang_are_noticed_like_replies_that_do_not_come() -> None:
    breaker = Breaker()
    for moment in range(20):
        breaker.admits(moment / 10, 10.0)
    assert breaker.state == "open"


def test_callers_of_long_deadlines_need_not_time_out_before_it_is_noticed() -> None:
    world = World(reply_seconds=None)
    world.run(NOTICED_SECONDS, 20, patience=10)
    assert world.became == ["open"]


@pytest.mark.parametrize("per_second", [5, 50, 500])
def test_a_worker_that_is_slow_for_a_second_is_not_dead(per_second: float) -> None:
    world = World()
    world.run(5, per_second)
    world.reply_seconds = 1.2
    world.run(1.2, per_second)
    world.reply_seconds = 0.03
    world.run(5, per_second)
    assert world.became == []


def test_a_few_requests_without_a_reply_are_not_a_dead_queue() -> None:
    world = World(reply_seconds=None)
    world.run(7 / 2 - 0.1, 2)
    world.reply_seconds = 0.03
    world.run(10, 2)
    assert world.became == []


def test_answers_that_are_all_late_are_a_slow_queue_and_not_a_dead_one() -> None:
    world = World(reply_seconds=0.9)
    world.run(30, 100)
    assert world.became == []


def test_a_tenant_of_tiny_deadlines_does_not_open_it() -> None:
    world = World()
    for _ in range(50):
        world.run(0.2, 200, patience=HASTY / 2)  # the worker drops all of these
    assert world.became == []


def test_single_failed_sends_among_others_do_not_open_it() -> None:
    world = World()
    for _ in range(100):
        world.run(0.1, 100)
        world.sends = False
        world.run(0.02, 100)
        world.sends = True
    assert world.became == []


def test_the_resets_of_one_moment_do_not_open_it() -> None:
    world = World()
    world.run(1, 100)
    world.sends = False
    world.run(0.3, 100)
    world.sends = True
    world.run(5, 100)
    assert world.became == []


@pytest.mark.parametrize("sends", [True, False])
def test_while_it_is_open_two_requests_a_second_are_probes(sends: bool) -> None:
    world = World(reply_seconds=None, sends=sends)
    world.run(NOTICED_SECONDS, 200)
    assert world.became == ["open"]
    world.asked = 0
    world.run(10, 200)
    assert world.asked == pytest.approx(10 / PROBE_SECONDS, abs=1)


def test_where_replies_were_missing_a_request_in_a_hurry_is_seldom_a_probe() -> None:
    world = World(reply_seconds=None)
    world.run(NOTICED_SECONDS, 100)
    world.asked = 0
    world.run(5, 100, patience=HASTY)
    assert world.asked <= 3
    world.asked = 0
    world.run(5, 100)
    assert world.asked == pytest.approx(10, abs=1)


def test_it_closes_too_where_only_callers_in_a_hurry_are_left() -> None:
    world = World(reply_seconds=None)
    world.run(NOTICED_SECONDS, 100)
    world.reply_seconds = HASTY / 2
    world.run(6, 100, patience=HASTY)
    assert world.became == ["open", "recovering", "closed"]


@pytest.mark.parametrize("sends", [True, False])
@pytest.mark.parametrize("per_second", [10, 100, 1_000])
def test_it_closes_by_itself_and_lets_more_and_more_through(per_second: float, sends: bool) -> None:
    world = World(reply_seconds=None, sends=sends)
    world.run(4, per_second)
    assert world.breaker.state == "open"
    world.became.clear()
    world.reply_seconds, world.sends = 0.03, True
    shares = []
    for _ in range(20):
        asked, refused = world.asked, world.refused
        world.run(0.25, per_second)
        shares.append((world.asked - asked) / (world.asked - asked + world.refused - refused))
    assert world.became == ["recovering", "closed"]
    assert shares[-1] == 1.0
    if per_second >= 100:
        assert 0 < shares[2] < 0.5
        assert all(later >= earlier - 0.1 for earlier, later in pairwise(shares[2:]))


def test_failing_sends_alone_heal_by_sends_even_where_every_caller_is_in_a_hurry() -> None:
    world = World(sends=False)
    world.run(NOTICED_SECONDS, 100, patience=HASTY)
    assert world.became == ["open"]
    world.sends, world.reply_seconds = True, None
    world.run(5, 100, patience=HASTY)
    assert world.became == ["open", "recovering", "closed"]


def test_it_opens_again_when_it_dies_while_it_recovers() -> None:
    world = World(reply_seconds=None)
    world.run(3, 100)
    world.reply_seconds = 0.03
    while world.became[-1] == "open":
        world.run(0.05, 100)
    world.sends = False
    world.run(0.5, 100)
    assert world.became == ["open", "recovering", "open"]


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["ask", "hasty", "sent", "failed", "replied"]), st.floats(0.0, 1.0)), max_size=200
)


@given(actions=ACTIONS)
def test_whatever_happened_it_closes_once_all_is_well(actions: list[tuple[str, float]]) -> None:
    world = World()
    for action, seconds in actions:
        world.now += seconds
        match action:
            case "ask":
                world.breaker.admits(world.now, PATIENT)
            case "hasty":
                world.breaker.admits(world.now, HASTY)
            case "sent":
                world.breaker.sent(world.now)
            case "failed":
                world.breaker.send_failed(world.now)
            case _:
                world.breaker.replied(world.now)
    world.run(10, 50)
    assert world.breaker.state == "closed"


@given(actions=ACTIONS)
def test_it_never_opens_while_replies_come(actions: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(), 0.0
    for action, seconds in actions:
        now += seconds
        if action in ("ask", "hasty"):
            breaker.admits(now, PATIENT if action == "ask" else HASTY)
        elif action != "failed":
            breaker.replied(now)
            continue
        breaker.sent(now)
        breaker.replied(now)
    assert breaker.state == "closed"
