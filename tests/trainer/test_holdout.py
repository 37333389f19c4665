"""The trainer's own figures are those of any judge on the same lists; every ranker is asked the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.factories import some_tensors
from waypost.errors import UsageError
from waypost.graph.tensors import csr_from_pairs
from waypost.model.evaluation import rank_posts
from waypost.model.judge import JudgeOptions, evaluate_files
from waypost.model.serving import score_users
from waypost.model.tables import to_serving_tables
from waypost.objects.memory import MemoryObjectStore
from waypost.settings import TrainerSettings
from waypost.trainer.baselines import BaselineCache
from waypost.trainer.fit import fit
from waypost.trainer.holdout import MODEL, SERVED, HoldoutReport, K, measure, write_evaluation
from waypost.trainer.segments import ALL, HEAD, NEW_POSTS, NEW_USERS, TAIL, WARM
from waypost.trainer.split import Split, split

TENSORS = some_tensors(num_users=80, num_posts=60)
SETTINGS = TrainerSettings(epochs=1, dim=8, layers=2, holdout_share=0.2, threads=1, baselines="item-knn")


@pytest.fixture(scope="module")
def cut() -> Split:
    return split(TENSORS, SETTINGS.holdout_share, SETTINGS.seed)


@pytest.fixture(scope="module")
def report(cut: Split) -> HoldoutReport:
    return measure(fit(TENSORS, cut.train, SETTINGS, SETTINGS.seed), TENSORS, cut, SETTINGS)


def test_the_trainers_figures_agree_with_the_judges_on_the_same_lists(
    cut: Split, report: HoldoutReport, tmp_path: Path
) -> None:
    write_evaluation(tmp_path, TENSORS, cut, report)
    judged = evaluate_files(
        tmp_path / "train.txt",
        tmp_path / "test.txt",
        tmp_path / "recs.tsv",
        JudgeOptions(missing="error", num_posts=TENSORS.num_posts),
    )
    figures = report.figures()
    assert judged["users"] == figures["users"] >= 10
    for theirs, ours in {
        f"recall@{K}": "recall",
        f"ndcg@{K}": "ndcg",
        "recall_ci95": "recall_ci95",
        "ndcg_ci95": "ndcg_ci95",
        f"coverage@{K}": "coverage",
        "gini_exposure": "gini",
        "novelty_bits": "novelty_bits",
    }.items():
        assert judged[theirs] == pytest.approx(figures[ours], abs=1e-6), ours


def test_every_ranker_is_judged_on_the_same_users_of_every_segment(report: HoldoutReport) -> None:
    assert list(report.rankings) == [MODEL, "popularity", "item-knn"]
    assert list(report.judged) == [ALL, WARM, NEW_USERS, NEW_POSTS, HEAD, TAIL]
    assert report.judged[ALL].tolist() == report.users.tolist()
    for name, ranking in report.rankings.items():
        assert ranking.lists.shape == (len(report.users), K)
        assert {segment: len(scores.recall) for segment, scores in ranking.scores.items()} == {
            segment: len(users) for segment, users in report.judged.items()
        }, name


def test_the_figures_are_json_and_name_every_ranker_on_every_segment(report: HoldoutReport) -> None:
    figures = json.loads(json.dumps(report.figures()))
    assert {"recall", "ndcg", "popularity_recall", "popularity_ndcg"} <= figures.keys()
    assert figures["segments"][ALL]["model"]["recall"] == figures["recall"]
    assert figures["segments"][TAIL]["item-knn"].keys() == {"recall", "recall_ci95", "ndcg", "ndcg_ci95"}
    assert figures["segments"][HEAD]["users"] == len(report.judged[HEAD])
    assert figures["rankings"][MODEL]["coverage"] == figures["coverage"]
    assert all(isinstance(value, int | float | bool) for value in report.headline().values())


def test_a_served_model_ranks_for_the_same_users_on_the_same_graph(cut: Split) -> None:
    model, other = (fit(TENSORS, cut.train, SETTINGS, seed) for seed in (1, 2))
    report = measure(model, TENSORS, cut, SETTINGS, served=other)
    assert list(report.rankings)[:2] == [MODEL, SERVED]
    alone = measure(other, TENSORS, cut, SETTINGS)
    assert np.array_equal(report.rankings[SERVED].lists, alone.lists)
    assert not np.array_equal(report.rankings[SERVED].lists, report.lists)


def test_a_served_model_may_come_as_tables(cut: Split) -> None:
    model = fit(TENSORS, cut.train, SETTINGS, seed=1)
    tables = to_serving_tables(model, TENSORS, cut.train)
    report = measure(model, TENSORS, cut, SETTINGS, served=tables)
    seen = csr_from_pairs(cut.seen.user, cut.seen.post, TENSORS.num_users)
    expected = rank_posts(lambda batch: score_users(tables, batch), report.users, seen, K)
    assert np.array_equal(report.rankings[SERVED].lists, expected)


def test_the_baselines_are_kept_where_a_cache_is_given(cut: Split, report: HoldoutReport) -> None:
    store = MemoryObjectStore()
    cached = measure(fit(TENSORS, cut.train, SETTINGS, seed=1), TENSORS, cut, SETTINGS, cache=BaselineCache(store, "f"))
    assert [info.key.split("/")[0] for info in store.list("")] == ["baselines"] * 2
    assert np.array_equal(cached.rankings["item-knn"].lists, report.rankings["item-knn"].lists)


def test_a_post_that_was_reported_is_in_nobodys_list_and_is_no_right_answer() -> None:
    kind = (TENSORS.interactions.post % 3 == 0).astype(np.uint8)
    interactions = replace(TENSORS.interactions, kind=kind)
    tensors = replace(TENSORS, kinds=("view", "report"), kind_weights=(1.0, 0.0), interactions=interactions)
    cut = split(tensors, SETTINGS.holdout_share, SETTINGS.seed)
    report = measure(fit(tensors, cut.train, SETTINGS, SETTINGS.seed), tensors, cut, SETTINGS)
    assert (cut.holdout_post % 3 > 0).all()
    reported = csr_from_pairs(cut.seen.user, cut.seen.post, tensors.num_users)
    for ranking in report.rankings.values():
        for user, posts in zip(report.users, ranking.lists, strict=True):
            assert not set(posts.tolist()) & set(reported.row(user).tolist())


def test_a_model_of_nan_is_measured_and_called_what_it_is(cut: Split) -> None:
    model = fit(TENSORS, cut.train, SETTINGS, seed=1)
    with torch.no_grad():
        model.post_id[3] = np.nan
    assert not measure(model, TENSORS, cut, SETTINGS).finite


def test_a_folder_that_cannot_be_written_is_one_clear_error(cut: Split, report: HoldoutReport, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="name a writable folder"):
        write_evaluation(tmp_path / "file", TENSORS, cut, report)
