"""GF-CF: a linear low-pass filter on the interaction graph, without training (Shen et al. 2021, "How powerful is graph
convolution for recommendation?", equation 12).

With R̃ = D_u^-1/2 R D_p^-1/2 and V its FACTORS leading right singular vectors, a user with row r of R scores

    r · (R̃ᵀR̃ + ALPHA · D_p^-1/2 V Vᵀ D_p^1/2)

The square matrices are never made: a batch of users passes through the factors one after the other.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from waypost.graph.tensors import GraphTensors, Int32Array, Interactions
from waypost.model.evaluation import Float32Array, ScoreUsers
from waypost.trainer.baselines.interactions import degree_scale, scaled, user_post_matrix

FACTORS = 256  # as published
ALPHA = 0.3  # as published for gowalla
OVERSAMPLING = 32  # extra directions that make the wanted ones accurate
ITERATIONS = 5
PARAMETERS = {"factors": FACTORS, "alpha": ALPHA, "oversampling": OVERSAMPLING, "iterations": ITERATIONS}


def fit_gf_cf(tensors: GraphTensors, train: Interactions, seed: int) -> ScoreUsers:
    users = user_post_matrix(tensors, train)
    normalised = scaled(users, -0.5, -0.5)
    by_post = normalised.T.tocsr()
    root = degree_scale(np.bincount(users.indices, minlength=users.shape[1]), 0.5)
    factors = leading_factors(normalised, by_post, FACTORS, seed)

    def score_users(rows: Int32Array) -> Float32Array:
        asked = users[rows]
        filtered = (by_post @ (normalised @ asked.T.toarray())).T
        ideal = (asked @ (factors / root[:, None])) @ (factors.T * root)
        scores: Float32Array = filtered + np.float32(ALPHA) * ideal
        return scores

    return score_users


def leading_factors(normalised: sparse.csr_matrix, by_post: sparse.csr_matrix, count: int, seed: int) -> Float32Array:
    """[num_posts, count] or fewer leading right singular vectors of `normalised`, whose transpose is `by_post`.

    Randomised subspace iteration (Halko, Martinsson, Tropp 2011).
    """
    count = min(count, *normalised.shape)
    width = min(count + OVERSAMPLING, *normalised.shape)
    start = np.random.default_rng(seed).standard_normal((normalised.shape[1], width), np.float32)
    basis: Float32Array = np.linalg.qr(start)[0]
    for _ in range(ITERATIONS):
        basis = np.linalg.qr(by_post @ (normalised @ basis))[0]
    image = normalised @ basis
    strength, turn = np.linalg.eigh(image.T @ image)
    leading = turn[:, ::-1][:, :count]
    factors: Float32Array = basis @ leading[:, strength[::-1][:count] > 0]
    return factors
