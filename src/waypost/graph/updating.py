"""Bring a GraphState up to date with what changed in Postgres. Pure.

A full build is an update of the empty state by all rows, so the full way and the incremental way are one way: rows of
changed cells go, tonight's rows of those cells come, indices move with the nodes, orphans are tried again, and
everything is put into order again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.errors import SchemaError
from waypost.graph.indexing import ABSENT, IdIndex, is_among
from waypost.graph.mapping import Mapping, Source
from waypost.graph.merging import joined_interactions, merged, sorted_interactions
from waypost.graph.partitions import Partition
from waypost.graph.rows import MAX_KINDS, SourceRows, joined_rows
from waypost.graph.sorting import distinct, order_of_keys, order_of_pairs
from waypost.graph.state import GraphState, Nodes, OrphanInteractions, PostFacts, PostTags, empty_state
from waypost.graph.tensors import NO_TIME, Int32Array, Int64Array, Interactions
from waypost.graph.texts import Texts, gathered, joined, no_texts

Mask = NDArray[np.bool_]
MERGED_SHARE = 0.25  # of the rows may be fresh for a merge to beat sorting all


@dataclass(frozen=True, eq=False)
class Change:
    """What tonight's snapshot says of one source: its rows in these cells, or all of them, are now `rows`."""

    rows: SourceRows
    partition: Partition | None = None
    cells: Int64Array | None = None  # ascending; None: all

    def drops(self, values: Int64Array) -> Mask:
        """Which kept rows go, by their values of the partition's column."""
        if self.partition is None or self.cells is None:
            return np.ones(len(values), bool)
        return is_among(self.partition.cells_of(values), self.cells)

    @property
    def column(self) -> str:
        """Whose values `drops` wants."""
        return self.partition.column if self.partition else ""

    def followed_by(self, next_change: Change) -> Change:
        """This change and then that one, as one."""
        if next_change.partition is None or next_change.cells is None:
            return next_change
        kept = self.rows.take(~next_change.drops(self.rows.columns[next_change.column]))
        rows = joined_rows([kept, next_change.rows])
        if self.cells is None:
            return Change(rows)
        return Change(rows, self.partition, np.union1d(self.cells, next_change.cells))


@dataclass(frozen=True, eq=False)
class Arrangement:
    """How the rows of one node type came about: some of the old ones and the fresh ones, put into order."""

    old: Nodes
    new: Nodes
    index: IdIndex  # of the new ones
    kept: Int64Array | None = None  # rows of the old ones; None: nothing changed
    order: Int64Array | None = None  # into the kept and then the fresh ones

    def arranged(self, old: NDArray[Any], fresh: NDArray[Any]) -> NDArray[Any]:
        """A column of the new rows, from that of the old rows and that of the fresh ones."""
        return old if self.kept is None else np.concatenate([old[self.kept], fresh])[self.order]

    def arranged_texts(self, old: Texts, fresh: Texts) -> Texts:
        if self.kept is None or self.order is None:
            return old
        rows = np.concatenate([self.kept, len(old) + np.arange(len(fresh))])[self.order]
        return gathered([old, fresh], rows)

    def moved(self, old_rows: Int32Array) -> Int32Array:
        """The new row of each old row, ABSENT where it is gone."""
        if self.kept is None:
            return old_rows
        row_of = self.index.rows(self.old.ids)
        if len(row_of) == len(self.new) and (row_of == np.arange(len(row_of))).all():
            return old_rows
        return row_of[old_rows]


def later(earlier: MappingType[str, Change], changes: MappingType[str, Change]) -> dict[str, Change]:
    """Both, one after the other, by source."""
    return {**earlier} | {
        name: earlier[name].followed_by(change) if name in earlier else change for name, change in changes.items()
    }


def build(changes: MappingType[str, Change], mapping: Mapping) -> GraphState:
    """The state of all rows. Raises SchemaError for rows that no graph can be made of."""
    return update(empty_state(), changes, mapping)


