"""EASE: the linear autoencoder in closed form (Steck 2019, "Embarrassingly shallow autoencoders for sparse data").

With G = XᵀX and P = (G + RIDGE · I)^-1 the weights are B = I - P / diag(P), zero on the diagonal, and a user scores his
row of X times B. One square matrix of all posts is made, inverted and turned into B in its own memory: 400 MB for
10,000 posts.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from waypost.graph.tensors import GraphTensors, Int32Array, Interactions
from waypost.model.evaluation import Float32Array, ScoreUsers
from waypost.trainer.baselines.interactions import user_post_matrix

MOST_POSTS = 10_000  # memory grows with their square, time with their cube
RIDGE = 200.0  # the lower end of what the paper found for data of this density; not tuned
POSTS_PER_BLOCK = 512
PARAMETERS = {"ridge": RIDGE}


def fit_ease(tensors: GraphTensors, train: Interactions, seed: int) -> ScoreUsers:
    users = user_post_matrix(tensors, train)
    weights = _weights(users)

    def score_users(rows: Int32Array) -> Float32Array:
        scores: Float32Array = users[rows] @ weights
        return scores

    return score_users


def _weights(users: sparse.csr_matrix) -> Float32Array:
    """[num_posts, num_posts]"""
    inverse = _inverted(_gram(users))
    diagonal = inverse.diagonal().copy()
    inverse /= -diagonal[None, :]
    np.fill_diagonal(inverse, 0.0)
    return inverse


def _gram(users: sparse.csr_matrix) -> Float32Array:
    """XᵀX + RIDGE · I, column-major as LAPACK wants it."""
    num_posts, by_post = users.shape[1], users.T.tocsr()
    gram: Float32Array = np.zeros((num_posts, num_posts), np.float32, order="F")
    for start in range(0, num_posts, POSTS_PER_BLOCK):
        block = by_post[start : start + POSTS_PER_BLOCK]
        gram[:, start : start + POSTS_PER_BLOCK] = (users.T @ block.T).toarray()
    gram.flat[:: num_posts + 1] += np.float32(RIDGE)
    return gram


def _inverted(gram: Float32Array) -> Float32Array:
    """By Cholesky, in place. It is positive definite, since RIDGE is."""
    factor, failed = lapack.spotrf(gram, lower=True, overwrite_a=True)
    inverse: Float32Array
    inverse, failed_too = lapack.spotri(factor, lower=True, overwrite_c=True)
    assert not failed, "a positive definite matrix has a Cholesky factor"
    assert not failed_too, "and that an inverse"
    for start in range(0, len(inverse), POSTS_PER_BLOCK):  # LAPACK fills the lower half
        end = start + POSTS_PER_BLOCK
        inverse[start:end, end:] = inverse[end:, start:end].T
        corner = inverse[start:end, start:end]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
    return inverse.T  # the same, and row-major: else every batch of users would copy it
