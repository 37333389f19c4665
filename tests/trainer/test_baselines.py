"""Every baseline against its formula worked out densely; lists from the cache are the lists that were made."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.factories import some_tensors
from waypost.graph.tensors import NO_TIME, Csr, GraphTensors, Int32Array, Interactions, csr_from_pairs, no_entries
from waypost.model.evaluation import Float64Array
from waypost.objects.memory import MemoryObjectStore
from waypost.settings import TrainerSettings
from waypost.trainer.baselines import BaselineCache, chosen_baselines, gating_baselines, rank_baselines
from waypost.trainer.baselines.content import fit_content, tf_idf
from waypost.trainer.baselines.ease import RIDGE, fit_ease
from waypost.trainer.baselines.gf_cf import ALPHA, FACTORS, fit_gf_cf
from waypost.trainer.baselines.implicit_als import fit_implicit_als
from waypost.trainer.baselines.item_knn import MOST_POSTS_OF_A_USER, NEIGHBOURS, fit_item_knn
from waypost.trainer.baselines.popularity import fit_popularity
from waypost.trainer.split import Split, split

USERS, POSTS = 40, 260
EVERY = "popularity,item-knn,implicit-als,content,gf-cf,ease"
SETTINGS = TrainerSettings(threads=1, baselines=EVERY)


def untimed(pairs: np.ndarray) -> Interactions:
    pairs = np.unique(pairs, axis=0).astype(np.int32)
    return Interactions(pairs[:, 0], pairs[:, 1], np.zeros(len(pairs), np.uint8), np.full(len(pairs), NO_TIME))


def a_graph(seed: int = 0, per_user: int = 45) -> GraphTensors:
    """User 0 has no interactions, post 0 no users; popular posts have the low numbers."""
    choose = np.random.default_rng(seed)
    user = choose.integers(1, USERS, USERS * per_user)
    post = 1 + (choose.random(len(user)) ** 2 * (POSTS - 1)).astype(int)
    tensors = some_tensors(num_users=USERS, num_posts=POSTS, num_tags=12)
    return replace(tensors, interactions=untimed(np.stack((user, post), 1)))


def dense(tensors: GraphTensors) -> Float64Array:
    """[num_users, num_posts] 1 for each pair."""
    matrix = np.zeros((tensors.num_users, tensors.num_posts))
    matrix[tensors.interactions.user, tensors.interactions.post] = 1.0
    return matrix


def everybody(tensors: GraphTensors) -> Int32Array:
    return np.arange(tensors.num_users, dtype=np.int32)


def test_popularity_counts_each_user_of_a_post_once() -> None:
    tensors = a_graph()
    twice = tensors.interactions.take(np.repeat(np.arange(len(tensors.interactions)), 2))
    scores = fit_popularity(tensors, twice, seed=1)(everybody(tensors))
    assert scores.tolist() == [dense(tensors).sum(0).tolist()] * USERS


def test_item_knn_sums_the_cosines_of_each_posts_nearest() -> None:
    tensors = a_graph()
    pairs = dense(tensors)
    length = np.sqrt(np.maximum(pairs.sum(0), 1))
    cosine = pairs.T @ pairs / length[:, None] / length
    np.fill_diagonal(cosine, 0)
    assert (np.count_nonzero(cosine, axis=0) > NEIGHBOURS).any()  # else nothing would be cut
    for post in range(POSTS):
        far = np.lexsort((np.arange(POSTS), -np.round(cosine[:, post], 6)))[NEIGHBOURS:]
        cosine[far, post] = 0
    scores = fit_item_knn(tensors, tensors.interactions, seed=1)(everybody(tensors))
    assert np.allclose(scores, pairs @ cosine, atol=1e-4)


def gf_cf_by_definition(tensors: GraphTensors, factors: int) -> Float64Array:
    """[num_users, num_posts] with dense matrices: the linear filter plus the ideal low pass of the leading factors."""
    pairs = dense(tensors)
    user, post = (np.maximum(pairs.sum(axis), 1) for axis in (1, 0))
    normalised = pairs / np.sqrt(user)[:, None] / np.sqrt(post)
    right = np.linalg.svd(normalised, full_matrices=False)[2][:factors]
    ideal = (right.T @ right) / np.sqrt(post)[:, None] * np.sqrt(post)
    scores: Float64Array = pairs @ (normalised.T @ normalised + ALPHA * ideal)
    return scores


def test_gf_cf_is_the_linear_filter_plus_the_ideal_low_pass() -> None:
    tensors = a_graph()
    expected = gf_cf_by_definition(tensors, FACTORS)
    scores = fit_gf_cf(tensors, tensors.interactions, seed=1)(everybody(tensors))
    assert np.allclose(scores, expected, atol=1e-3)


def test_gf_cf_keeps_only_the_leading_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, factors = a_graph(), 5
    monkeypatch.setattr("waypost.trainer.baselines.gf_cf.FACTORS", factors)
    expected = gf_cf_by_definition(tensors, factors)
    scores = fit_gf_cf(tensors, tensors.interactions, seed=1)(everybody(tensors))
    assert np.allclose(scores, expected, atol=0.02)
    assert np.corrcoef(scores.ravel(), expected.ravel())[0, 1] > 0.9999


def test_ease_is_its_closed_form() -> None:
    tensors = a_graph()
    pairs = dense(tensors)
    inverse = np.linalg.inv(pairs.T @ pairs + RIDGE * np.eye(POSTS))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    scores = fit_ease(tensors, tensors.interactions, seed=1)(everybody(tensors))
    assert np.allclose(scores, pairs @ weights, atol=1e-4)


def test_content_is_the_product_of_a_users_terms_with_a_posts() -> None:
    tensors = a_graph()
    counts = np.zeros((POSTS, tensors.num_tags))
    for post in range(POSTS):
        counts[post, tensors.post_tags.row(post)] = 1
    terms = counts * np.log((1 + POSTS) / (1 + counts.sum(0)))
    terms /= np.maximum(np.linalg.norm(terms, axis=1, keepdims=True), 1e-12)
    scores = fit_content(tensors, tensors.interactions, seed=1)(everybody(tensors))
    assert np.allclose(scores, dense(tensors) @ terms @ terms.T, atol=1e-4)


def test_words_stand_in_for_tags_where_there_are_none() -> None:
    tensors = a_graph()
    words = Csr(np.arange(0, 2 * POSTS + 1, 2), np.stack((np.arange(POSTS) % 7, np.full(POSTS, 9)), 1).ravel())
    words = Csr(words.indptr.astype(np.int64), words.indices.astype(np.int32))
    untagged = replace(tensors, post_tags=no_entries(POSTS), post_tokens=words)
    scores = fit_content(untagged, tensors.interactions, seed=1)(everybody(tensors))
    assert scores[1:].max() > 0
    assert np.allclose(scores[:, 0], scores[:, 7], atol=1e-5)  # of the same words
    assert not np.allclose(scores[:, 0], scores[:, 1], atol=1e-2)


def test_a_word_said_twice_weighs_more_and_one_that_all_say_nothing() -> None:
    found = tf_idf(Csr(np.array([0, 3, 5, 6]), np.array([0, 0, 1, 1, 2, 1], np.int32))).toarray()
    assert np.linalg.norm(found, axis=1).tolist() == pytest.approx([1, 1, 0])  # term 1 is everywhere
    assert found[0].tolist() == [1, 0, 0]


def test_als_finds_the_two_tastes_of_a_world_that_has_two() -> None:
    choose = np.random.default_rng(0)
    user = np.repeat(np.arange(USERS), 25)
    post = choose.integers(0, POSTS // 2, len(user)) * 2 + user % 2
    tensors = replace(a_graph(), interactions=untimed(np.stack((user, post), 1)))
    first, again = (fit_implicit_als(tensors, tensors.interactions, seed=1)(everybody(tensors)) for _ in range(2))
    assert np.array_equal(first, again)
    own = (np.arange(USERS)[:, None] + np.arange(POSTS)) % 2 == 0
    assert first[own].mean() > first[~own].mean() + 0.2


def asked(tensors: GraphTensors) -> tuple[Split, Int32Array, Csr]:
    cut = split(tensors, 0.2, seed=1)
    return cut, everybody(tensors), csr_from_pairs(cut.seen.user, cut.seen.post, tensors.num_users)


def test_a_user_without_history_gets_what_is_popular_from_every_baseline() -> None:
    tensors = a_graph()
    cut, users, seen = asked(tensors)
    lists = rank_baselines(SETTINGS, tensors, cut, users, seen, 10)
    assert list(lists) == EVERY.split(",")
    for name, found in lists.items():
        assert found[0].tolist() == lists["popularity"][0].tolist(), name
        assert name == "popularity" or found[1:].tolist() != lists["popularity"][1:].tolist(), name
        assert not any(set(found[user]) & set(seen.row(user)) for user in users)


def test_which_baselines_run_is_a_setting_and_popularity_and_what_gates_always_do() -> None:
    assert chosen_baselines(TrainerSettings(baselines="ease")) == ("popularity", "ease")
    settings = TrainerSettings(baselines="gf-cf,ease", gating_baselines="item-knn,gf-cf")
    assert chosen_baselines(settings) == ("popularity", "gf-cf", "ease", "item-knn")
    assert gating_baselines(settings) == ("item-knn", "gf-cf")
    assert gating_baselines(TrainerSettings()) == ("popularity",)
    for wrong in ("", "bpr", "popularity,", "popularity ease"):
        with pytest.raises(ValueError, match="baselines"):
            TrainerSettings(baselines=wrong)


@pytest.mark.parametrize(
    ("name", "tensors", "why"),
    [
        ("ease", some_tensors(num_posts=10_001), "more than 10,000 posts"),
        ("content", some_tensors(num_tags=0), "neither tags nor text"),
    ],
)
def test_what_a_graph_cannot_have_is_left_out_and_warned_of_if_it_was_to_gate(
    name: str, tensors: GraphTensors, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        lists = rank_baselines(TrainerSettings(baselines=name), tensors, *asked(tensors), 5)
        assert (
            rank_baselines(TrainerSettings(baselines=name, gating_baselines=name), tensors, *asked(tensors), 5).keys()
            == lists.keys()
        )
    told = [record for record in caplog.records if record.message == "baseline left out"]
    assert [(record.levelname, vars(record)["cause"]) for record in told] == [("INFO", why), ("WARNING", why)]
    assert name not in lists


def test_a_user_with_very_many_posts_costs_no_more_than_a_sample_of_them() -> None:
    many, choose = MOST_POSTS_OF_A_USER * 10, np.random.default_rng(0)
    glutton = np.stack((np.zeros(many, int), np.arange(many)), 1)
    others = np.stack((choose.integers(1, 21, 400), choose.integers(0, 40, 400)), 1)
    tensors = replace(some_tensors(num_users=21, num_posts=many), interactions=untimed(np.vstack((glutton, others))))
    scores = fit_item_knn(tensors, tensors.interactions, seed=1)(everybody(tensors))
    assert np.isfinite(scores).all()
    assert set(np.argsort(-scores[1])[:20]) <= set(range(40))


class CountingStore(MemoryObjectStore):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def put_new(self, key: str, body: bytes) -> bool:
        self.written.append(key)
        return super().put_new(key, body)


def test_lists_are_made_once_for_the_same_question_and_the_manifest_comes_last() -> None:
    tensors, store = a_graph(), CountingStore()
    cache, (cut, users, seen) = BaselineCache(store, "f" * 32), asked(tensors)
    made = rank_baselines(SETTINGS, tensors, cut, users, seen, 10, cache)
    folder = store.written[0].rsplit("/", 1)[0]
    assert folder.startswith(f"baselines/{'f' * 32}-")
    assert store.written == [f"{folder}/lists.safetensors", f"{folder}/manifest.json"]
    again = rank_baselines(SETTINGS, tensors, cut, users, seen, 10, cache)
    assert len(store.written) == 2
    assert made.keys() == again.keys()
    assert all(np.array_equal(made[name], again[name]) for name in made)


Asked = tuple[TrainerSettings, GraphTensors, Split, Int32Array, int]


@pytest.mark.parametrize(
    "change",
    [
        lambda s, t, c, u, k: (s.model_copy(update={"seed": 2}), t, c, u, k),
        lambda s, t, c, u, k: (s.model_copy(update={"baselines": "content"}), t, c, u, k),
        lambda s, t, c, u, k: (s, t, split(t, 0.3, seed=1), u, k),
        lambda s, t, c, u, k: (s, t, c, u[1:], k),
        lambda s, t, c, u, k: (s, t, c, u, k + 1),
        lambda s, t, c, u, k: (s, replace(t, post_tokens=Csr(np.arange(POSTS + 1), np.ones(POSTS, np.int32))), c, u, k),
    ],
    ids=["seed", "baselines", "cut", "users", "length", "tokens"],
)
def test_another_question_has_another_folder(change: Callable[..., Asked]) -> None:
    tensors, store = a_graph(), CountingStore()
    cut, users, _ = asked(tensors)
    settings = SETTINGS.model_copy(update={"baselines": "item-knn"})
    for question in ((settings, tensors, cut, users, 10), change(settings, tensors, cut, users, 10)):
        used, graph, part, who, k = question
        seen = csr_from_pairs(part.seen.user, part.seen.post, graph.num_users)
        rank_baselines(used, graph, part, who, seen, k, BaselineCache(store, "f"))
    assert len({key.rsplit("/", 1)[0] for key in store.written}) == 2


@pytest.mark.parametrize("ending", ["lists.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", [lambda body: body[:-1], lambda body: b"{}", lambda body: body[:-9] + b"x" * 9])
def test_damaged_lists_are_told_and_made_again(
    ending: str, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    tensors, store = a_graph(), MemoryObjectStore()
    cache, question = BaselineCache(store, "f"), asked(tensors)
    settings = SETTINGS.model_copy(update={"baselines": "item-knn"})
    made = rank_baselines(settings, tensors, *question, 10, cache)
    key = next(info.key for info in store.list("baselines/") if info.key.endswith(ending))
    found = store.get(key)
    assert found is not None
    assert store.put_if(key, damage(found.body), found.etag)
    again = rank_baselines(settings, tensors, *question, 10, cache)
    assert "kept baselines refused" in caplog.text
    assert all(np.array_equal(made[name], again[name]) for name in made)
    caplog.clear()
    rank_baselines(settings, tensors, *question, 10, cache)
    assert caplog.text == ""
