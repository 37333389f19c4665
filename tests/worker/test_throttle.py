"""So many answers a second and no more; what is not used is not lost."""

from __future__ import annotations

import pytest

from waypost.clock import ManualClock
from waypost.worker.throttle import Throttle


def test_without_a_rate_it_is_always_open() -> None:
    throttle = Throttle(None, ManualClock())
    assert [throttle.take(64, 1) for _ in range(3)] == [64, 64, 64]


@pytest.mark.parametrize("rate", [0.5, 60, 1_000])
def test_over_time_it_passes_its_rate(rate: float) -> None:
    clock = ManualClock()
    throttle = Throttle(rate, clock)
    passed = 0
    while clock.monotonic() < 1_000 / rate:
        passed += throttle.take(64, 0.02)
    assert passed == pytest.approx(1_000, rel=0.1)


def test_it_waits_no_longer_than_it_may() -> None:
    clock = ManualClock()
    throttle = Throttle(1, clock)
    assert throttle.take(5, 0.02) == 1
    assert throttle.take(5, 0.02) == 0
    assert clock.monotonic() == pytest.approx(0.02)


def test_what_was_not_used_can_be_had_again_at_once() -> None:
    clock = ManualClock()
    throttle = Throttle(100, clock)
    assert throttle.take(64, 0) == 5
    throttle.give_back(3)
    assert throttle.take(64, 0) == 3
