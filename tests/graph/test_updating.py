"""Updating a state cell by cell ends where building it from all rows does: pure, over random little graphs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import SchemaError
from waypost.graph.encoding import decode_changes, decode_state, encode_changes, encode_state
from waypost.graph.mapping import DEFAULT, parse_mapping
from waypost.graph.partitions import Partition
from waypost.graph.rows import SourceRows
from waypost.graph.state import GraphState
from waypost.graph.tensors import NO_TIME
from waypost.graph.texts import to_texts
from waypost.graph.updating import Change, build, later, update

PARTITIONS = {
    "users": Partition("key", "user_id", 4),
    "posts": Partition("time", "created_at", 8_000_000),
    "tags": Partition("key", "tag_id", 2),
    "post_tags": Partition("key", "post_id", 4),
    "interactions": Partition("time", "created_at", 8_000_000),
}
Tables = dict[str, SourceRows]
SEEDS = st.integers(0, 2**32 - 1)


def some_tables(seed: int) -> Tables:
    """Edges may name users, posts and tags that are not there; rows and times repeat; some have no time."""
    choose = np.random.default_rng(seed)
    users, posts, tags = (choose.choice(12, choose.integers(1, 9), replace=False) for _ in range(3))
    return {
        "users": SourceRows(len(users), {"user_id": users}, {}),
        "posts": SourceRows(
            len(posts),
            {
                "post_id": posts,
                "author_id": choose.integers(0, 12, len(posts)),
                "has_author": choose.random(len(posts)) < 0.7,
                "created_at": some_times(choose, len(posts)),
            },
            {"text": to_texts(f"{post} {choose.integers(3)}" * int(choose.integers(3)) for post in posts)},
        ),
        "tags": SourceRows(len(tags), {"tag_id": tags}, {"name": to_texts(f"t{choose.integers(3)}" for _ in tags)}),
        "post_tags": some_edges(choose, ("post_id", "tag_id")),
        "interactions": some_interactions(choose),
    }


def some_times(choose: np.random.Generator, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return choose.choice(np.append(np.arange(0, 80_000_000, 5_000_000), NO_TIME), count)


def some_edges(choose: np.random.Generator, names: tuple[str, str]) -> SourceRows:
    count = int(choose.integers(0, 25))
    return SourceRows(count, {name: choose.integers(0, 12, count) for name in names}, {})


def some_interactions(choose: np.random.Generator) -> SourceRows:
    edges = some_edges(choose, ("user_id", "post_id"))
    names = tuple(choose.permutation(["like", "save", "view"])[: choose.integers(1, 4)].tolist())
    columns = {
        **edges.columns,
        "created_at": some_times(choose, edges.count),
        "kind": choose.integers(0, len(names), edges.count).astype(np.uint8),
    }
    return SourceRows(edges.count, columns, {}, names)


def between(old: Tables, new: Tables) -> dict[str, Change]:
    """What a night that had `old` reads of `new`: the rows of every cell that either has rows in."""
    changes = {}
    for name, partition in PARTITIONS.items():
        cells = [partition.cells_of(tables[name].columns[partition.column]) for tables in (old, new)]
        changed = np.union1d(*(np.unique(values) for values in cells))[::2]  # every second one is as it was
        mask = np.isin(cells[1], changed)
        changes[name] = Change(new[name].take(mask), partition, changed)
    return changes


def applied(old: Tables, changes: Mapping[str, Change]) -> dict[str, Change]:
    """The tables after those changes, as one change of everything."""
    return {name: Change(old[name]).followed_by(changes[name]) for name in old}


def everything(tables: Tables) -> dict[str, Change]:
    return {name: Change(rows) for name, rows in tables.items()}


def canonical(state: GraphState) -> dict[str, bytes]:
    """Orphans have no order of their own."""
    orphans = state.orphans
    order = np.lexsort((orphans.kind, orphans.created_at, orphans.post_ids, orphans.user_ids))
    tags = state.post_tags
    tag_order = np.lexsort((tags.orphan_tag_ids, tags.orphan_post_ids))
    return {
        **{name: body for name, body in encode_state(state).items() if name != "edges"},
        "pairs": np.stack([state.interactions.user, state.interactions.post]).tobytes(),
        "rest": state.interactions.kind.tobytes() + state.interactions.created_at.tobytes(),
        "tags": np.stack([tags.post, tags.tag]).tobytes(),
        "orphans": np.stack([orphans.user_ids, orphans.post_ids, orphans.created_at, orphans.kind])[:, order].tobytes(),
        "orphan tags": np.stack([tags.orphan_post_ids, tags.orphan_tag_ids])[:, tag_order].tobytes(),
    }


def build_or_none(changes: Mapping[str, Change]) -> GraphState | None:
    """None where the rows are no graph: a post that moved between cells of which only one was read stands twice."""
    try:
        return build(changes, DEFAULT)
    except SchemaError:
        return None


@given(SEEDS)
def test_an_update_ends_where_a_build_of_the_same_rows_does(seed: int) -> None:
    old, new = some_tables(seed), some_tables(seed + 1)
    changes = between(old, new)
    expected = build_or_none(applied(old, changes))
    if expected is None:
        with pytest.raises(SchemaError):
            update(build(everything(old), DEFAULT), changes, DEFAULT)
        return
    assert canonical(update(build(everything(old), DEFAULT), changes, DEFAULT)) == canonical(expected)


@given(SEEDS)
def test_two_changes_as_one_are_the_two_changes_one_after_the_other(seed: int) -> None:
    first, second, third = (some_tables(seed + i) for i in range(3))
    one, two = between(first, second), between(second, third)
    state = build(everything(first), DEFAULT)
    together = build_or_none(applied({name: change.rows for name, change in applied(first, one).items()}, two))
    if together is None:
        return
    assert canonical(update(state, later(one, two), DEFAULT)) == canonical(together)


@given(SEEDS)
def test_what_is_kept_comes_back(seed: int) -> None:
    state = build(everything(some_tables(seed)), DEFAULT)
    assert canonical(decode_state(encode_state(state))) == canonical(state)
    changes = between(some_tables(seed), some_tables(seed + 1))
    assert encode_changes(decode_changes(encode_changes(changes))) == encode_changes(changes)


def test_a_user_who_comes_back_gets_his_interactions_back() -> None:
    tables = some_tables(3)
    nobody = {"users": Change(tables["users"].take(np.zeros(tables["users"].count, bool)))}
    whole = build(everything(tables), DEFAULT)
    without = update(whole, nobody, DEFAULT)
    assert len(without.interactions) == 0
    assert len(without.orphans) == len(whole.interactions) + len(whole.orphans)
    assert canonical(update(without, {"users": Change(tables["users"])}, DEFAULT)) == canonical(whole)


def test_a_post_that_is_given_twice_is_refused() -> None:
    tables = some_tables(3)
    posts = tables["posts"]
    twice = SourceRows(
        posts.count,
        {**posts.columns, "post_id": np.full(posts.count, 7)},
        posts.texts,
    )
    with pytest.raises(SchemaError, match="post_id twice"):
        build({**everything(tables), "posts": Change(twice)}, DEFAULT)


def test_a_kind_of_two_sources_is_refused_by_both_names() -> None:
    mapping = parse_mapping("""
        users.select = "SELECT 1 AS user_id"
        posts.select = "SELECT 1 AS post_id"
        [interactions.stars]
        select = "SELECT 1"
        kind = "like"
        [interactions.hearts]
        select = "SELECT 1"
    """)
    ids = {name: np.zeros(1, np.int64) for name in ("user_id", "post_id")}
    stars = Change(SourceRows(1, ids, {}))
    hearts = Change(SourceRows(1, {**ids, "kind": np.zeros(1, np.uint8)}, {}, ("like",)))
    nodes = {
        "users": Change(SourceRows(1, {"user_id": ids["user_id"]}, {})),
        "posts": Change(SourceRows(1, {"post_id": ids["post_id"]}, {"text": to_texts([""])})),
    }
    with pytest.raises(SchemaError, match=r"interactions\.hearts and interactions\.stars both have the kind 'like'"):
        build({**nodes, "stars": stars, "hearts": hearts}, mapping)
