"""One contract, two clocks."""

from __future__ import annotations

import time

import pytest

from waypost.clock import Clock, ManualClock, SystemClock


@pytest.fixture(params=[SystemClock, ManualClock])
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


class TestClock:
    def test_sleeping_moves_both_times_by_at_least_so_much(self, clock: Clock) -> None:
        now, monotonic = clock.now(), clock.monotonic()
        clock.sleep(0.02)
        assert clock.now() - now >= 0.019
        assert clock.monotonic() - monotonic >= 0.019

    @pytest.mark.parametrize("seconds", [0, -1])
    def test_sleeping_for_nothing_returns_and_never_goes_back(self, clock: Clock, seconds: float) -> None:
        monotonic = clock.monotonic()
        clock.sleep(seconds)
        assert clock.monotonic() >= monotonic

    def test_now_is_seconds_since_the_epoch(self, clock: Clock) -> None:
        assert 1.6e9 < clock.now() < 4e9


def test_a_manual_clock_stands_still_until_somebody_sleeps_on_it() -> None:
    clock = ManualClock(now=5.0)
    time.sleep(0.001)
    assert (clock.now(), clock.monotonic()) == (5.0, 0.0)
    clock.sleep(3)
    assert (clock.now(), clock.monotonic()) == (8.0, 3.0)
