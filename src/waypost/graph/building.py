"""Snapshot -> GraphTensors: ids become indices, pairs become CSR, rows that point nowhere are dropped and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waypost.graph.snapshot import Snapshot
from waypost.graph.tensors import (
    NO_AUTHOR,
    Csr,
    GraphTensors,
    Int32Array,
    Int64Array,
    Interactions,
    csr_from_pairs,
    pair_key,
)

Tokenize = Callable[[Sequence[str]], Csr]  # texts -> token ids, a row per text


@dataclass(frozen=True)
class Dropped:
    """Rows that named a user, post or tag that is not there; only tables without foreign keys have any."""

    interactions: int
    post_tags: int
    authors: int


def to_tensors(snapshot: Snapshot, tokenize: Tokenize) -> tuple[GraphTensors, Dropped]:
    """The same graph in indices; deterministic, whatever order the rows came in."""
    user_ids, post_ids = np.unique(snapshot.user_ids), np.sort(snapshot.post_ids)
    tag_order = np.argsort(snapshot.tag_ids)
    tag_ids = snapshot.tag_ids[tag_order]
    post_order = np.argsort(snapshot.post_ids)
    author, author_known = index_of(user_ids, snapshot.post_author_ids[post_order])
    has_author = snapshot.post_has_author[post_order]
    interactions, dropped_interactions = _interactions(snapshot, user_ids, post_ids)
    post_tags, dropped_post_tags = _post_tags(snapshot, post_ids, tag_ids)
    tensors = GraphTensors(
        user_ids=user_ids,
        post_ids=post_ids,
        tag_ids=tag_ids,
        tag_names=tuple(snapshot.tag_names[i] for i in tag_order),
        kinds=snapshot.kinds,
        post_author=np.where(has_author & author_known, author, NO_AUTHOR).astype(np.int32),
        post_created_at=snapshot.post_created_at[post_order],
        post_tags=post_tags,
        post_tokens=_post_tokens(snapshot, post_ids, tokenize),
        interactions=interactions,
    )
    dropped = Dropped(dropped_interactions, dropped_post_tags, int((has_author & ~author_known).sum()))
    return tensors, dropped


def index_of(ids: Int64Array, wanted: Int64Array) -> tuple[Int32Array, NDArray[np.bool_]]:
    """For each wanted id its position in the ascending `ids`, and whether it is there at all (else position 0)."""
    position = np.searchsorted(ids, wanted)
    position[position == len(ids)] = 0
    known = ids[position] == wanted if len(ids) else np.zeros(len(wanted), bool)
    return np.where(known, position, 0).astype(np.int32), known


def _interactions(snapshot: Snapshot, user_ids: Int64Array, post_ids: Int64Array) -> tuple[Interactions, int]:
    user, user_known = index_of(user_ids, snapshot.interaction_user_ids)
    post, post_known = index_of(post_ids, snapshot.interaction_post_ids)
    rows = Interactions(user, post, snapshot.interaction_kinds, snapshot.interaction_created_at)
    known = user_known & post_known
    if not known.all():
        rows = rows.take(known)
    order = np.lexsort((rows.kind, rows.created_at, pair_key(rows.user, rows.post, len(post_ids))))
    return rows.take(order), int((~known).sum())


def _post_tags(snapshot: Snapshot, post_ids: Int64Array, tag_ids: Int64Array) -> tuple[Csr, int]:
    post, post_known = index_of(post_ids, snapshot.post_tag_post_ids)
    tag, tag_known = index_of(tag_ids, snapshot.post_tag_tag_ids)
    known = post_known & tag_known
    return csr_from_pairs(post[known], tag[known], len(post_ids)), int((~known).sum())


def _post_tokens(snapshot: Snapshot, post_ids: Int64Array, tokenize: Tokenize) -> Csr:
    """Token rows for every post, those without text empty; texts are taken in post order, so the result is too."""
    order = np.argsort(snapshot.text_post_ids)
    tokens = tokenize([snapshot.texts[i] for i in order])
    post, _ = index_of(post_ids, snapshot.text_post_ids[order])
    lengths = np.zeros(len(post_ids), np.int64)
    lengths[post] = np.diff(tokens.indptr)
    return Csr(np.concatenate(([0], np.cumsum(lengths))), tokens.indices)
