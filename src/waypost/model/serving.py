"""What is left of GraphSAGE when the night is over: a few tables, and one formula that makes a user's vector from them.

    z = own + W · (state_sum + Σ message of new neighbours) / max(1, state_count + n_new)^alpha
    score = z · post_vector

Exact and not an approximation, because the layers are linear. The last of the d columns carries a post's age offset
against a constant 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waypost.graph.tensors import Int32Array

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ServingTables:
    user_own: Float32Array  # [num_users, d]
    user_state_sum: Float32Array  # [num_users, d] Σ of the messages of the user's posts
    user_state_count: Float32Array  # [num_users] how many they are
    post_message: Float32Array  # [num_posts, d]
    post_vector: Float32Array  # [num_posts, d]
    token_message: Float32Array  # [vocabulary, d]
    tag_message: Float32Array  # [num_tags, d]
    default_own: Float32Array  # [d] of a user nobody has seen
    weight: Float32Array  # [d, d]
    alpha: float  # 1: mean, 0.5: symmetric normalisation

    @property
    def dim(self) -> int:
        return int(self.post_vector.shape[1])


def user_vectors(tables: ServingTables, users: Int32Array) -> Float32Array:
    """[n, d] of known users who ask without anything new."""
    count = np.maximum(tables.user_state_count[users], 1.0)[:, None] ** np.float32(tables.alpha)
    state = tables.user_state_sum[users] / count
    return (tables.user_own[users] + state @ tables.weight.T).astype(np.float32, copy=False)


def score_users(tables: ServingTables, users: Int32Array) -> Float32Array:
    """[n, num_posts]"""
    scores: Float32Array = user_vectors(tables, users) @ tables.post_vector.T
    return scores
