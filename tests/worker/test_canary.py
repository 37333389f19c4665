"""The comparison of a new release with the old one: what passes, what is given up, and which requests take part."""

from __future__ import annotations

from dataclasses import replace

import pytest

from waypost.clock import ManualClock
from waypost.questions import Answer, Question
from waypost.worker.canary import (
    FAILED_CALLS,
    LEAST_SLOW,
    CanaryLimits,
    Comparison,
    Verdict,
    latest_calls,
    overlap,
    takes_part,
)

LIMITS = CanaryLimits(share=0.1, seconds=30, answers=300)


def lists(version: int, count: int = 1, first_post: int = 0, length: int = 20) -> list[Answer]:
    items = tuple((post, 1.0) for post in range(first_post, first_post + length))
    return [Answer(version, "graphsage", items)] * count


QUESTION = Question(1)


class Trial:
    """A comparison, and its two releases answering one question a call."""

    def __init__(self, limits: CanaryLimits = LIMITS) -> None:
        self.clock = ManualClock()
        self.comparison = Comparison(limits, self.clock, latest_calls())

    def new(self, count: int, seconds: float = 0.01, answers: list[Answer] | None = None) -> None:
        for _ in range(count):
            self.comparison.answered_by_new([QUESTION], answers or lists(2), seconds)

    def old(self, count: int, seconds: float = 0.01, answers: list[Answer] | None = None) -> None:
        for _ in range(count):
            self.comparison.answered_by_old(answers or lists(1), seconds)

    def shadows(self, count: int, first_post: int = 0) -> None:
        """So many of the new release's answers compared with lists that begin at `first_post`."""
        self.new(count)
        taken = self.comparison.take_shadows()[:count]
        self.comparison.compared(taken, lists(1, len(taken), first_post))

    def verdict(self) -> Verdict:
        return self.comparison.verdict()


def test_a_trial_runs_until_its_time_is_over_and_then_passes() -> None:
    trial = Trial()
    assert trial.verdict().state == "running"
    trial.clock.sleep(29.9)
    assert trial.verdict().state == "running"
    trial.clock.sleep(0.1)
    assert trial.verdict().state == "passed", "without a request nothing speaks against it"


def test_enough_good_answers_end_it_earlier() -> None:
    trial = Trial()
    trial.old(3_000)
    trial.new(300)
    assert trial.verdict().state == "running", "no list was compared yet"
    trial.shadows(30)
    assert trial.verdict().state == "passed"


def test_a_release_that_does_not_answer_is_given_up_after_two_calls() -> None:
    trial = Trial()
    for _ in range(FAILED_CALLS - 1):
        trial.comparison.failed(1)
    assert trial.verdict().state == "running"
    trial.comparison.failed(1)
    assert trial.verdict() == Verdict("failed", "it failed 2 times in a row")


@pytest.mark.parametrize(("errors", "state"), [(2, "running"), (3, "failed")])
def test_the_share_of_failed_requests_is_limited(errors: int, state: str) -> None:
    limits = replace(LIMITS, max_error_share=0.018)
    trial = Trial(limits)
    trial.new(100)
    for _ in range(errors):
        trial.comparison.failed(1)
        trial.new(1)
    assert trial.verdict().state == state


def test_empty_lists_are_held_against_those_of_the_old_release() -> None:
    empty = lists(2, length=0)
    trial = Trial()
    trial.old(100)
    trial.new(97)
    trial.new(3, answers=empty)
    assert "3.0% of its lists are empty" in trial.verdict().reason
    alike = Trial()
    alike.old(97)
    alike.old(3, answers=lists(1, length=0))
    alike.new(97)
    alike.new(3, answers=empty)
    assert alike.verdict().state == "running"


@pytest.mark.parametrize(("seconds", "state"), [(0.055, "passed"), (0.065, "failed")])
def test_the_p99_is_held_against_that_of_the_old_release(seconds: float, state: str) -> None:
    trial = Trial()
    trial.old(2_000, 0.01)
    trial.new(240, 0.01)
    trial.new(10, seconds)
    trial.clock.sleep(30)
    found = trial.verdict()
    assert found.state == state
    assert state == "passed" or found.reason == "its p99 is 65 ms, 10 ms before it, at most 50 more"


@pytest.mark.parametrize(("slow", "state"), [(LEAST_SLOW - 1, "passed"), (LEAST_SLOW, "failed")])
def test_a_few_slow_calls_of_a_few_are_a_busy_moment(slow: int, state: str) -> None:
    trial = Trial()
    trial.old(100)
    trial.new(30)
    trial.new(slow, 2.0)
    trial.clock.sleep(30)
    assert trial.verdict().state == state


def test_a_slow_release_is_found_by_a_few_calls_of_many_answers_each() -> None:
    """On a busy pod a call answers a batch, and everybody waits for it."""
    trial = Trial(replace(LIMITS, answers=60))
    for seconds in (0.02,) * 100:  # before the trial
        trial.comparison.old.seconds.append(seconds)
    for _ in range(LEAST_SLOW - 1):
        trial.comparison.answered_by_new([QUESTION] * 5, lists(2, 5), 0.3)
        shadows = trial.comparison.take_shadows()
        trial.comparison.compared(shadows, lists(1, len(shadows)))
        assert trial.verdict().state == "running"
    trial.comparison.answered_by_new([QUESTION], lists(2), 0.3)
    assert trial.verdict().reason == "its p99 is 300 ms, 20 ms before it, at most 50 more"


def test_lists_that_have_nothing_in_common_are_given_up() -> None:
    trial = Trial()
    trial.shadows(30, first_post=1_000)
    assert trial.verdict() == Verdict(
        "failed", "its lists share 0.0% of their posts with those before it, at least 2.0%"
    )


def test_popular_and_very_short_lists_are_not_compared() -> None:
    trial = Trial()
    trial.new(5, answers=[replace(lists(2)[0], source="popular")])
    trial.new(5, answers=lists(2, length=4))
    assert trial.comparison.take_shadows() == []
    trial.new(1)
    assert len(trial.comparison.take_shadows()) == 1
    assert trial.comparison.take_shadows() == [], "each question is given once"


def test_overlap_is_the_share_of_the_shorter_list() -> None:
    one, other = lists(1)[0], lists(2, first_post=15)[0]
    assert overlap(one, other) == pytest.approx(5 / 20)
    assert overlap(lists(1, length=5)[0], one) == 1
    assert overlap(lists(1, length=0)[0], one) == 0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_a_hash_of_the_id_chooses_that_share_and_always_the_same(share: float) -> None:
    ids = [f"request-{number}" for number in range(20_000)]
    chosen = [takes_part(one, share) for one in ids]
    assert sum(chosen) / len(ids) == pytest.approx(share, abs=0.01)
    assert chosen == [takes_part(one, share) for one in ids]


def test_a_call_in_ten_that_is_slow_needs_more_calls_to_be_believed() -> None:
    trial = Trial()
    trial.old(100)
    for _ in range(4):
        trial.new(6)
        trial.new(1, 2.0)
    assert trial.verdict().state == "running"
    trial.new(2)
    assert trial.verdict().state == "failed"


def test_a_release_that_ranks_nobody_is_given_up() -> None:
    trial = Trial()
    trial.old(100)
    trial.new(30, answers=[replace(lists(2)[0], source="popular")])
    assert trial.verdict().reason == "100.0% of its lists are popularity, 0.0% before it"