def update(state: GraphState, changes: MappingType[str, Change], mapping: Mapping) -> GraphState:
    """The state of tonight's rows; a source that is not in `changes` is as it was. Raises SchemaError."""
    if not changes:
        return state
    users = _arrange(state.users, "user_id", changes.get("users"), state.users.ids)
    posts = _arrange(state.posts, "post_id", changes.get("posts"), _partitioned_posts(state, changes.get("posts")))
    tags = _arrange(state.tags, "tag_id", changes.get("tags"), state.tags.ids)
    kinds, interactions, orphans = _update_interactions(state, changes, mapping, users, posts)
    return GraphState(
        users=users.new,
        posts=posts.new,
        tags=tags.new,
        post_facts=_post_facts(state.post_facts, changes.get("posts"), posts),
        tag_names=_tag_names(state.tag_names, changes.get("tags"), tags),
        post_tags=_post_tags(state, changes.get("post_tags"), posts, tags),
        kinds=kinds,
        interactions=interactions,
        orphans=orphans,
    )


def _partitioned_posts(state: GraphState, change: Change | None) -> Int64Array:
    return state.post_facts.created_at if change and change.column == "created_at" else state.posts.ids


def _arrange(old: Nodes, id_column: str, change: Change | None, partitioned: Int64Array) -> Arrangement:
    if change is None:
        return Arrangement(old, old, IdIndex(old.ids))
    kept = np.flatnonzero(~change.drops(partitioned))
    fresh = change.rows.columns[id_column]
    ids = np.concatenate([old.ids[kept], fresh])
    keys = _keys(old, kept, change.rows)
    order = np.argsort(ids, kind="stable") if keys is None else order_of_keys(keys)
    order = _distinct(ids, keys, order, id_column)
    new = Nodes(ids[order], keys.take(order) if keys is not None else None)
    return Arrangement(old, new, IdIndex(new.ids), kept, order)


def _keys(old: Nodes, kept: Int64Array, fresh: SourceRows) -> Texts | None:
    if "key" not in fresh.texts:
        return None
    return joined([(old.keys or no_texts(len(old))).take(kept), fresh.texts["key"]])


def _distinct(ids: Int64Array, keys: Texts | None, order: Int64Array, id_column: str) -> Int64Array:
    """The order without repeated users; a post or tag that is given twice has two truths, which is refused."""
    ordered = ids[order]
    repeated = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
    differ = keys is not None and any(keys.raw(order[row]) != keys.raw(order[row - 1]) for row in repeated)
    if differ or (keys is not None and len(distinct(ids)) < len(ids) - len(repeated)):
        raise SchemaError(f"two different values of {id_column} have the same 64-bit hash", "map integer keys")
    if len(repeated) and id_column != "user_id":
        raise SchemaError(f"the SELECT gives {len(repeated)} values of {id_column} twice", "make it give each once")
    return np.delete(order, repeated)


def _post_facts(old: PostFacts, change: Change | None, posts: Arrangement) -> PostFacts:
    if change is None:
        return old
    rows, columns = change.rows, change.rows.columns
    no_author = np.zeros(rows.count, bool)
    return PostFacts(
        author_ids=posts.arranged(old.author_ids, columns.get("author_id", no_author.astype(np.int64))),
        has_author=posts.arranged(old.has_author, columns.get("has_author", no_author)),
        created_at=posts.arranged(old.created_at, columns.get("created_at", np.full(rows.count, NO_TIME))),
        texts=posts.arranged_texts(old.texts, rows.texts["text"]),
    )


def _tag_names(old: Texts, change: Change | None, tags: Arrangement) -> Texts:
    return old if change is None else tags.arranged_texts(old, change.rows.texts["name"])


