"""How good ranked lists are: Recall@k and NDCG@k over the full catalogue, the definition that papers after LightGCN
share; and how much of the catalogue they show.

A user's list ranks every post but his own training posts. Recall@k = hits / |test|; NDCG@k has the ideal over min(k,
|test|); both are means over the users with at least one test post. No torch here, so that lists of any origin can be
judged anywhere; `judge.py` beside this file reads such lists from files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.graph.tensors import Csr, Int32Array

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
ScoreUsers = Callable[[Int32Array], Float32Array]  # user indices [n] -> scores [n, num_posts]
USERS_PER_BATCH = 256  # 256 users x 200,000 posts of float32 are 200 MB
NORMAL_95 = 1.96  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True, eq=False)
class Scores:
    """Per evaluated user, so that two models can be compared in pairs."""

    recall: Float64Array  # [num_users]
    ndcg: Float64Array  # [num_users]

    def means(self) -> tuple[float, float]:
        return mean(self.recall), mean(self.ndcg)


def mean(values: Float64Array) -> float:
    return float(values.mean()) if len(values) else 0.0


def interval_95(values: Float64Array) -> float:
    """Half the width of the 95 % interval of the mean, by the normal approximation."""
    return float(NORMAL_95 * values.std() / np.sqrt(len(values))) if len(values) else 0.0


def coverage(exposure: NDArray[Any]) -> float:
    """exposure [num_posts], how often each post of the catalogue is in a list -> the share that is in one at all."""
    return float(np.count_nonzero(exposure) / max(len(exposure), 1))


def gini(exposure: NDArray[Any]) -> float:
    """As coverage. 0: every post of the catalogue is shown equally often; 1: one takes everything, or none is shown."""
    shown = np.sort(exposure.astype(np.float64))
    n, total = len(shown), shown.sum()
    return float((2 * np.arange(1, n + 1) - n - 1) @ shown / (n * total)) if total else 1.0


def novelty_bits(exposure: NDArray[Any], popularity: NDArray[Any], num_users: int) -> float:
    """Mean self-information of a recommended post: -log2 of the share of training users who have it.

    exposure, popularity [num_posts]; popularity counts users, and a post that nobody has counts as one that one has.
    """
    bits = -np.log2(np.maximum(popularity, 1) / max(num_users, 1))
    return float((exposure * bits).sum() / max(exposure.sum(), 1))


def exposure_of(lists: Int32Array, num_posts: int) -> NDArray[np.int64]:
    """[num_posts] in how many of the lists [num_users, k] (-1: no post) each post is."""
    return np.bincount(lists[lists >= 0], minlength=num_posts)


def recall_at_k(hits: NDArray[Any], num_test: NDArray[Any]) -> Float64Array:
    """hits [num_users, k] whether rank r is a test post, num_test [num_users] >= 1 -> [num_users]"""
    recall: Float64Array = hits.sum(axis=1, dtype=np.float64) / num_test
    return recall


def ndcg_at_k(hits: NDArray[Any], num_test: NDArray[Any]) -> Float64Array:
    """As recall_at_k; gain 1 / log2(rank + 1), ideal over min(k, num_test)."""
    k = hits.shape[1]
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate(([0.0], np.cumsum(discount)))
    ndcg: Float64Array = (hits.astype(np.float64) @ discount) / ideal[np.minimum(k, num_test).astype(np.int64)]
    return ndcg


def top_k(scores: Float32Array, k: int) -> Int32Array:
    """[n, num_posts] -> [n, k] the best posts, best first; ties by ascending index; fewer where there are fewer."""
    k = min(k, scores.shape[1])
    if k == 0:
        return np.zeros((len(scores), 0), np.int32)
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    last = np.take_along_axis(scores, best, axis=1).min(axis=1, keepdims=True)
    for row in np.flatnonzero((scores >= last).sum(axis=1) > k):  # ties across the edge: the lowest indices win
        above = np.flatnonzero(scores[row] > last[row])
        level = np.flatnonzero(scores[row] == last[row])[: k - len(above)]
        best[row] = np.concatenate((above, level))
    best.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1).astype(np.int32)


def rank_posts(score_users: ScoreUsers, users: Int32Array, seen: Csr, k: int) -> Int32Array:
    """[num_users, k]: each user's best posts without those of his row in `seen`; -1 where no post is left."""
    lists = np.full((len(users), k), -1, np.int32)
    for start in range(0, len(users), USERS_PER_BATCH):
        batch = users[start : start + USERS_PER_BATCH]
        scores = score_users(batch).astype(np.float32, copy=True)
        rows, posts = _entries(seen, batch)
        scores[rows, posts] = -np.inf
        best = top_k(scores, k)
        best[np.take_along_axis(scores, best, axis=1) == -np.inf] = -1
        lists[start : start + len(batch), : best.shape[1]] = best
    return lists


def score_lists(lists: Int32Array, users: Int32Array, test: Csr) -> Scores:
    """Judge lists [num_users, k] (-1: no post) of `users` against their rows of `test`, none of which may be empty."""
    num_posts = 1 + max(int(lists.max(initial=-1)), int(test.indices.max(initial=-1)))
    rows, posts = _entries(test, users)
    wanted = rows.astype(np.int64) * num_posts + posts
    asked = np.arange(len(users))[:, None] * num_posts + lists
    hits = np.isin(asked, wanted) & (lists >= 0)
    num_test = np.diff(test.indptr)[users]
    return Scores(recall_at_k(hits, num_test), ndcg_at_k(hits, num_test))


def choose_users(test: Csr, limit: int, seed: int) -> Int32Array:
    """At most `limit` of the users with a test post, ascending; the same seed chooses the same."""
    users = np.flatnonzero(np.diff(test.indptr)).astype(np.int32)
    if len(users) <= limit:
        return users
    return np.sort(np.random.default_rng(seed).choice(users, limit, replace=False))


def _entries(csr: Csr, rows: Int32Array) -> tuple[NDArray[np.int64], Int32Array]:
    """The chosen rows' entries as (position in `rows`, column)."""
    counts = np.diff(csr.indptr)[rows]
    position = np.repeat(np.arange(len(rows)), counts)
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return position, csr.indices[np.repeat(csr.indptr[rows], counts) + offset]
