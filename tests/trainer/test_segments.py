"""Segments part the right answers, never the lists; whoever ranks, the same users are judged in each."""

from __future__ import annotations

import numpy as np
import pytest

from tests.factories import some_tensors
from waypost.graph.tensors import NO_TIME, GraphTensors, Interactions, csr_from_pairs
from waypost.model.evaluation import score_lists
from waypost.trainer.segments import (
    ALL,
    HEAD,
    NEW_POSTS,
    NEW_USERS,
    TAIL,
    WARM,
    Segment,
    most_interacted,
    score_segment,
    segments_of,
    within,
)


def interactions_of(pairs: list[tuple[int, int]]) -> Interactions:
    user, post = (np.array(column, np.int32) for column in zip(*sorted(pairs), strict=True))
    return Interactions(user, post, np.zeros(len(pairs), np.uint8), np.full(len(pairs), NO_TIME))


def by_name(tensors: GraphTensors, train: Interactions) -> dict[str, Segment]:
    return {segment.name: segment for segment in segments_of(tensors, train)}


# Users 0 and 1 are known, 2 and 3 are new; posts 0 to 3 are known, 4 and 5 are new.
TENSORS = some_tensors(num_users=4, num_posts=6)
TRAIN = interactions_of([(0, 0), (0, 1), (0, 2), (1, 0), (1, 0), (1, 1), (1, 3)])


def test_every_pair_of_user_and_post_is_in_the_segments_it_belongs_to() -> None:
    found = by_name(TENSORS, TRAIN)
    assert list(found) == [ALL, WARM, NEW_USERS, NEW_POSTS, HEAD, TAIL]
    known_user, known_post = [True, True, False, False], [True, True, True, True, False, False]
    anybody, anything = [True] * 4, [True] * 6
    expected = {
        ALL: (anybody, anything),
        WARM: (known_user, known_post),
        NEW_USERS: ([not known for known in known_user], anything),
        NEW_POSTS: (anybody, [not known for known in known_post]),
        HEAD: (anybody, [True, True, False, False, False, False]),  # 4 of the 6 distinct pairs
        TAIL: (anybody, [False, False, True, True, False, False]),
    }
    for name, (users, posts) in expected.items():
        assert (found[name].users.tolist(), found[name].posts.tolist()) == (users, posts), name


@pytest.mark.parametrize(
    ("popularity", "head"),
    [([5, 1, 1, 1, 1, 1], [0]), ([1, 1, 1, 1], [0, 1]), ([0, 3, 0, 9], [3]), ([7], [0]), ([0, 0], []), ([], [])],
)
def test_the_head_is_the_fewest_posts_that_hold_half_of_the_pairs(popularity: list[int], head: list[int]) -> None:
    assert np.flatnonzero(most_interacted(np.array(popularity, np.int64), 0.5)).tolist() == head


def test_a_users_test_set_is_cut_to_the_posts_and_a_user_with_nothing_left_is_not_judged() -> None:
    test = csr_from_pairs(np.array([0, 0, 1, 2]), np.array([3, 4, 2, 5]), 4)
    users = np.array([0, 1, 2], np.int32)
    lists = np.array([[4, 0], [2, 5], [0, 1]], np.int32)
    found = {name: score_segment(lists, users, test, segment) for name, segment in by_name(TENSORS, TRAIN).items()}
    expected = {
        ALL: ([0, 1, 2], [0.5, 1, 0]),
        WARM: ([0, 1], [0, 1]),
        NEW_USERS: ([2], [0]),
        NEW_POSTS: ([0, 2], [1, 0]),
        HEAD: ([], []),
        TAIL: ([0, 1], [0, 1]),
    }
    for name, (judged, recall) in expected.items():
        assert found[name].users.tolist() == judged, name
        assert found[name].scores.recall.tolist() == recall, name


def test_only_the_chosen_users_are_judged_and_their_rows_stay_in_pairs_between_rankers() -> None:
    choose = np.random.default_rng(0)
    tensors = some_tensors(num_users=60, num_posts=40)
    test = csr_from_pairs(choose.integers(0, 60, 200), choose.integers(0, 40, 200), 60)
    users = np.flatnonzero(np.diff(test.indptr))[::2].astype(np.int32)
    mine, theirs = (np.argsort(choose.random((len(users), 40)), axis=1)[:, :5].astype(np.int32) for _ in range(2))
    for segment in segments_of(tensors, tensors.interactions):
        first, second = (score_segment(lists, users, test, segment) for lists in (mine, theirs))
        assert first.users.tolist() == second.users.tolist()
        assert set(first.users.tolist()) <= set(users.tolist())
        part = within(test, segment)
        for user, recall in zip(first.users, first.scores.recall, strict=True):
            row = int(np.searchsorted(users, user))
            alone = score_lists(mine[row : row + 1], users[row : row + 1], part)
            assert alone.recall[0] == recall


def test_new_and_known_posts_share_out_all_right_answers() -> None:
    test = csr_from_pairs(np.arange(4).repeat(6), np.tile(np.arange(6), 4), 4)
    found = by_name(TENSORS, TRAIN)
    parts = [len(within(test, found[name]).indices) for name in (HEAD, TAIL, NEW_POSTS)]
    assert sum(parts) == len(within(test, found[ALL]).indices) == 24


def test_without_any_training_everything_is_new() -> None:
    nothing = TRAIN.take(np.zeros(len(TRAIN), bool))
    found = by_name(TENSORS, nothing)
    assert found[NEW_USERS].users.all()
    assert found[NEW_POSTS].posts.all()
    assert not (found[HEAD].posts | found[TAIL].posts | found[WARM].posts).any()