def _post_tags(state: GraphState, change: Change | None, posts: Arrangement, tags: Arrangement) -> PostTags:
    old = state.post_tags
    if change is None and posts.kept is None and tags.kept is None:
        return old
    kept_post_ids = np.concatenate([posts.old.ids[old.post], old.orphan_post_ids])
    kept_tag_ids = np.concatenate([tags.old.ids[old.tag], old.orphan_tag_ids])
    if change is not None:
        kept = ~change.drops(kept_post_ids)
        kept_post_ids = np.concatenate([kept_post_ids[kept], change.rows.columns["post_id"]])
        kept_tag_ids = np.concatenate([kept_tag_ids[kept], change.rows.columns["tag_id"]])
    post, tag = posts.index.rows(kept_post_ids), tags.index.rows(kept_tag_ids)
    whole = (post != ABSENT) & (tag != ABSENT)
    orphan = ~whole
    post, tag = post[whole], tag[whole]
    order = order_of_pairs(post, tag, len(tags.new))
    post, tag = post[order], tag[order]
    first = np.ones(len(post), bool)
    first[1:] = (post[1:] != post[:-1]) | (tag[1:] != tag[:-1])
    orphans = np.unique(np.stack([kept_post_ids[orphan], kept_tag_ids[orphan]]), axis=1)  # as the others: distinct
    return PostTags(post[first], tag[first], orphans[0], orphans[1])


Kinds = tuple[tuple[str, str], ...]  # (kind, name of its source), ascending
_Piece = tuple[Interactions, OrphanInteractions]


def _update_interactions(
    state: GraphState, changes: MappingType[str, Change], mapping: Mapping, users: Arrangement, posts: Arrangement
) -> tuple[Kinds, Interactions, OrphanInteractions]:
    sources = [source for source in mapping.sources if source.role == "interactions"]
    changed = {source: changes[source.name] for source in sources if source.name in changes}
    if not changed and users.kept is None and posts.kept is None:
        return state.kinds, state.interactions, state.orphans
    kinds = _merged_kinds(state.kinds, changed)
    rows = _RowsUpdate(state, changed, kinds, users, posts)
    kept, lost = rows.kept()
    pieces = [rows.retried(), *(rows.fresh(source) for source in changed)]
    fresh = joined_interactions([live for live, _ in pieces])
    orphans = _joined_orphans([lost, *(orphans for _, orphans in pieces)])
    return _without_unused(kinds, _sorted(kept, fresh, len(posts.new)), orphans)


def _sorted(kept: Interactions, fresh: Interactions, num_posts: int) -> Interactions:
    """`kept` is sorted already: nodes move, but never past one another."""
    if not len(fresh):
        return kept
    if len(fresh) < MERGED_SHARE * len(kept):
        return merged(kept, fresh, num_posts)
    return sorted_interactions(joined_interactions([kept, fresh]), num_posts)


def _merged_kinds(old: Kinds, changed: MappingType[Source, Change]) -> Kinds:
    """Old kinds and those of the fresh rows; unused ones go in the end."""
    fresh = {(kind, source.name) for source, change in changed.items() for kind in _kind_names(source, change.rows)}
    kinds = tuple(sorted({*old, *fresh}))
    if len(kinds) > MAX_KINDS:
        raise SchemaError(
            f"there are {len(kinds)} kinds of interactions, at most {MAX_KINDS} are read", "map some together"
        )
    return kinds


def _kind_names(source: Source, rows: SourceRows) -> tuple[str, ...]:
    if not rows.count:
        return ()
    return (source.kind,) if source.kind is not None else rows.kind_names or ("",)


