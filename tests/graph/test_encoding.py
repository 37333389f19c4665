"""What is kept in S3 decodes to what was encoded: any state, any night's changes, any digests, empty parts included."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import numpy as safetensors

from waypost.errors import CorruptObject
from waypost.graph.digests import Digests
from waypost.graph.encoding import (
    EDGES,
    NODES,
    TEXTS,
    decode_changes,
    decode_digests,
    decode_state,
    encode_changes,
    encode_digests,
    encode_state,
)
from waypost.graph.packing import pack_ints, prefixed
from waypost.graph.partitions import Partition
from waypost.graph.rows import SourceRows
from waypost.graph.state import GraphState, Nodes, OrphanInteractions, PostFacts, PostTags, empty_state
from waypost.graph.tensors import NO_TIME, Interactions
from waypost.graph.texts import Texts, to_texts
from waypost.graph.updating import Change
from waypost.local.world_model import KINDS, build_world

LOWEST, HIGHEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
IDS = st.one_of(st.integers(LOWEST, HIGHEST), st.integers(-50, 50), st.sampled_from([LOWEST, HIGHEST]))
TIMES = st.one_of(st.integers(-(10**15), 2 * 10**15), st.just(NO_TIME))
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, Texts):
        assert [one.raw(row) for row in range(len(one))] == [other.raw(row) for row in range(len(other))]
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    elif isinstance(one, dict):
        assert set(one) == set(other)
        for name in one:
            assert_same(one[name], other[name])
    elif is_dataclass(one):
        assert type(one) is type(other)
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    else:
        assert one == other


def column(draw: st.DrawFn, values: st.SearchStrategy[int], count: int, dtype: Any = np.int64) -> Any:
    return np.array(draw(st.lists(values, min_size=count, max_size=count)), dtype)


def texts(draw: st.DrawFn, count: int) -> Texts:
    return to_texts(draw(st.lists(WORDS, min_size=count, max_size=count)))


def nodes(draw: st.DrawFn, most: int = 8) -> Nodes:
    ids = np.array(sorted(draw(st.sets(IDS, max_size=most))), np.int64)
    return Nodes(ids, texts(draw, len(ids)) if draw(st.booleans()) else None)


def pairs(draw: st.DrawFn, rows: int, columns: int, *, distinct: bool) -> tuple[Any, Any]:
    if not rows or not columns:
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    pair = st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1))
    found = sorted(draw(st.lists(pair, max_size=20, unique=distinct)))
    table = np.array(found, np.int32).reshape(-1, 2)
    return table[:, 0].copy(), table[:, 1].copy()


@st.composite
def states(draw: st.DrawFn) -> GraphState:
    users, posts, tags = nodes(draw), nodes(draw), nodes(draw, 4)
    tags = Nodes(tags.ids)
    user, post = pairs(draw, len(users), len(posts), distinct=False)
    tagged, tag = pairs(draw, len(posts), len(tags), distinct=True)
    kinds = tuple(sorted(draw(st.sets(st.tuples(WORDS, st.sampled_from(["views", "likes"])), min_size=1, max_size=4))))
    kind = st.integers(0, len(kinds) - 1)
    orphans, orphan_tags = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    return GraphState(
        users=users,
        posts=posts,
        tags=tags,
        post_facts=PostFacts(
            column(draw, IDS, len(posts)),
            column(draw, st.integers(0, 1), len(posts), bool),
            column(draw, TIMES, len(posts)),
            texts(draw, len(posts)),
        ),
        tag_names=texts(draw, len(tags)),
        post_tags=PostTags(tagged, tag, column(draw, IDS, orphan_tags), column(draw, IDS, orphan_tags)),
        kinds=kinds,
        interactions=Interactions(user, post, column(draw, kind, len(user), np.uint8), column(draw, TIMES, len(user))),
        orphans=OrphanInteractions(
            column(draw, IDS, orphans),
            column(draw, IDS, orphans),
            column(draw, kind, orphans, np.uint8),
            column(draw, TIMES, orphans),
        ),
    )


PARTITIONS = st.one_of(
    st.builds(Partition, st.just("time"), st.just("created_at"), st.sampled_from([10**6 << k for k in range(40)])),
    st.builds(
        Partition,
        st.just("key"),
        st.sampled_from(["user_id", "post_id", "tag_id"]),
        st.sampled_from([1 << k for k in range(62)]),
    ),
)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    count = draw(st.integers(0, 6))
    columns = {
        name: column(draw, IDS, count) for name in draw(st.sets(st.sampled_from(["user_id", "post_id", "author_id"])))
    }
    names: tuple[str, ...] = ()
    if draw(st.booleans()):
        columns["created_at"] = column(draw, TIMES, count)
    if draw(st.booleans()):
        names = tuple(sorted(draw(st.sets(WORDS, min_size=1, max_size=3))))
        columns["kind"] = column(draw, st.integers(0, len(names) - 1), count, np.uint8)
    if draw(st.booleans()):
        columns["has_author"] = column(draw, st.integers(0, 1), count, bool)
    strings = {name: texts(draw, count) for name in draw(st.sets(st.sampled_from(["text", "key", "name"])))}
    rows = SourceRows(count, columns, strings, names)
    if draw(st.booleans()):
        return Change(rows)
    return Change(rows, draw(PARTITIONS), np.array(sorted(draw(st.sets(IDS, max_size=5))), np.int64))


@st.composite
def digests(draw: st.DrawFn) -> Digests:
    cells = np.array(sorted(draw(st.sets(IDS, max_size=8))), np.int64)
    counts = st.integers(0, 2**40)
    sums = np.array(draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(cells), max_size=len(cells))), np.uint64)
    return Digests(draw(PARTITIONS), cells, column(draw, counts, len(cells)), column(draw, counts, len(cells)), sums)


NAMES = st.sampled_from(["users", "posts", "views", "likes_of_2024"])


class TestState:
    @given(states())
    @settings(max_examples=200, deadline=None)
    def test_any_state_comes_back(self, state: GraphState) -> None:
        assert_same(decode_state(encode_state(state)), state)

    def test_an_empty_state_comes_back(self) -> None:
        assert_same(decode_state(encode_state(empty_state())), empty_state())

    @given(states())
    @settings(max_examples=50, deadline=None)
    def test_equal_states_have_equal_bytes(self, state: GraphState) -> None:
        assert encode_state(state) == encode_state(decode_state(encode_state(state)))

    def test_texts_cut_out_of_a_longer_array_come_back(self) -> None:
        all_names = to_texts(["not mine", "é", "", "beach", "nor mine"])
        mine = Texts(all_names.data, all_names.offsets[1:5])
        state = replace(empty_state(), tags=Nodes(np.arange(3)), tag_names=mine)
        assert list(decode_state(encode_state(state)).tag_names) == ["é", "", "beach"]

    @pytest.mark.parametrize("name", [EDGES, NODES, TEXTS])
    def test_a_file_that_is_cut_foreign_or_absent_is_corrupt(self, name: str) -> None:
        files = encode_state(empty_state())
        foreign = safetensors.save({"weights": np.zeros(3, np.float32)})
        for body in (files[name][:-1], files[name][:4], b"", b"{}", foreign):
            with pytest.raises(CorruptObject):
                decode_state({**files, name: body})
        with pytest.raises(CorruptObject):
            decode_state({other: body for other, body in files.items() if other != name})


class TestChanges:
    @given(st.dictionaries(NAMES, changes(), max_size=3))
    @settings(max_examples=200, deadline=None)
    def test_any_nights_changes_come_back(self, night: dict[str, Change]) -> None:
        assert_same(decode_changes(encode_changes(night)), night)

    def test_no_cells_at_all_and_all_cells_are_told_apart(self) -> None:
        rows = SourceRows(0, {"user_id": np.zeros(0, np.int64)}, {})
        none = Change(rows, Partition("key", "user_id", 4), np.zeros(0, np.int64))
        found = decode_changes(encode_changes({"users": none, "posts": Change(rows)}))
        assert found["users"].cells is not None
        assert found["posts"].cells is None

    def test_a_source_whose_name_begins_as_another_keeps_its_own(self) -> None:
        def one(values: list[int]) -> Change:
            return Change(SourceRows(len(values), {"user_id": np.array(values)}, {"key": to_texts(map(str, values))}))

        night = {"view": one([1, 2]), "views": one([3])}
        assert_same(decode_changes(encode_changes(night)), night)

    @pytest.mark.parametrize("cut", [0, 7, 100, -1])
    def test_a_cut_file_is_corrupt(self, cut: int) -> None:
        body = encode_changes({"users": Change(SourceRows(1, {"user_id": np.array([5])}, {}))})
        with pytest.raises(CorruptObject):
            decode_changes(body[:cut])

    @pytest.mark.parametrize(
        "partition",
        [
            ["time", "created_at); DROP TABLE users; --", 1],
            ["time", "user_id", 1],
            ["key", "user_id", 3],
            ["key", "user_id", 0],
            ["key", "user_id", "1"],
            ["day", "created_at", 1],
            ["time", "created_at"],
            7,
        ],
    )
    def test_only_partitions_of_ours_come_back_since_their_words_go_into_sql(self, partition: Any) -> None:
        described = {"users": {"partition": partition, "count": 0, "columns": [], "texts": [], "kind_names": []}}
        arrays = {"sources": np.frombuffer(json.dumps(described).encode(), np.uint8)}
        body = safetensors.save(arrays | prefixed("users.cells", pack_ints(np.zeros(0, np.int64))))
        if partition == ["key", "user_id", "1"]:
            assert decode_changes(body)["users"].partition == Partition("key", "user_id", 1)
            return
        with pytest.raises(CorruptObject):
            decode_changes(body)


class TestDigests:
    @given(st.dictionaries(NAMES, digests(), max_size=3))
    @settings(max_examples=200, deadline=None)
    def test_any_digests_come_back(self, night: dict[str, Digests]) -> None:
        assert_same(decode_digests(encode_digests(night)), night)

    @pytest.mark.parametrize("cut", [0, 7, 100, -1])
    def test_a_cut_file_is_corrupt(self, cut: int) -> None:
        cells = np.array([1, 2])
        body = encode_digests(
            {"users": Digests(Partition("key", "user_id", 1), cells, cells, cells, np.zeros(2, "u8"))}
        )
        with pytest.raises(CorruptObject):
            decode_digests(body[:cut])


MOST_BITS_AN_EDGE = 17


def state_of(user: Any, post: Any, kind: Any, created_at: Any, num_users: int, num_posts: int) -> GraphState:
    order = np.lexsort((kind, created_at, post, user))
    interactions = Interactions(
        user[order].astype(np.int32), post[order].astype(np.int32), kind[order].astype(np.uint8), created_at[order]
    )
    none = np.zeros(num_posts, np.int64)
    return replace(
        empty_state(),
        users=Nodes(np.arange(num_users)),
        posts=Nodes(np.arange(num_posts)),
        post_facts=PostFacts(none, none.astype(bool), none, to_texts([""] * num_posts)),
        kinds=tuple((name, "interactions") for name in sorted(KINDS)),
        interactions=interactions,
    )


class TestBitsAnEdge:
    """CSR: user and post of every interaction, row pointers included; what else the file holds is not counted."""

    @staticmethod
    def csr_bits(state: GraphState) -> float:
        arrays = safetensors.load(encode_state(state)[EDGES])
        kept = sum(array.nbytes for name, array in arrays.items() if name.startswith("pairs."))
        decoded = decode_state(encode_state(state)).interactions
        np.testing.assert_array_equal(decoded.user, state.interactions.user)
        np.testing.assert_array_equal(decoded.post, state.interactions.post)
        return float(8 * kept / len(state.interactions))

    def test_a_travel_world_of_300_000_interactions_takes_at_most_17_bits_an_edge(self) -> None:
        world = build_world(300_000, seed=3)
        events, sizes = world.events, world.sizes
        state = state_of(events.user, events.post, events.kind, events.at_ms * 1_000, sizes.users, sizes.posts)
        assert len(state.interactions) == 300_000
        assert self.csr_bits(state) <= MOST_BITS_AN_EDGE

    @pytest.mark.parametrize(("num_users", "num_posts"), [(80_000, 100_000), (5_000, 200_000), (200_000, 2_000)])
    def test_so_does_a_skewed_sample_of_other_shapes(self, num_users: int, num_posts: int) -> None:
        choose = np.random.default_rng(4)
        count = 300_000
        user = (choose.zipf(1.3, count) - 1) % num_users
        post = (choose.zipf(1.2, count) - 1) % num_posts
        kind, created_at = np.zeros(count, np.uint8), choose.integers(0, 10**15, count)
        assert self.csr_bits(state_of(user, post, kind, created_at, num_users, num_posts)) <= MOST_BITS_AN_EDGE

    def test_so_do_the_sizes_that_the_cache_is_made_for(self) -> None:
        """2 million edges among 80,000 users and 100,000 posts: 14 bits; a quarter of it here, denser in proportion."""
        choose = np.random.default_rng(5)
        user, post = choose.integers(0, 40_000, 500_000), choose.integers(0, 50_000, 500_000)
        kind, created_at = np.zeros(500_000, np.uint8), np.zeros(500_000, np.int64)
        assert self.csr_bits(state_of(user, post, kind, created_at, 40_000, 50_000)) <= 14.5
