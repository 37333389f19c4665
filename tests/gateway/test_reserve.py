"""What is kept back from a deadline follows what the event loop was late lately, and forgets it again."""

from __future__ import annotations

import pytest

from waypost.clock import ManualClock
from waypost.gateway.reserve import HALVES_IN_SECONDS, LEAST_SECONDS, LEAST_SHARE, MOST_SECONDS, MOST_SHARE, Reserve


def test_an_undisturbed_gateway_keeps_the_least_back() -> None:
    assert Reserve(ManualClock()).seconds(0.25) == LEAST_SECONDS


@pytest.mark.parametrize(("deadline", "kept_back"), [(0.02, 0.02 * LEAST_SHARE), (0.05, LEAST_SECONDS)])
def test_of_a_short_deadline_the_least_is_kept_back_where_it_leaves_anything(deadline: float, kept_back: float) -> None:
    assert Reserve(ManualClock()).seconds(deadline) == kept_back


def test_a_loop_that_was_late_is_reckoned_with_and_forgotten() -> None:
    clock = ManualClock()
    reserve = Reserve(clock)
    reserve.was_late(0.02)
    reserve.was_late(0.001)  # the worst counts
    assert reserve.seconds(1.0) == pytest.approx(LEAST_SECONDS + 0.02)
    clock.sleep(HALVES_IN_SECONDS)
    assert reserve.seconds(1.0) == pytest.approx(LEAST_SECONDS + 0.01)
    clock.sleep(20 * HALVES_IN_SECONDS)
    assert reserve.seconds(1.0) == pytest.approx(LEAST_SECONDS)


def test_one_long_stall_does_not_take_the_models_time_from_everybody() -> None:
    reserve = Reserve(ManualClock())
    reserve.was_late(60.0)
    assert reserve.seconds(10.0) == MOST_SECONDS
    assert reserve.seconds(0.25) == 0.25 * MOST_SHARE
