"""GF-CF on the public split that its authors used comes to the figures that they published."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest

from tests.factories import some_tensors
from waypost.graph.tensors import NO_AUTHOR, NO_TIME, Csr, Interactions, csr_from_pairs, no_entries
from waypost.graph.texts import no_texts
from waypost.model.evaluation import choose_users, interval_95, mean, rank_posts, score_lists
from waypost.trainer.baselines.gf_cf import fit_gf_cf

DATA = Path(__file__).parents[3] / "shared" / "data" / "gowalla"
RECALL, NDCG = 0.1849, 0.1518  # Shen et al. 2021, table 2
USERS, POSTS = 29_858, 40_981


def read_pairs(path: Path) -> Csr:
    """By user; ids there are row numbers."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        rows = [[int(word) for word in line.split()] for line in file]
    user = np.repeat([row[0] for row in rows], [len(row) - 1 for row in rows])
    return csr_from_pairs(user, np.concatenate([row[1:] for row in rows]).astype(np.int64), USERS)


@pytest.mark.faults
@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent: no public split to compare on")
def test_gf_cf_comes_to_its_published_figures_within_the_interval_of_5_000_users() -> None:
    train, test = (read_pairs(DATA / name) for name in ("train.txt.xz", "test.txt.xz"))
    count = len(train.indices)
    interactions = Interactions(
        np.repeat(np.arange(USERS, dtype=np.int32), np.diff(train.indptr)),
        train.indices,
        np.zeros(count, np.uint8),
        np.full(count, NO_TIME),
    )
    tensors = some_tensors(
        num_users=USERS,
        num_posts=POSTS,
        num_tags=0,
        post_author=np.full(POSTS, NO_AUTHOR, np.int32),
        post_tags=no_entries(POSTS),
        post_texts=no_texts(POSTS),
        interactions=interactions,
    )
    users = choose_users(test, 5_000, seed=1)
    scores = score_lists(rank_posts(fit_gf_cf(tensors, interactions, seed=1), users, train, 20), users, test)
    assert mean(scores.recall) == pytest.approx(RECALL, abs=interval_95(scores.recall))
    assert mean(scores.ndcg) == pytest.approx(NDCG, abs=interval_95(scores.ndcg))
