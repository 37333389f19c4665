import numpy as np
import pytest

from waypost.graph.tensors import csr_from_pairs
from waypost.model.evaluation import (
    choose_users,
    coverage,
    exposure_of,
    gini,
    interval_95,
    ndcg_at_k,
    novelty_bits,
    rank_posts,
    recall_at_k,
    score_lists,
    top_k,
)


def test_recall_divides_by_the_number_of_test_posts_even_beyond_k() -> None:
    hits = np.array([[True, False], [True, True]])
    assert recall_at_k(hits, np.array([1, 4])).tolist() == [1.0, 0.5]


def test_ndcg_has_its_ideal_over_at_most_k_test_posts() -> None:
    hits = np.array([[False, True], [True, True], [True, False]])
    expected = [1 / np.log2(3), 1.0, 1 / (1 + 1 / np.log2(3))]
    assert ndcg_at_k(hits, np.array([1, 9, 2])) == pytest.approx(expected)


def test_equal_scores_are_ranked_by_ascending_index() -> None:
    scores = np.array([[1, 3, 1, 3, 1, 1]], np.float32)
    assert top_k(scores, 4).tolist() == [[1, 3, 0, 2]]


def test_the_best_posts_are_exact_for_random_scores() -> None:
    scores = np.random.default_rng(0).integers(0, 40, (50, 300)).astype(np.float32)
    expected = [sorted(range(300), key=lambda post: (-row[post], post))[:20] for row in scores]
    assert top_k(scores, 20).tolist() == expected


def test_a_seen_post_is_never_ranked_and_a_short_catalogue_leaves_gaps() -> None:
    seen = csr_from_pairs(np.array([0, 0]), np.array([0, 2]), 2)
    lists = rank_posts(
        lambda users: np.tile(np.array([3, 2, 1], np.float32), (len(users), 1)), np.array([0, 1], np.int32), seen, 4
    )
    assert lists.tolist() == [[1, -1, -1, -1], [0, 1, 2, -1]]


def test_ranking_in_batches_is_ranking_at_once() -> None:
    choose = np.random.default_rng(1)
    scores = choose.normal(size=(600, 40)).astype(np.float32)
    seen = csr_from_pairs(choose.integers(0, 600, 2000), choose.integers(0, 40, 2000), 600)
    users = np.arange(600, dtype=np.int32)
    lists = rank_posts(lambda batch: scores[batch], users, seen, 5)
    for user in range(600):
        left = sorted(set(range(40)) - set(seen.row(user).tolist()), key=lambda post: -scores[user, post])
        assert lists[user].tolist() == left[:5]


def test_lists_are_scored_against_the_right_users() -> None:
    test = csr_from_pairs(np.array([1, 1, 3]), np.array([5, 6, 0]), 4)
    scores = score_lists(np.array([[5, 9], [-1, -1]], np.int32), np.array([1, 3], np.int32), test)
    assert scores.recall.tolist() == [0.5, 0.0]


def test_the_same_seed_chooses_the_same_users_among_those_with_a_test_post() -> None:
    test = csr_from_pairs(np.arange(0, 100, 2), np.zeros(50, int), 100)
    first, second = choose_users(test, 10, 7), choose_users(test, 10, 7)
    assert first.tolist() == second.tolist()
    assert len(first) == 10
    assert (first % 2 == 0).all()


def test_exposure_counts_every_post_of_every_list_and_no_gap() -> None:
    lists = np.array([[3, 1, -1], [3, -1, -1]], np.int32)
    assert exposure_of(lists, 5).tolist() == [0, 1, 0, 2, 0]
    assert coverage(exposure_of(lists, 5)) == 0.4
    assert coverage(exposure_of(np.full((2, 3), -1, np.int32), 5)) == 0.0


@pytest.mark.parametrize(
    ("exposure", "expected"),
    [([4, 4, 4, 4], 0.0), ([0, 0, 0, 9], 0.75), ([1, 2], 1 / 6), ([0, 0, 0], 1.0), ([], 1.0), ([5], 0.0)],
)
def test_gini_goes_from_all_alike_to_one_takes_everything(exposure: list[int], expected: float) -> None:
    assert gini(np.array(exposure)) == pytest.approx(expected)


def test_novelty_is_the_mean_self_information_of_what_is_shown() -> None:
    popularity = np.array(
        [8, 4, 1, 0]
    )  # of 8 users: 0, 1 and 3 bits, and the post that nobody has counts as one has it
    assert novelty_bits(np.array([1, 1, 1, 1]), popularity, 8) == pytest.approx((0 + 1 + 3 + 3) / 4)
    assert novelty_bits(np.array([3, 1, 0, 0]), popularity, 8) == pytest.approx(0.25)
    assert novelty_bits(np.zeros(4), popularity, 8) == 0.0


def test_the_interval_holds_the_true_mean_95_times_in_100() -> None:
    choose = np.random.default_rng(0)
    samples = choose.random((2_000, 200))
    inside = [abs(sample.mean() - 0.5) <= interval_95(sample) for sample in samples]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
