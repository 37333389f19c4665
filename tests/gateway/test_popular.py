"""The popularity list: k eligible posts whenever there are so many, in their order."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import CorruptObject
from waypost.gateway.popular import PopularList, parse_popular
from waypost.key_types import INTEGER_KEYS, KeyTypes
from waypost.questions import AppKey, Question, TagFilter

POSTS = PopularList(
    version=7,
    posts=[50, -40, 30, 20, 10],
    scores=[5.0, 4.0, 3.0, 2.0, 1.0],
    tags={"beach": [0, 1, 3], "family": [1, 2, 3], "nightlife": [3]},
)


def posts(**question: Any) -> list[AppKey]:
    return [post_id for post_id, _ in POSTS.items(Question(**{"user_id": 42, **question}))]


def test_the_most_popular_come_first_with_their_scores() -> None:
    assert POSTS.items(Question(42, k=2)) == ((50, 5.0), (-40, 4.0))


def test_k_are_answered_whenever_k_are_eligible_and_all_where_fewer_are() -> None:
    assert posts(k=2, exclude_post_ids=(50, 20)) == [-40, 30]
    assert posts(k=20, exclude_post_ids=(50, 20, 999)) == [-40, 30, 10]


def test_recent_posts_are_left_out_unless_seen_ones_are_wanted() -> None:
    assert posts(recent_post_ids=(50,)) == [-40, 30, 20, 10]
    assert posts(recent_post_ids=(50,), exclude_seen=False) == [50, -40, 30, 20, 10]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (TagFilter(any=("beach",)), [50, -40, 20]),
        (TagFilter(any=("BEACH", "Nightlife")), [50, -40, 20]),
        (TagFilter(any=("beach", "unknown")), [50, -40, 20]),
        (TagFilter(any=("unknown",)), []),
        (TagFilter(all=("beach", "family")), [-40, 20]),
        (TagFilter(all=("beach", "unknown")), []),
        (TagFilter(none=("beach",)), [30, 10]),
        (TagFilter(none=("unknown",)), [50, -40, 30, 20, 10]),
        (TagFilter(any=("beach",), all=("family",), none=("nightlife",)), [-40]),
        (TagFilter(any=("unknown",), all=("family",)), []),
    ],
)
def test_tags_filter_and_an_unknown_tag_matches_no_post(tags: TagFilter, expected: list[int]) -> None:
    assert posts(tags=tags) == expected


NAMES = st.lists(st.sampled_from(["a", "b", "c", "unknown"]), max_size=3).map(tuple)


@given(
    tagged=st.lists(st.frozensets(st.sampled_from("abc")), max_size=30),
    tags=st.builds(TagFilter, NAMES, NAMES, NAMES),
    exclude=st.lists(st.integers(0, 30), max_size=10).map(tuple),
    k=st.integers(1, 40),
)
def test_the_answer_is_what_a_plain_scan_finds(
    tagged: list[frozenset[str]], tags: TagFilter, exclude: tuple[int, ...], k: int
) -> None:
    def eligible(post: int) -> bool:
        has = tagged[post]
        some = not tags.any or not has.isdisjoint(tags.any)
        return post not in exclude and some and has >= set(tags.all) and has.isdisjoint(tags.none)

    positions = {name: [i for i, has in enumerate(tagged) if name in has] for name in "abc"}
    popular = PopularList(1, range(len(tagged)), [0.0] * len(tagged), positions)
    found = [post for post, _ in popular.items(Question(42, k=k, exclude_post_ids=exclude, tags=tags))]
    assert found == [post for post in range(len(tagged)) if eligible(post)][:k]


@given(
    any_of=st.lists(st.sampled_from(["often", "seldom", "once"]), max_size=2).map(tuple),
    all_of=st.lists(st.sampled_from(["often", "seldom"]), max_size=2).map(tuple),
    none_of=st.lists(st.sampled_from(["often", "seldom", "once"]), max_size=2).map(tuple),
)
def test_rare_tags_and_frequent_ones_filter_alike(
    any_of: tuple[str, ...], all_of: tuple[str, ...], none_of: tuple[str, ...]
) -> None:
    positions = {"often": [*range(0, 2_000, 3)], "seldom": [*range(7, 2_000, 300)], "once": [1_999]}
    popular = PopularList(1, range(2_000), [0.0] * 2_000, positions)
    found = popular.items(Question(42, k=2_000, tags=TagFilter(any_of, all_of, none_of)))
    has = {name: set(tagged) for name, tagged in positions.items()}
    assert [post for post, _ in found] == [
        post
        for post in range(2_000)
        if (not any_of or any(post in has[name] for name in any_of))
        and all(post in has[name] for name in all_of)
        and not any(post in has[name] for name in none_of)
    ]


def test_a_whole_list_is_read() -> None:
    content = {"version": 7, "posts": [5, -3], "scores": [1.5, 1], "tags": {"beach": [0]}}
    found = parse_popular(orjson.dumps(content))
    assert (found.version, found.items(Question(42))) == (7, ((5, 1.5), (-3, 1)))
    assert found.keys == INTEGER_KEYS


def test_a_list_of_text_keys_is_read_and_filtered_by_them() -> None:
    keys = {"user": "uuid", "post": "text"}
    content = {"version": 7, "posts": ["b", "", "42"], "scores": [3, 2, 1], "tags": {"beach": [0, 2]}, "keys": keys}
    found = parse_popular(orjson.dumps(content))
    assert found.keys == KeyTypes("uuid", "text")
    assert found.items(Question("x", exclude_post_ids=("42", 42), recent_post_ids=("B",))) == (("b", 3), ("", 2))
    assert found.items(Question("x", tags=TagFilter(any=("beach",)))) == (("b", 3), ("42", 1))


@pytest.mark.parametrize(
    "different",
    [{"version": "7"}, {"posts": [5]}, {"posts": [5, "3"]}, {"scores": [1.0]}, {"scores": [1.0, None]},
     {"tags": {"beach": [2]}}, {"tags": {"beach": [-1]}}, {"tags": {"beach": 0}}, {"tags": []}, {"posts": None},
     {"posts": ["5", "3"]}, {"keys": {"user": "integer", "post": "text"}}, {"keys": {"user": "text"}}, {"keys": []}],
    ids=range(14),
)  # fmt: skip
def test_a_list_that_contradicts_itself_is_corrupt(different: dict[str, Any]) -> None:
    content = {"version": 7, "posts": [5, -3], "scores": [1.5, 1.0], "tags": {}, **different}
    with pytest.raises(CorruptObject):
        parse_popular(orjson.dumps(content))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"version": 7, "posts"'])
def test_what_is_no_list_is_corrupt(body: bytes) -> None:
    with pytest.raises(CorruptObject):
        parse_popular(body)
