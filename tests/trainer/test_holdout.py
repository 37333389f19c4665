"""The trainer's own figures are those of any judge on the same lists; a ruined model is not kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.factories import some_tables, some_tensors
from waypost.errors import GateRefused, UsageError
from waypost.graph.tensors import csr_from_pairs
from waypost.model.judge import JudgeOptions, evaluate_files
from waypost.settings import TrainerSettings
from waypost.trainer.fit import fit
from waypost.trainer.holdout import K, measure, write_evaluation
from waypost.trainer.run import require_sane
from waypost.trainer.split import split

TENSORS = some_tensors(num_users=80, num_posts=60)
SETTINGS = TrainerSettings(epochs=1, dim=8, layers=2, holdout_share=0.2, threads=1)


def test_the_trainers_figures_agree_with_the_judges_on_the_same_lists(tmp_path: Path) -> None:
    cut = split(TENSORS, SETTINGS.holdout_share, SETTINGS.seed)
    report = measure(fit(TENSORS, cut.train, SETTINGS, SETTINGS.seed), TENSORS, cut, SETTINGS)
    write_evaluation(tmp_path, TENSORS, cut, report)
    judged = evaluate_files(
        tmp_path / "train.txt", tmp_path / "test.txt", tmp_path / "recs.tsv", JudgeOptions(missing="error")
    )
    figures = report.figures()
    assert judged["users"] == figures["users"] >= 10
    assert judged[f"recall@{K}"] == pytest.approx(figures["recall"], abs=1e-6)
    assert judged[f"ndcg@{K}"] == pytest.approx(figures["ndcg"], abs=1e-6)
    assert judged["recall_ci95"] == pytest.approx(figures["recall_ci95"], abs=1e-6)


def test_a_post_that_was_reported_is_in_nobodys_list_and_is_no_right_answer() -> None:
    kind = (TENSORS.interactions.post % 3 == 0).astype(np.uint8)
    interactions = replace(TENSORS.interactions, kind=kind)
    tensors = replace(TENSORS, kinds=("view", "report"), kind_weights=(1.0, 0.0), interactions=interactions)
    cut = split(tensors, SETTINGS.holdout_share, SETTINGS.seed)
    report = measure(fit(tensors, cut.train, SETTINGS, SETTINGS.seed), tensors, cut, SETTINGS)
    assert (cut.holdout_post % 3 > 0).all()
    reported = csr_from_pairs(cut.seen.user, cut.seen.post, tensors.num_users)
    for user, posts in zip(report.users, report.lists, strict=True):
        assert not set(posts.tolist()) & set(reported.row(user).tolist())


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    cut = split(TENSORS, SETTINGS.holdout_share, SETTINGS.seed)
    report = measure(fit(TENSORS, cut.train, SETTINGS, SETTINGS.seed), TENSORS, cut, SETTINGS)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="name a writable folder"):
        write_evaluation(tmp_path / "file", TENSORS, cut, report)


def test_a_model_that_learning_on_has_ruined_is_refused() -> None:
    tables = some_tables(TENSORS)
    require_sane(tables)
    ruined = tables.post_vector.copy()
    ruined[3, 0] = np.nan
    with pytest.raises(GateRefused, match="NaN"):
        require_sane(replace(tables, post_vector=ruined))
    with pytest.raises(GateRefused, match="collapsed"):
        require_sane(replace(tables, post_vector=np.ones_like(ruined)))
