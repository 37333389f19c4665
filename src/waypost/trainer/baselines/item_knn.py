"""Posts that the same users have: cosine between posts, the nearest neighbours of each post kept.

score(u, j) = Σ over u's posts i among j's NEIGHBOURS nearest of |users of both| / sqrt(|users of i| · |users of j|)
(Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms").
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import sparse

from waypost.graph.tensors import GraphTensors, Int32Array, Interactions
from waypost.model.evaluation import Float32Array, ScoreUsers
from waypost.trainer.baselines.interactions import scaled, user_post_matrix

NEIGHBOURS = 200  # of a post; see docs/experiments.md
MOST_POSTS_OF_A_USER = 1_000  # an even sample of more: pairs of posts grow with the square, and say less and less
POSTS_PER_BLOCK = 512
PARAMETERS = {"neighbours": NEIGHBOURS, "most_posts_of_a_user": MOST_POSTS_OF_A_USER}


def fit_item_knn(tensors: GraphTensors, train: Interactions, seed: int) -> ScoreUsers:
    users = user_post_matrix(tensors, train)
    similarity = _nearest(_thinned(users, seed), NEIGHBOURS)

    def score_users(rows: Int32Array) -> Float32Array:
        scores: Float32Array = (users[rows] @ similarity).toarray()
        return scores

    return score_users


def _thinned(users: sparse.csr_matrix, seed: int) -> sparse.csr_matrix:
    """With at most MOST_POSTS_OF_A_USER posts in a row."""
    degree = np.diff(users.indptr)
    if degree.max(initial=0) <= MOST_POSTS_OF_A_USER:
        return users
    chance = MOST_POSTS_OF_A_USER / np.maximum(np.repeat(degree, degree), 1)
    stays = np.random.default_rng(seed).random(users.nnz) < chance
    thinned = sparse.csr_matrix((users.data * stays, users.indices, users.indptr), users.shape)
    thinned.eliminate_zeros()
    return thinned


def _nearest(users: sparse.csr_matrix, neighbours: int) -> sparse.csr_matrix:
    """[num_posts, num_posts] column j holds the cosines of j's nearest, without j itself."""
    cosine = scaled(users, 0.0, -0.5)
    by_post, found = cosine.T.tocsr(), []
    for start in range(0, users.shape[1], POSTS_PER_BLOCK):
        block = by_post[start : start + POSTS_PER_BLOCK] @ cosine
        block.sort_indices()
        for row, (first, end) in enumerate(pairwise(block.indptr.tolist())):
            found.append(_largest(block.indices[first:end], block.data[first:end], neighbours, start + row))
    if not found:
        return sparse.csr_matrix(users.shape[1:] * 2, dtype=np.float32)
    indptr = np.concatenate(([0], np.cumsum([len(posts) for posts, _ in found])))
    posts, values = (np.concatenate(column) for column in zip(*found, strict=True))
    return sparse.csr_matrix((values, posts, indptr), users.shape[1:] * 2).T.tocsr()


def _largest(posts: Int32Array, values: Float32Array, count: int, own: int) -> tuple[Int32Array, Float32Array]:
    """The `count` largest values and their posts, ascending, but for `own`; of equal ones those of the first posts."""
    others = posts != own
    posts, values = posts[others], values[others]
    if len(values) <= count:
        return posts, values
    least = np.partition(values, len(values) - count)[len(values) - count]
    stays = values > least
    stays[np.flatnonzero(values == least)[: count - np.count_nonzero(stays)]] = True
    return posts[stays], values[stays]
