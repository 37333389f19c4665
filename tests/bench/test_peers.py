"""The peers of the quality bench: tuned by what they are told to be tuned by, ranking what they are told to rank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bench.graph_files import NULL, GraphFiles, Row
from bench.quality import ablated_night
from bench.quality.content import TAG_PROFILE, TAG_TITLE_TFIDF, ContentPeer, choose_variant, rank_by_content
from bench.quality.cuts import Cut, pairs_of
from bench.quality.peers import GF_CF, IMPLICIT_ALS, POPULARITY, Graph, Peer, lists_of, tune
from bench.quality.travel import Questions, ratio_to_best

from waypost.model import graphsage
from waypost.model.graphsage import GraphSAGE
from waypost.settings import TrainerSettings
from waypost.trainer import fit
from waypost.trainer.baselines import gf_cf


def an_interaction(user: int, post: int) -> Row:
    return str(user), str(post), "view", NULL


PAIRS = [(user, post) for user in range(12) for post in range(8) if user % 2 == post % 2 and (user + post) % 5]
FILES = GraphFiles(
    users=[(str(user), NULL) for user in range(12)],
    posts=[(str(post), "1", NULL, ("Beaches of Goa", "Trains in Spain")[post % 2], NULL) for post in range(10)],
    tags=[("0", "sea"), ("1", "by rail")],
    post_tags=[(str(post), str(post % 2)) for post in range(10)],
    interactions=[an_interaction(user, post) for user, post in PAIRS],
)
HELD = [("1", "1"), ("2", "4"), ("3", "5")]
CUT = Cut([row for row in FILES.interactions if (row[0], row[1]) not in HELD], HELD)


@pytest.mark.parametrize("peer", [POPULARITY, IMPLICIT_ALS, GF_CF])
def test_a_peers_list_holds_the_posts_that_may_be_ranked_and_that_the_user_has_not(peer: Peer) -> None:
    small = replace(peer, grid={"FACTORS": (4,)} if peer.grid else {})
    lists = lists_of(small, Graph.of(FILES, CUT, {"1", "3", "4", "8"}), small.settings()[0], HELD, k=4)
    train = pairs_of(CUT.train)
    assert {user: set(posts) for user, posts in lists.items()} == {
        user: {post for post in ("1", "3", "4", "8") if (user, post) not in train} for user in ("1", "2", "3")
    }


def test_tuning_chooses_the_best_of_the_grid_and_leaves_the_baseline_as_it_was() -> None:
    peer = replace(GF_CF, grid={"FACTORS": (1, 4), "ALPHA": (-100.0, 0.3)})
    before = gf_cf.ALPHA, gf_cf.FACTORS
    constants, ndcg = tune(peer, Graph.of(FILES, CUT), HELD)
    assert constants["ALPHA"] == 0.3
    assert ndcg > 0.5
    assert before == (gf_cf.ALPHA, gf_cf.FACTORS)


def test_a_grids_names_are_the_baselines_own() -> None:
    for peer in (IMPLICIT_ALS, GF_CF):
        assert all(hasattr(peer.module, name) for name in peer.grid)


@pytest.mark.parametrize("peer", [TAG_PROFILE, TAG_TITLE_TFIDF])
def test_new_posts_like_those_a_user_has_come_first(peer: ContentPeer) -> None:
    variant = {name: value for name, value in peer.variants[0].items() if name != "min_df"}
    lists = rank_by_content(peer, variant, FILES, [("1", "1"), ("2", "0")], ["1", "2"], ["8", "9"], k=2)
    assert lists == {"1": ["9", "8"], "2": ["8", "9"]}


def test_a_user_without_posts_gets_them_as_they_come() -> None:
    assert rank_by_content(TAG_PROFILE, {}, FILES, [], ["5"], ["9", "8"], k=2) == {"5": ["9", "8"]}


def test_the_variant_with_the_best_validation_is_taken() -> None:
    assert choose_variant(TAG_PROFILE, {0: 0.1, 1: 0.2}) == TAG_PROFILE.variants[1]


def test_a_ratio_is_to_the_best_peer_of_each_measure() -> None:
    figures = {
        "new posts": {"recall": 0.3, "ndcg": 0.2},
        "a": {"recall": 0.1, "ndcg": 0.2},
        "b": {"recall": 0.2, "ndcg": 0.1},
    }
    assert ratio_to_best(figures, "new posts", ["a", "b"]) == {"recall": pytest.approx(1.5), "ndcg": 1.0}


def test_nobody_is_asked_about_his_own_post_and_newcomers_not_at_all(tmp_path: Path) -> None:
    cut = Cut([an_interaction(1, 0), an_interaction(2, 0)], [("1", "9"), ("2", "9"), ("2", "0"), ("7", "9")])
    questions = Questions.of(FILES, cut)
    assert questions.asked(questions.new_posts) == [("2", "9")]
    assert questions.asked(questions.new_posts, own=True) == [("1", "9"), ("2", "9")]
    assert questions.warm_posts == ["0"]


@pytest.fixture
def whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an ablation replaces is put back."""
    for owner, name in (
        (GraphSAGE, "__init__"),
        (GraphSAGE, "_message"),
        (graphsage, "_relations"),
        (fit, "spectral_embeddings"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))


@pytest.mark.usefixtures("whole_model")
@pytest.mark.parametrize("what", ["ids", "graph"])
def test_an_ablated_model_lacks_what_it_says_and_still_learns(what: str) -> None:
    ablated_night.ABLATIONS[what]()
    tensors = Graph.of(FILES, CUT).tensors
    model = fit.fit(tensors, tensors.interactions, TrainerSettings(threads=1, epochs=1, dim=8), seed=1)
    with torch.no_grad():
        embeddings = model(graphsage.to_graph(tensors, tensors.interactions, len(model.token)))
    lacking = (model.user_id, model.post_id) if what == "ids" else (embeddings.message, embeddings.state_sum)
    assert all(not tensor.any() for tensor in lacking)
    assert np.ptp(embeddings.post.numpy(), axis=0).any()