@dataclass(frozen=True, eq=False)
class _RowsUpdate:
    """Old and fresh rows of interactions as rows of tonight's nodes; those that name a node that is not there apart."""

    state: GraphState
    changed: MappingType[Source, Change]
    kinds: Kinds  # of tonight
    users: Arrangement
    posts: Arrangement

    def kept(self) -> _Piece:
        """The old interactions outside the changed cells; those whose user or post is gone are orphans now."""
        rows, old_users, old_posts = self.state.interactions, self.users.old, self.posts.old
        dropped = self._dropped(rows.kind, rows.created_at, lambda: old_users.ids[rows.user])
        if dropped is not None:
            rows = rows.take(np.flatnonzero(~dropped))
        user, post = self.users.moved(rows.user), self.posts.moved(rows.post)
        moved = Interactions(user, post, _renumbered(rows.kind, self.state.kinds, self.kinds), rows.created_at)
        gone = (user == ABSENT) | (post == ABSENT)
        if not gone.any():
            return moved, _no_orphans()
        lost = rows.take(gone)
        orphans = OrphanInteractions(
            old_users.ids[lost.user], old_posts.ids[lost.post], moved.kind[gone], lost.created_at
        )  # fmt: skip
        return moved.take(~gone), orphans

    def retried(self) -> _Piece:
        """The old orphans outside the changed cells; those whose user and post are there now are interactions."""
        old = self.state.orphans
        dropped = self._dropped(old.kind, old.created_at, lambda: old.user_ids)
        kept = slice(None) if dropped is None else ~dropped
        kind = _renumbered(old.kind[kept], self.state.kinds, self.kinds)
        return self._found(OrphanInteractions(old.user_ids[kept], old.post_ids[kept], kind, old.created_at[kept]))

    def fresh(self, source: Source) -> _Piece:
        """Tonight's rows of a changed source."""
        rows = self.changed[source].rows
        own: Kinds = tuple((name, source.name) for name in _kind_names(source, rows))
        kind = _renumbered(rows.columns.get("kind", np.zeros(rows.count, np.uint8)), own, self.kinds)
        times = rows.columns.get("created_at", np.full(rows.count, NO_TIME))
        return self._found(OrphanInteractions(rows.columns["user_id"], rows.columns["post_id"], kind, times))

    def _found(self, rows: OrphanInteractions) -> _Piece:
        """Rows by the wire's ids, as rows of tonight's nodes where both are there."""
        user, post = self.users.index.rows(rows.user_ids), self.posts.index.rows(rows.post_ids)
        live = Interactions(user, post, rows.kind, rows.created_at)
        orphan = (user == ABSENT) | (post == ABSENT)
        if not orphan.any():
            return live, _no_orphans()
        left = OrphanInteractions(
            rows.user_ids[orphan].astype(np.int64),
            rows.post_ids[orphan].astype(np.int64),
            rows.kind[orphan],
            rows.created_at[orphan],
        )
        return live.take(~orphan), left

    def _dropped(
        self, kind: NDArray[np.uint8], created_at: Int64Array, user_ids: Callable[[], Int64Array]
    ) -> Mask | None:
        """Which old rows stand in changed cells of their source; None when none can."""
        dropped: Mask | None = None
        for source, change in self.changed.items():
            own = np.array([name == source.name for _, name in self.state.kinds], bool)
            if not own.any():
                continue
            mask = change.drops(created_at if change.column == "created_at" else user_ids())
            if not own.all():
                mask &= own[kind]
            dropped = mask if dropped is None else dropped | mask
        return dropped


def _renumbered(kind: NDArray[np.uint8], old: Kinds, new: Kinds) -> NDArray[np.uint8]:
    if old == new[: len(old)]:
        return kind
    return np.array([new.index(name) for name in old], np.uint8)[kind]


def _without_unused(
    kinds: Kinds, live: Interactions, orphans: OrphanInteractions
) -> tuple[Kinds, Interactions, OrphanInteractions]:
    counts = np.bincount(live.kind, minlength=len(kinds)) + np.bincount(orphans.kind, minlength=len(kinds))
    used: Kinds = tuple(kind for kind, count in zip(kinds, counts, strict=True) if count)
    _require_one_source(used)
    if used == kinds:
        return kinds, live, orphans
    renumbered = np.zeros(len(kinds), np.uint8)
    renumbered[counts > 0] = np.arange(len(used))
    return used, replace(live, kind=renumbered[live.kind]), replace(orphans, kind=renumbered[orphans.kind])


def _require_one_source(kinds: Kinds) -> None:
    for (kind, source), (next_kind, next_source) in pairwise(kinds):
        if kind == next_kind:
            raise SchemaError(
                f"interactions.{source} and interactions.{next_source} both have the kind {kind!r}",
                "name one of them otherwise, or make one SELECT of both with UNION ALL",
            )


def _joined_orphans(pieces: Sequence[OrphanInteractions]) -> OrphanInteractions:
    return OrphanInteractions(
        np.concatenate([piece.user_ids for piece in pieces]),
        np.concatenate([piece.post_ids for piece in pieces]),
        np.concatenate([piece.kind for piece in pieces]),
        np.concatenate([piece.created_at for piece in pieces]),
    )


def _no_orphans() -> OrphanInteractions:
    ids = np.zeros(0, np.int64)
    return OrphanInteractions(ids, ids, np.zeros(0, np.uint8), ids)
