"""Training on a world with known tastes: two groups of users, each reading its own half of the posts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.factories import some_tensors
from waypost.graph.tensors import NO_TIME, Csr, GraphTensors, Interactions, csr_from_pairs
from waypost.model.features import VOCABULARY_SIZE
from waypost.model.graphsage import to_graph
from waypost.model.kinds import taught
from waypost.model.serving import score_users
from waypost.model.tables import to_serving_tables
from waypost.settings import TrainerSettings
from waypost.trainer.fit import BATCH, MIN_STEPS, fit, plan_steps
from waypost.trainer.holdout import measure
from waypost.trainer.split import split

USERS, POSTS, COLD = 120, 80, 10
QUICK = TrainerSettings(dim=8, layers=2, threads=1, epochs=30)


def two_tastes(seed: int = 0) -> GraphTensors:
    """Even users read even posts; every post carries its half's tag and word; the last COLD posts nobody has read."""
    choose = np.random.default_rng(seed)
    user = np.repeat(np.arange(USERS), 12)
    post = choose.integers(0, (POSTS - COLD) // 2, len(user)) * 2 + user % 2
    pairs = np.unique(np.stack((user, post), 1), axis=0)
    half = np.arange(POSTS) % 2
    count = len(pairs)
    return some_tensors(
        num_users=USERS,
        num_posts=POSTS,
        num_tags=2,
        post_tags=csr_from_pairs(np.arange(POSTS), half, POSTS),
        post_tokens=Csr(np.arange(POSTS + 1, dtype=np.int64), (half + 5).astype(np.int32)),
        interactions=Interactions(
            pairs[:, 0].astype(np.int32),
            pairs[:, 1].astype(np.int32),
            np.zeros(count, np.uint8),
            np.full(count, NO_TIME),
        ),
    )


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _share_of_own_half(tensors: GraphTensors, posts: slice) -> float:
    model = fit(tensors, tensors.interactions, QUICK, seed=1)
    scores = score_users(to_serving_tables(model, tensors, tensors.interactions), np.arange(USERS, dtype=np.int32))
    best = scores[:, posts].argmax(1)
    return float(np.mean(best % 2 == np.arange(USERS) % 2))


def test_users_are_offered_posts_of_their_taste() -> None:
    assert _share_of_own_half(two_tastes(), slice(0, POSTS - COLD)) > 0.95


def test_posts_that_nobody_has_read_are_offered_by_their_content() -> None:
    assert _share_of_own_half(two_tastes(), slice(POSTS - COLD, POSTS)) > 0.95


def test_a_user_of_today_is_understood_from_one_recent_post() -> None:
    tensors = two_tastes()
    tables = to_serving_tables(fit(tensors, tensors.interactions, QUICK, seed=1), tensors, tensors.interactions)
    right = 0
    for post in range(POSTS - COLD):
        scores = tables.post_vector @ (tables.default_own + tables.weight @ tables.post_message[post])
        scores[post] = -np.inf
        right += int(scores.argmax() % 2 == post % 2)
    assert right > 0.9 * (POSTS - COLD)


def test_one_seed_and_one_thread_give_one_model() -> None:
    tensors = two_tastes()
    settings = QUICK.model_copy(update={"epochs": 5})
    first, again, other = (fit(tensors, tensors.interactions, settings, seed).post_id for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_trained_model_taught_further_learns_new_interactions() -> None:
    tensors = two_tastes()
    cut = split(tensors, 0.2, seed=0)
    model = fit(tensors, cut.train, QUICK, seed=1)
    before, recall = model.post_id.clone(), measure(model, tensors, cut, QUICK).model.recall.mean()
    again = fit(tensors, tensors.interactions, QUICK, seed=1, init=model)
    assert not torch.equal(again.post_id, before)
    assert measure(again, tensors, cut, QUICK).model.recall.mean() > 0.9 * recall


def test_a_graph_without_interactions_text_or_tags_still_gives_a_finite_model() -> None:
    nothing = Interactions(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.int64))
    tensors = replace(some_tensors(num_tags=0), interactions=nothing)
    tables = to_serving_tables(fit(tensors, nothing, QUICK, seed=0), tensors, nothing)
    assert np.isfinite(tables.post_vector).all()


def test_small_graphs_take_many_passes_and_large_ones_fit_the_budget() -> None:
    graph = to_graph(two_tastes(), two_tastes().interactions, VOCABULARY_SIZE)
    assert plan_steps(graph, None) == MIN_STEPS
    night = replace(graph, user_degree=torch.full((USERS, 1), 10_000.0))
    assert plan_steps(night, None) > MIN_STEPS
    assert plan_steps(replace(night, num_posts=10**7), None) < plan_steps(night, None)
    assert plan_steps(night, 10) == round(10 * USERS * 10_000 / BATCH)


def with_other_half_viewed(tensors: GraphTensors, view_weight: float) -> GraphTensors:
    """Every user has also viewed as many posts of the other half; what he read of his own is of the kind `book`."""
    own = tensors.interactions
    other = replace(own, post=own.post ^ 1, kind=np.ones_like(own.kind))
    user, post = np.concatenate((own.user, other.user)), np.concatenate((own.post, other.post))
    both = Interactions(user, post, np.concatenate((own.kind, other.kind)), np.full(len(user), NO_TIME))
    both = both.take(np.lexsort((post, user)))
    return replace(tensors, kinds=("book", "view"), kind_weights=(1.0, view_weight), interactions=both)


def test_a_kind_of_little_weight_pulls_little() -> None:
    light, equal = (
        _share_of_own_half(with_other_half_viewed(two_tastes(), weight), slice(0, POSTS)) for weight in (0.05, 1.0)
    )
    assert light > 0.9
    assert equal < 0.7


def test_a_kind_of_weight_0_leaves_the_model_as_if_it_were_not_there() -> None:
    without, ignored = two_tastes(), with_other_half_viewed(two_tastes(), 0.0)
    settings = QUICK.model_copy(update={"epochs": 5})
    expected = fit(without, without.interactions, settings, seed=1)
    found = fit(ignored, taught(ignored), settings, seed=1)
    assert torch.equal(found.post_id, expected.post_id)
    assert torch.equal(found.user_id, expected.user_id)
    state, other = (to_serving_tables(found, each, taught(each)).user_state_sum for each in (ignored, without))
    assert np.array_equal(state, other)


def test_only_the_proportion_of_weights_matters() -> None:
    tensors = with_other_half_viewed(two_tastes(), 0.25)
    settings = QUICK.model_copy(update={"epochs": 5})
    louder = replace(tensors, kind_weights=(8.0, 2.0))
    first, again = (fit(each, each.interactions, settings, seed=1).post_id for each in (tensors, louder))
    assert torch.equal(first, again)
