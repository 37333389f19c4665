"""GraphState: the graph as it is kept between nights. Pure.

It is GraphTensors and what they leave out but a later night may need: the wire's ids behind text keys, and orphans,
rows that name a user, post or tag that is not there (yet, or any more)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping as MappingType
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waypost.graph.digests import Digests
from waypost.graph.facts import SourceFacts
from waypost.graph.indexing import ABSENT, IdIndex
from waypost.graph.mapping import Mapping, kind_weights
from waypost.graph.tensors import (
    NO_AUTHOR,
    Csr,
    GraphTensors,
    Int32Array,
    Int64Array,
    Interactions,
    no_entries,
)
from waypost.graph.texts import Texts, no_texts

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Nodes:
    """Users, posts or tags in the order of their rows: ascending key."""

    ids: Int64Array  # [num] of the wire
    keys: Texts | None = None  # [num] where keys are not integers

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class PostFacts:
    author_ids: Int64Array  # [num_posts] of the wire
    has_author: Mask  # [num_posts]
    created_at: Int64Array  # [num_posts]
    texts: Texts  # [num_posts]


@dataclass(frozen=True, eq=False)
class OrphanInteractions:
    user_ids: Int64Array  # [num] of the wire
    post_ids: Int64Array  # [num] of the wire
    kind: NDArray[np.uint8]
    created_at: Int64Array

    def __len__(self) -> int:
        return len(self.user_ids)


@dataclass(frozen=True, eq=False)
class PostTags:
    """Distinct pairs, ascending."""

    post: Int32Array  # [num]
    tag: Int32Array  # [num]
    orphan_post_ids: Int64Array  # [num_orphans] of the wire
    orphan_tag_ids: Int64Array


@dataclass(frozen=True, eq=False)
class GraphState:
    users: Nodes
    posts: Nodes
    tags: Nodes
    post_facts: PostFacts
    tag_names: Texts  # [num_tags]
    post_tags: PostTags
    kinds: tuple[tuple[str, str], ...]  # (kind, name of its source), ascending
    interactions: Interactions
    orphans: OrphanInteractions


def empty_state() -> GraphState:
    ids, rows = np.zeros(0, np.int64), np.zeros(0, np.int32)
    kind = np.zeros(0, np.uint8)
    return GraphState(
        users=Nodes(ids),
        posts=Nodes(ids),
        tags=Nodes(ids),
        post_facts=PostFacts(ids, np.zeros(0, bool), ids, no_texts(0)),
        tag_names=no_texts(0),
        post_tags=PostTags(rows, rows, ids, ids),
        kinds=(),
        interactions=Interactions(rows, rows, kind, ids),
        orphans=OrphanInteractions(ids, ids, kind, ids),
    )


def to_tensors(state: GraphState, mapping: Mapping) -> GraphTensors:
    """What the trainer sees; the same rows in Postgres give the same arrays, however the state came about."""
    kinds = tuple(kind for kind, _ in state.kinds)
    return GraphTensors(
        user_ids=_ids(state.users),
        post_ids=_ids(state.posts),
        tag_ids=state.tags.ids,
        tag_names=tuple(state.tag_names),
        kinds=kinds,
        post_author=_authors(state),
        post_created_at=state.post_facts.created_at,
        post_tags=_csr(state.post_tags, len(state.posts)),
        interactions=state.interactions,
        post_texts=state.post_facts.texts,
        post_tokens=no_entries(len(state.posts)),
        kind_weights=kind_weights(mapping, kinds),
        user_key_type=mapping.user_key,
        post_key_type=mapping.post_key,
        user_keys=state.users.keys,
        post_keys=state.posts.keys,
    )


def source_facts(state: GraphState, mapping: Mapping, digests: MappingType[str, Digests]) -> dict[str, SourceFacts]:
    """What the data contract judges: rows, rows without an id, orphans, of each source."""
    orphans: Counter[str] = Counter()
    for (_, source), count in zip(
        state.kinds, np.bincount(state.orphans.kind, minlength=len(state.kinds)), strict=True
    ):
        orphans[source] += int(count)
    orphans["post_tags"] = len(state.post_tags.orphan_post_ids)
    orphans["posts"] = int((state.post_facts.has_author & (_authors(state) == NO_AUTHOR)).sum())
    facts = {}
    for named in mapping.sources:
        rows, complete, _ = digests[named.name].total()
        facts[named.name] = SourceFacts(rows, rows - complete, orphans[named.name])
    return facts


def _ids(nodes: Nodes) -> Int64Array:
    """An integer key is its own id; the id of another key is its rank."""
    return nodes.ids if nodes.keys is None else np.arange(len(nodes), dtype=np.int64)


def _authors(state: GraphState) -> Int32Array:
    author = IdIndex(state.users.ids).rows(state.post_facts.author_ids)
    return np.where(state.post_facts.has_author & (author != ABSENT), author, np.int32(NO_AUTHOR))


def _csr(pairs: PostTags, num_posts: int) -> Csr:
    """The pairs are sorted and distinct already."""
    indptr = np.zeros(num_posts + 1, np.int64)
    np.cumsum(np.bincount(pairs.post, minlength=num_posts), out=indptr[1:])
    return Csr(indptr, pairs.tag)
