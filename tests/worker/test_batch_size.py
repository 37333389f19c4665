"""The size of a call follows what calls take and what time requests are given."""

from __future__ import annotations

import pytest

from waypost.worker.batch_size import CALL_SHARE, BatchSize

SPAN = 0.225


def after(calls: int, a_call: float, a_request: float, most: int = 64) -> int:
    """The size after so many full calls of a model that takes so many seconds a call and a request."""
    size = BatchSize(most)
    for _ in range(calls):
        size.called(size.requests, a_call + a_request * size.requests, SPAN)
    return size.requests


def test_a_quick_model_is_asked_for_all_at_once() -> None:
    assert after(100, 0.01, 0.001) == 64


@pytest.mark.parametrize("a_request", [0.002, 0.008, 0.03])
def test_a_slow_one_for_as_many_as_it_answers_in_time(a_request: float) -> None:
    found = after(100, 0.005, a_request)
    right = (CALL_SHARE * SPAN - 0.005) / a_request
    assert 0.6 * right <= found <= 1.3 * right + 1


def test_it_never_asks_for_none() -> None:
    assert after(100, 5.0, 1.0) == 1


def test_one_slow_call_halves_it_at_most_and_it_comes_back() -> None:
    size = BatchSize(64)
    size.called(64, 30.0, SPAN)
    assert 32 <= size.requests < 64
    for _ in range(20):
        size.called(size.requests, 0.01, SPAN)
    assert size.requests == 64


def test_small_calls_say_nothing_about_larger_ones() -> None:
    size = BatchSize(64)
    for _ in range(5):
        size.called(64, 1.0, SPAN)
    small = size.requests
    for _ in range(100):
        size.called(1, 0.001, SPAN)
    assert size.requests == small or small == 1
