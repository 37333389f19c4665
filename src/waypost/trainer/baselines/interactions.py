"""The training part as the matrix that collaborative baselines start from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from waypost.graph.tensors import GraphTensors, Interactions, csr_from_pairs


def user_post_matrix(tensors: GraphTensors, train: Interactions) -> sparse.csr_matrix:
    """[num_users, num_posts] float32, 1 for each distinct pair."""
    pairs = csr_from_pairs(train.user, train.post, tensors.num_users)
    ones = np.ones(len(pairs.indices), np.float32)
    return sparse.csr_matrix((ones, pairs.indices, pairs.indptr), (tensors.num_users, tensors.num_posts))


def scaled(users: sparse.csr_matrix, user_power: float, post_power: float) -> sparse.csr_matrix:
    """Each entry times (degree of its user)^user_power · (degree of its post)^post_power."""
    user_degree, post_degree = np.diff(users.indptr), np.bincount(users.indices, minlength=users.shape[1])
    row = np.repeat(np.arange(users.shape[0]), user_degree)
    factor = degree_scale(user_degree, user_power)[row] * degree_scale(post_degree, post_power)[users.indices]
    return sparse.csr_matrix((users.data * factor, users.indices, users.indptr), users.shape)


def degree_scale(degree: NDArray[np.int64], power: float) -> NDArray[np.float32]:
    """degree^power, with 1 for what has no edge."""
    return (np.maximum(degree, 1).astype(np.float64) ** power).astype(np.float32)
