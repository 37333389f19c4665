from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.factories import some_tensors
from waypost.graph.tensors import NO_TIME, GraphTensors, Interactions
from waypost.trainer.split import split


def some_interactions(rows: list[tuple[int, int, int]]) -> GraphTensors:
    """(user, post, time) rows, in any order."""
    user, post, time = (np.array(column) for column in zip(*sorted(rows), strict=True))
    kind = np.zeros(len(rows), np.uint8)
    return some_tensors(
        interactions=Interactions(user.astype(np.int32), post.astype(np.int32), kind, time.astype(np.int64))
    )


def with_reports(tensors: GraphTensors, reported: Callable[[Interactions], np.ndarray]) -> GraphTensors:
    """The chosen interactions turned into reports, a kind of weight 0."""
    interactions = tensors.interactions
    kind = reported(interactions).astype(np.uint8)
    return replace(
        tensors,
        kinds=("view", "report"),
        kind_weights=(1.0, 0.0),
        interactions=replace(interactions, kind=kind),
    )


def pairs_of(interactions: Interactions) -> list[tuple[int, int]]:
    return list(zip(interactions.user.tolist(), interactions.post.tolist(), strict=True))


def test_with_times_the_last_share_is_held_out() -> None:
    cut = split(some_interactions([(u % 5, u, 100 + u) for u in range(20)]), share=0.2, seed=0)
    assert cut.temporal
    assert cut.boundary == 116
    assert cut.train.created_at.max() == 115
    assert sorted(cut.holdout_post.tolist()) == [16, 17, 18, 19]


def test_interactions_of_one_moment_stay_together() -> None:
    cut = split(some_interactions([(0, p, 7 if p > 3 else p) for p in range(10)]), share=0.1, seed=0)
    assert sorted(cut.holdout_post.tolist()) == [4, 5, 6, 7, 8, 9]


def test_a_pair_already_in_training_is_no_test_and_a_pair_counts_once() -> None:
    rows = [(1, 1, 1), (1, 2, 2), (2, 5, 3), (3, 6, 4), (1, 1, 10), (1, 3, 10), (1, 3, 11)]
    cut = split(some_interactions(rows), share=0.4, seed=0)
    assert list(zip(cut.holdout_user.tolist(), cut.holdout_post.tolist(), strict=True)) == [(1, 3)]


def test_without_times_a_share_of_every_users_posts_is_held_out() -> None:
    tensors = some_interactions([(u, p, NO_TIME) for u in range(10) for p in range(20)])
    cut = split(tensors, share=0.25, seed=0)
    assert not cut.temporal
    assert np.bincount(cut.holdout_user, minlength=10).tolist() == [5] * 10
    assert len(cut.train) == 150


def test_nobody_loses_his_only_post_to_the_holdout() -> None:
    cut = split(some_interactions([(u, u, NO_TIME) for u in range(12)]), share=0.4, seed=0)
    assert len(cut.holdout_user) == 0
    assert len(cut.train) == 12


def test_repeats_of_a_held_out_pair_leave_the_training_part_too() -> None:
    rows = [(0, p, NO_TIME) for p in range(10)] * 3
    cut = split(some_interactions(rows), share=0.3, seed=1)
    assert len(cut.holdout_post) == 3
    assert not set(cut.holdout_post) & set(cut.train.post)


def test_the_same_seed_cuts_the_same_and_another_does_not() -> None:
    tensors = some_interactions([(u, p, NO_TIME) for u in range(10) for p in range(20)])
    first, again, other = (split(tensors, 0.25, seed).holdout_post.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_no_interactions_leave_nothing_to_hold_out() -> None:
    nothing = Interactions(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.int64))
    cut = split(some_tensors(interactions=nothing), share=0.1, seed=0)
    assert len(cut.train) == 0
    assert len(cut.holdout_user) == 0


@pytest.mark.parametrize("timed", [True, False])
def test_without_a_kind_of_weight_0_what_was_seen_is_what_is_trained_on(timed: bool) -> None:
    tensors = some_interactions([(u, p, 20 * u + p if timed else NO_TIME) for u in range(10) for p in range(20)])
    cut = split(tensors, share=0.25, seed=0)
    assert pairs_of(cut.seen) == pairs_of(cut.train)
    assert len(cut.seen) == 150


def test_with_times_a_report_is_no_training_no_test_and_yet_seen() -> None:
    rows = [(0, p, 10 * p) for p in range(10)] + [(1, 1, 5), (1, 2, 95), (1, 9, 6), (1, 9, 96)]
    tensors = with_reports(some_interactions(rows), lambda all_: np.isin(all_.created_at, [5, 6, 95]))
    cut = split(tensors, share=0.2, seed=0)
    assert cut.boundary == 80  # by what teaches alone
    assert pairs_of(cut.train) == [(0, p) for p in range(8)]
    assert pairs_of(cut.seen) == [*((0, p) for p in range(8)), (1, 1), (1, 9)]
    assert list(zip(cut.holdout_user.tolist(), cut.holdout_post.tolist(), strict=True)) == [(0, 8), (0, 9)]


def test_without_times_reports_are_seen_and_never_held_out() -> None:
    tensors = some_interactions([(u, p, NO_TIME) for u in range(10) for p in range(20)])
    tensors = with_reports(tensors, lambda all_: all_.post >= 16)
    cut = split(tensors, share=0.25, seed=0)
    assert np.bincount(cut.holdout_user, minlength=10).tolist() == [4] * 10
    assert cut.holdout_post.max() < 16
    assert cut.train.post.max() < 16
    assert len(cut.train) == 120
    assert len(cut.seen) == 160


def test_with_nothing_but_reports_there_is_nothing_to_learn() -> None:
    tensors = with_reports(some_interactions([(u, u, u) for u in range(12)]), lambda all_: all_.user >= 0)
    cut = split(tensors, share=0.4, seed=0)
    assert (len(cut.train), len(cut.holdout_user), len(cut.seen)) == (0, 0, 12)
