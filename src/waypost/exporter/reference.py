"""The formula of serving.py for one row of the signature, in plain numpy: what the exported model is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from waypost.model.serving import ServingTables
from waypost.model.signature import Row

FloatArray = NDArray[np.float32]


def reference_scores(tables: ServingTables, row: Row) -> FloatArray:
    """Score of every post for one row, [num_posts]; -inf where the row forbids the post."""
    scores = tables.post_vector @ reference_vector(tables, row)
    forbidden = np.full(len(scores), row.restricted)
    if row.restricted:
        forbidden[np.asarray(row.allowed_posts, np.int64)] = False
    forbidden[np.asarray(row.blocked_posts, np.int64)] = True
    return np.where(forbidden, np.float32(-np.inf), scores).astype(np.float32)


def reference_vector(tables: ServingTables, row: Row) -> FloatArray:
    """The user's vector, [d]. A virtual post (query, tags) weighs as much as the whole history."""
    known = row.user_index < len(tables.user_own)
    own = tables.user_own[row.user_index] if known else tables.default_own
    total = tables.user_state_sum[row.user_index] if known else np.zeros(tables.weight.shape[1], np.float32)
    count = float(tables.user_state_count[row.user_index]) if known else 0.0
    recent = np.asarray(row.recent_posts, np.int64)
    total, count = total + tables.post_message[recent].sum(0), count + len(recent)
    if len(row.query_tokens) or len(row.profile_tags):
        weight = max(count, 1.0)
        virtual = _mean(tables.token_message, row.query_tokens) + _mean(tables.tag_message, row.profile_tags)
        total, count = total + weight * virtual, count + weight
    vector: FloatArray = own + tables.weight @ (total / max(count, 1.0) ** tables.alpha)
    return vector


def _mean(table: FloatArray, rows: object) -> FloatArray:
    chosen = np.asarray(rows, np.int64)
    mean: FloatArray = table[chosen].mean(0) if len(chosen) else np.zeros(table.shape[1], np.float32)
    return mean
