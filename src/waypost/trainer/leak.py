"""Did the model see its holdout? Whoever was trained on the right answers scores well on them, and nothing else tells.

What training has seen it remembers. So pairs that the model was certainly trained on are hidden from the graph, and it
ranks them as it ranks held-out pairs, on the same footing: neither is an edge, only the weights can know them. An
honest model ranks the trained pairs higher. One that was also trained on the holdout ranks both alike.
(Membership inference turned round: Yeom et al. 2018, "Privacy Risk in Machine Learning", whose attack is this gap.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waypost.graph.indexing import is_among
from waypost.graph.sorting import distinct
from waypost.graph.tensors import Csr, GraphTensors, Int32Array, Interactions, csr_from_pairs, pair_key
from waypost.model.evaluation import USERS_PER_BATCH, Float32Array, Float64Array, interval_95, mean
from waypost.model.graphsage import GraphSAGE
from waypost.model.serving import ServingTables, user_vectors
from waypost.model.tables import to_serving_tables
from waypost.trainer.split import Split

PROBED_USERS = 1_000  # the interval of the gap is then about 0.01
MOST_TRAINED_SHARE = 0.1  # of the training pairs may be hidden, so that the graph stays what it was


@dataclass(frozen=True, eq=False)
class LeakProbe:
    """Per probed user, how highly the model ranks one pair it was trained on, and his held-out pairs.

    As the share of the known posts new to him that score below it: 1 is the top, 0.5 is chance.
    """

    trained: Float64Array  # [num_probed]
    held_out: Float64Array  # [num_probed] mean over his held-out pairs with known posts

    @property
    def gap(self) -> float:
        """Mean of trained - held_out: above 0 for an honest model."""
        return mean(self.trained - self.held_out)

    @property
    def gap_ci95(self) -> float:
        return interval_95(self.trained - self.held_out)


def probe_leak(model: GraphSAGE, tensors: GraphTensors, cut: Split, users: Int32Array, seed: int) -> LeakProbe:
    """Probe at most PROBED_USERS of `users`; fewer, even none, where few have both known pairs and held-out ones.

    Posts without training interactions are left out, and so are ages: what is probed is what the weights remember of
    single pairs, not how well the model guesses which new posts will be read.
    """
    test = csr_from_pairs(cut.holdout_user, cut.holdout_post, tensors.num_users)
    hidden_user, hidden_post = _hidden_pairs(cut, tensors, users, seed)
    remaining = cut.train.take(~_is_one_of(cut.train, hidden_user, hidden_post, tensors.num_posts))
    known = np.bincount(remaining.post, minlength=tensors.num_posts) > 0
    asked = known[hidden_post] & _has_any(test, known)[hidden_user]
    hidden_user, hidden_post = hidden_user[asked], hidden_post[asked]
    if not len(hidden_user):
        return LeakProbe(np.zeros(0), np.zeros(0))
    tables = to_serving_tables(model, tensors, remaining)
    seen = csr_from_pairs(cut.seen.user, cut.seen.post, tensors.num_users)
    trained, held_out = [], []
    for start in range(0, len(hidden_user), USERS_PER_BATCH):
        batch = slice(start, start + USERS_PER_BATCH)
        for scores, user, post in zip(
            _scores_without_age(tables, hidden_user[batch]), hidden_user[batch], hidden_post[batch], strict=True
        ):
            new = known.copy()
            new[seen.row(user)], new[test.row(user)] = False, False
            right = test.row(user)[known[test.row(user)]]
            ranks = _shares_below(scores[new], scores[np.append(right, post)])
            trained.append(ranks[-1])
            held_out.append(ranks[:-1].mean())
    return LeakProbe(np.array(trained), np.array(held_out))


def _hidden_pairs(cut: Split, tensors: GraphTensors, users: Int32Array, seed: int) -> tuple[Int32Array, Int32Array]:
    """One training pair each of some users who have others left: his last by time, else any.

    The last, because tastes drift: the pair that is nearest to the holdout is the fairest to compare it with.
    """
    train, generator = cut.train, np.random.default_rng(seed)
    pairs = csr_from_pairs(train.user, train.post, tensors.num_users)
    held = np.bincount(cut.holdout_user, minlength=tensors.num_users)
    able = users[(np.diff(pairs.indptr)[users] > 1) & (held[users] > 0)]
    limit = min(PROBED_USERS, int(MOST_TRAINED_SHARE * len(pairs.indices)) + 1)
    chosen = np.sort(generator.permutation(able)[:limit])
    rows = np.flatnonzero(np.isin(train.user, chosen))
    order = np.lexsort((generator.random(len(rows)), train.created_at[rows] if cut.temporal else train.user[rows]))
    rows = rows[order[np.argsort(train.user[rows][order], kind="stable")]]
    last = np.flatnonzero(np.diff(train.user[rows], append=-1))
    return train.user[rows[last]], train.post[rows[last]]


def _is_one_of(train: Interactions, user: Int32Array, post: Int32Array, num_posts: int) -> NDArray[np.bool_]:
    return is_among(pair_key(train.user, train.post, num_posts), distinct(pair_key(user, post, num_posts)))


def _has_any(test: Csr, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[num_users] whether one of his held-out posts is known."""
    user = np.repeat(np.arange(test.num_rows), np.diff(test.indptr))
    return np.bincount(user[known[test.indices]], minlength=test.num_rows) > 0


def _scores_without_age(tables: ServingTables, users: Int32Array) -> Float32Array:
    """[n, num_posts]; the last column of the tables is the age."""
    scores: Float32Array = user_vectors(tables, users)[:, :-1] @ tables.post_vector[:, :-1].T
    return scores


def _shares_below(others: Float32Array, scores: Float32Array) -> Float64Array:
    """[n] for each score the share of `others` below it, equal ones counting half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return below / (2.0 * max(len(ordered), 1))
