"""The same list for everybody: posts by the number of users who have them."""

from __future__ import annotations

import numpy as np

from waypost.graph.tensors import GraphTensors, Int32Array, Interactions, csr_from_pairs
from waypost.model.evaluation import Float32Array, ScoreUsers


def fit_popularity(tensors: GraphTensors, train: Interactions, seed: int) -> ScoreUsers:
    pairs = csr_from_pairs(train.user, train.post, tensors.num_users)
    popularity = np.bincount(pairs.indices, minlength=tensors.num_posts).astype(np.float32)

    def score_users(users: Int32Array) -> Float32Array:
        return np.tile(popularity, (len(users), 1))

    return score_users
