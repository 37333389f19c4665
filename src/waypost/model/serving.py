"""What is left of GraphSAGE when the night is over: a few tables, and one formula that makes a user's vector from them.

    z = own + W · (state_sum + Σ message of new neighbours) / max(1, state_count + n_new)^alpha
    score = z · post_vector

Exact and not an approximation, because the layers are linear. `recommend_eager` is that formula in plain numpy: the reference
that the exported ONNX graph is compared with. The last of the d columns carries a post's age offset against a constant 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waypost.graph.tensors import Int32Array

Float32Array = NDArray[np.float32]
UNKNOWN_USER = -1
BLOCKED_SCORE = np.float32(-np.inf)


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


def virtual_post(tables: ServingTables, query_tokens: Sequence[int], tags: Sequence[int]) -> Float32Array | None:
    """[d] the message of a post that nobody wrote: the query's text and the asked tags; None when both are empty."""
    if not len(query_tokens) and not len(tags):
        return None
    message = np.zeros(tables.dim, np.float32)
    if len(query_tokens):
        message += tables.token_message[np.asarray(query_tokens)].mean(axis=0)
    if len(tags):
        message += tables.tag_message[np.asarray(tags)].mean(axis=0)
    return message


def user_vector(
    tables: ServingTables,
    user_index: int,
    recent_posts: Sequence[int] = (),
    query_tokens: Sequence[int] = (),
    tags: Sequence[int] = (),
) -> Float32Array:
    """[d]; UNKNOWN_USER starts from an empty state. `recent_posts` are those not yet in the user's state."""
    known = user_index != UNKNOWN_USER
    own = tables.user_own[user_index] if known else tables.default_own
    total = tables.user_state_sum[user_index].copy() if known else np.zeros(tables.dim, np.float32)
    count = float(tables.user_state_count[user_index]) if known else 0.0
    if len(recent_posts):
        total += tables.post_message[np.asarray(recent_posts)].sum(axis=0)
        count += len(recent_posts)
    query = virtual_post(tables, query_tokens, tags)
    if query is not None:
        total += query
        count += 1
    vector: Float32Array = own + tables.weight @ (total / np.float32(max(count, 1.0) ** tables.alpha))
    return vector


def recommend_eager(
    tables: ServingTables,
    user_index: int,
    recent_posts: Sequence[int] = (),
    query_tokens: Sequence[int] = (),
    tags: Sequence[int] = (),
    blocked: Sequence[int] = (),
) -> Float32Array:
    """[num_posts] scores; `blocked` posts (excluded, seen, filtered out) score BLOCKED_SCORE."""
    scores: Float32Array = tables.post_vector @ user_vector(tables, user_index, recent_posts, query_tokens, tags)
    scores[np.asarray(blocked, np.int64)] = BLOCKED_SCORE
    return scores


def user_vectors(tables: ServingTables, users: Int32Array) -> Float32Array:
    """[n, d] of known users who ask without anything new."""
    count = np.maximum(tables.user_state_count[users], 1.0)[:, None] ** np.float32(tables.alpha)
    vectors: Float32Array = tables.user_own[users] + (tables.user_state_sum[users] / count) @ tables.weight.T
    return vectors


def score_users(tables: ServingTables, users: Int32Array) -> Float32Array:
    """[n, num_posts]"""
    scores: Float32Array = user_vectors(tables, users) @ tables.post_vector.T
    return scores
