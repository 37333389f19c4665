from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.factories import keyed_by_strings, some_tensors
from waypost.graph.tensors import NO_TIME, GraphTensors, Interactions
from waypost.trainer.split import Split, split


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


def everybody_with_everything(users: int = 100, posts: int = 100, repeats: int = 1) -> GraphTensors:
    """Every user with every post, without times."""
    rows = [(u, p, NO_TIME) for u in range(users) for p in range(posts)] * repeats
    return replace(some_tensors(num_users=users, num_posts=posts), interactions=some_interactions(rows).interactions)


def holdout_keys(tensors: GraphTensors, cut: Split) -> set[tuple[int, int]]:
    users, posts = tensors.user_ids[cut.holdout_user], tensors.post_ids[cut.holdout_post]
    return set(zip(users.tolist(), posts.tolist(), strict=True))


def without_users(tensors: GraphTensors, gone: np.ndarray) -> GraphTensors:
    """The graph of a day on which these users' rows were not there: everybody else's row number is another."""
    interactions, stays = tensors.interactions, np.setdiff1d(np.arange(tensors.num_users), gone)
    kept = interactions.take(np.isin(interactions.user, stays))
    kept = replace(kept, user=np.searchsorted(stays, kept.user).astype(np.int32))
    keys = None if tensors.user_keys is None else tensors.user_keys.take(stays)
    ids = tensors.user_ids[stays] if keys is None else np.arange(len(stays))
    return replace(tensors, user_ids=ids, user_keys=keys, interactions=kept)


def test_without_times_a_share_of_the_pairs_is_held_out_from_all_users_and_posts_alike() -> None:
    cut = split(everybody_with_everything(), share=0.25, seed=0)
    assert not cut.temporal
    assert len(cut.holdout_user) + len(cut.train) == 10_000
    assert len(cut.holdout_user) == pytest.approx(2_500, abs=150)  # 3.5 standard deviations
    for held in (cut.holdout_user, cut.holdout_post):
        counts = np.bincount(held, minlength=100)
        assert counts.min() >= 8
        assert counts.std() == pytest.approx(np.sqrt(100 * 0.25 * 0.75), rel=0.3)


@pytest.mark.parametrize("keyed", [lambda tensors: tensors, keyed_by_strings], ids=["integers", "uuids and texts"])
def test_without_times_a_pair_stays_on_its_side_whoever_comes_and_goes(
    keyed: Callable[[GraphTensors], GraphTensors],
) -> None:
    tensors = keyed(everybody_with_everything(users=40, posts=30))
    gone = np.arange(0, 40, 3)
    today, other_day = split(tensors, 0.2, seed=0), split(without_users(tensors, gone), 0.2, seed=0)
    stays = np.setdiff1d(np.arange(40), gone)
    expected = {(u, p) for u, p in zip(today.holdout_user, today.holdout_post, strict=True) if u in stays}
    found = set(zip(stays[other_day.holdout_user], other_day.holdout_post, strict=True))
    assert found == expected
    assert len(found) > 100


def test_a_user_who_reads_on_moves_none_of_his_pairs_to_the_other_side() -> None:
    rows = [(u, p, NO_TIME) for u in range(12) for p in range(30)]
    before, known = set[tuple[int, int]](), 0
    for posts in (1, 2, 3, 10, 30):
        tensors = some_interactions([row for row in rows if row[1] < posts])
        held = holdout_keys(tensors, split(tensors, 0.3, seed=0))
        assert {pair for pair in held if pair[1] < 1000 + known} == before
        before, known = held, posts
    assert len(before) > 60


def test_a_larger_share_holds_out_what_a_smaller_one_did_and_more() -> None:
    tensors = everybody_with_everything(users=30, posts=30)
    small, large = (holdout_keys(tensors, split(tensors, share, seed=0)) for share in (0.1, 0.2))
    assert small < large


def test_negative_ids_are_keys_like_any_other() -> None:
    tensors = everybody_with_everything(users=60, posts=60)
    negative = replace(tensors, user_ids=tensors.user_ids - 10**18, post_ids=tensors.post_ids - 2**62)
    assert len(split(negative, 0.25, seed=0).holdout_user) == pytest.approx(900, abs=100)


def test_repeats_of_a_held_out_pair_leave_the_training_part_too() -> None:
    cut = split(everybody_with_everything(users=10, posts=20, repeats=3), share=0.3, seed=1)
    assert len(cut.train) == 3 * (200 - len(cut.holdout_user))
    assert not set(pairs_of(cut.train)) & set(zip(cut.holdout_user.tolist(), cut.holdout_post.tolist(), strict=True))


def test_with_times_nothing_before_a_given_moment_is_held_out() -> None:
    tensors = some_interactions([(u % 5, u, 100 + u) for u in range(20)])
    later = split(tensors, share=0.2, seed=0, not_before=118)
    assert (later.boundary, sorted(later.holdout_post.tolist())) == (118, [18, 19])
    assert later.train.created_at.max() == 117
    assert split(tensors, share=0.2, seed=0, not_before=50).boundary == 116
    nothing = split(tensors, share=0.2, seed=0, not_before=500)
    assert (len(nothing.holdout_user), len(nothing.train)) == (0, 20)


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
    assert len(cut.seen) == 200 - len(cut.holdout_user)


def test_with_times_a_report_is_no_training_no_test_and_yet_seen() -> None:
    rows = [(0, p, 10 * p) for p in range(10)] + [(1, 1, 5), (1, 2, 95), (1, 9, 6), (1, 9, 96)]
    tensors = with_reports(some_interactions(rows), lambda all_: np.isin(all_.created_at, [5, 6, 95]))
    cut = split(tensors, share=0.2, seed=0)
    assert cut.boundary == 80  # by what teaches alone
    assert pairs_of(cut.train) == [(0, p) for p in range(8)]
    assert pairs_of(cut.seen) == [*((0, p) for p in range(8)), (1, 1), (1, 9)]
    assert list(zip(cut.holdout_user.tolist(), cut.holdout_post.tolist(), strict=True)) == [(0, 8), (0, 9)]


def test_without_times_reports_are_seen_and_never_held_out() -> None:
    tensors = with_reports(everybody_with_everything(users=10, posts=20), lambda all_: all_.post >= 16)
    cut = split(tensors, share=0.25, seed=0)
    assert 20 < len(cut.holdout_user) < 60
    assert cut.holdout_post.max() < 16
    assert cut.train.post.max() < 16
    assert len(cut.train) == 160 - len(cut.holdout_user)
    assert len(cut.seen) == 200 - len(cut.holdout_user)


def test_with_nothing_but_reports_there_is_nothing_to_learn() -> None:
    tensors = with_reports(some_interactions([(u, u, u) for u in range(12)]), lambda all_: all_.user >= 0)
    cut = split(tensors, share=0.4, seed=0)
    assert (len(cut.train), len(cut.holdout_user), len(cut.seen)) == (0, 0, 12)
