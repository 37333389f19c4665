"""ServingTables: all that is needed to answer, as plain arrays, and the answer computed from them in numpy.

GraphSAGE is linear from layer to layer, so the last layer of a user is exactly
    z_u = own[u] + (state_sum[u] + sum of new neighbours' messages) / (state_count[u] + their number)^alpha @ weight
and the score of a post is z_u . post_vector[p]. The exported model computes the same; `recommend_eager` is what it is
compared with. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waypost.model.signature import Row

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ServingTables:
    """Float32 throughout; m: width of a message, d: width of a vector."""

    user_own: FloatArray  # [num_users, d] own state, from the user's id alone
    user_state_sum: FloatArray  # [num_users, m] sum of the messages of the posts he touched
    user_state_count: FloatArray  # [num_users] sum of their weights
    post_message: FloatArray  # [num_posts, m] what a post adds to the state of a user who touches it
    post_vector: FloatArray  # [num_posts, d]
    token_message: FloatArray  # [num_tokens, m] a text is a virtual post: the mean of its tokens' messages
    tag_message: FloatArray  # [num_tags, m] the same for tags
    default_own: FloatArray  # [d] own state of a user nobody knows
    weight: FloatArray  # [m, d]
    alpha: float  # 1: mean of the neighbours; 0.5: symmetric normalisation


def user_vector(tables: ServingTables, row: Row) -> FloatArray:
    """z_u of one row, [d]. A virtual post (query, tags) weighs as much as the whole history."""
    known = row.user_index < len(tables.user_own)
    own = tables.user_own[row.user_index] if known else tables.default_own
    total = tables.user_state_sum[row.user_index] if known else np.zeros(tables.weight.shape[0], np.float32)
    count = float(tables.user_state_count[row.user_index]) if known else 0.0
    recent = np.asarray(row.recent_posts, np.int64)
    total, count = total + tables.post_message[recent].sum(0), count + len(recent)
    if len(row.query_tokens) or len(row.profile_tags):
        virtual_weight = max(count, 1.0)
        virtual = _mean(tables.token_message, row.query_tokens) + _mean(tables.tag_message, row.profile_tags)
        total, count = total + virtual_weight * virtual, count + virtual_weight
    vector: FloatArray = own + (total / max(count, 1.0) ** tables.alpha) @ tables.weight
    return vector


def recommend_eager(tables: ServingTables, row: Row) -> FloatArray:
    """Score of every post for one row, [num_posts]; -inf where the row forbids the post."""
    scores = tables.post_vector @ user_vector(tables, row)
    forbidden = np.zeros(len(scores), bool)
    if row.restricted:
        forbidden[:] = True
        forbidden[np.asarray(row.allowed_posts, np.int64)] = False
    forbidden[np.asarray(row.blocked_posts, np.int64)] = True
    return np.where(forbidden, np.float32(-np.inf), scores).astype(np.float32)


def _mean(table: FloatArray, rows: object) -> FloatArray:
    chosen = np.asarray(rows, np.int64)
    return table[chosen].mean(0) if len(chosen) else np.zeros(table.shape[1], np.float32)
