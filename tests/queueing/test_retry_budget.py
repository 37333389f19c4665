"""Second tries are a share of the first ones, whatever happens."""

from __future__ import annotations

import random

from waypost.queueing.retry_budget import RetryBudget


def test_a_fresh_budget_allows_what_it_has_saved_and_no_more() -> None:
    budget = RetryBudget(share=0.1, saved=3.0)
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]


def test_ten_first_tries_earn_one_second_try() -> None:
    budget = RetryBudget(share=0.1, saved=1.0)
    assert budget.spend()
    for _ in range(9):
        budget.earn()
    assert not budget.spend()
    budget.earn()
    assert budget.spend()
    assert not budget.spend()


def test_nothing_is_saved_beyond_the_limit() -> None:
    budget = RetryBudget(share=0.1, saved=2.0)
    budget.earn(1_000)
    assert [budget.spend() for _ in range(3)] == [True, True, False]


def test_over_any_history_second_tries_stay_within_the_share() -> None:
    choose, budget, first, second = random.Random(3), RetryBudget(), 0, 0
    for _ in range(20_000):
        if choose.random() < 0.4:
            budget.earn()
            first += 1
        else:
            second += budget.spend()
        assert second <= 0.1 * first + 10 + 1e-6
    assert second > 0.09 * first
