"""Lookups in a release: written and read with the app's own keys, of either type."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import numpy as safetensors

from tests.factories import keyed_by_strings, slug_at, some_tables, some_tensors, uuid_at
from waypost.errors import CorruptObject
from waypost.exporter.contents import build_lookups
from waypost.gateway.popular import parse_popular
from waypost.key_types import INTEGER_KEYS, KeyTypes
from waypost.questions import Question
from waypost.release import lookups
from waypost.release.popular import to_popular

INTEGERS = some_tensors(num_users=4, num_posts=6)
STRINGS = keyed_by_strings(INTEGERS)
TABLES = some_tables(INTEGERS)
BY_INTEGER = lookups.to_bytes(build_lookups(INTEGERS, TABLES))
BY_STRING = lookups.to_bytes(build_lookups(STRINGS, TABLES))


def test_integer_keys_are_their_own_ids() -> None:
    found = lookups.from_bytes(BY_INTEGER)
    assert found.key_types == INTEGER_KEYS
    assert (found.user_row(10), found.user_row(40), found.user_row(11)) == (0, 3, 4)
    assert found.post_rows([1005, 1000, 7, 1005]).tolist() == [0, 5]
    assert found.posts_at(np.array([5, 0])) == [1005, 1000]
    assert found.users_at(np.array([1, 2])) == [20, 30]


def test_string_keys_travel_with_the_release() -> None:
    found = lookups.from_bytes(BY_STRING)
    assert found.key_types == KeyTypes("uuid", "text")
    assert (found.user_row(uuid_at(0)), found.user_row(uuid_at(3)), found.user_row(uuid_at(4))) == (0, 3, 4)
    assert found.post_rows([slug_at(5), slug_at(0), "nowhere", slug_at(5)]).tolist() == [0, 5]
    assert found.posts_at(np.array([5, 0])) == [slug_at(5), slug_at(0)]
    assert found.users_at(np.array([1, 2])) == [uuid_at(1), uuid_at(2)]


def test_a_key_of_the_other_type_is_an_unknown_one() -> None:
    by_integer, by_string = lookups.from_bytes(BY_INTEGER), lookups.from_bytes(BY_STRING)
    assert by_integer.user_row("10") == by_string.user_row(0) == 4
    assert by_integer.post_rows(["1000", "x"]).tolist() == by_string.post_rows([0, 1]).tolist() == []


def test_users_and_posts_have_key_types_of_their_own() -> None:
    mixed = build_lookups(
        some_tensors(num_users=4, num_posts=6, user_key_type="text", user_keys=STRINGS.user_keys), TABLES
    )
    found = lookups.from_bytes(lookups.to_bytes(mixed))
    assert found.key_types == KeyTypes("text", "integer")
    assert (found.user_row(uuid_at(2)), found.post_rows([1001]).tolist()) == (2, [1])


def test_a_release_from_before_key_types_has_integers() -> None:
    found = lookups.from_bytes(altered(BY_INTEGER, keys=None))
    assert (found.key_types, found.user_row(20), found.posts_at(np.array([1]))) == (INTEGER_KEYS, 1, [1001])


def test_keys_that_are_not_one_for_each_row_are_corrupt() -> None:
    with pytest.raises(CorruptObject):
        lookups.from_bytes(altered(BY_STRING, cut="post_keys.offsets"))
    with pytest.raises(CorruptObject):
        lookups.from_bytes(altered(BY_INTEGER, keys={"user": "text", "post": "integer"}))
    with pytest.raises(CorruptObject):
        lookups.from_bytes(altered(BY_INTEGER, keys={"user": "bigint", "post": "integer"}))


def altered(body: bytes, cut: str | None = None, **words: object) -> bytes:
    """With other words (None leaves one out), and one entry less of the array named by `cut`."""
    arrays = safetensors.load(body)
    content = {**json.loads(arrays["words"].tobytes()), **words}
    kept = json.dumps({name: value for name, value in content.items() if value is not None})
    arrays["words"] = np.frombuffer(kept.encode(), np.uint8)
    if cut:
        arrays[cut] = arrays[cut][:-1].copy()
    whole: bytes = safetensors.save(arrays)
    return whole


class TestPopularList:
    """popular.json, written here and read by the gateway."""

    def test_it_holds_the_apps_own_keys_and_their_types(self) -> None:
        by_integer = parse_popular(to_popular(lookups.from_bytes(BY_INTEGER), 7))
        by_string = parse_popular(to_popular(lookups.from_bytes(BY_STRING), 7))
        assert (by_integer.keys, by_string.keys) == (INTEGER_KEYS, KeyTypes("uuid", "text"))
        assert list(by_string.posts) == [slug_at(post - 1000) for post in by_integer.posts if isinstance(post, int)]
        assert (by_string.scores, by_string.tags) == (by_integer.scores, by_integer.tags)

    def test_excludes_are_compared_as_the_app_writes_them(self) -> None:
        popular = parse_popular(to_popular(lookups.from_bytes(BY_STRING), 7))
        barred = Question(uuid_at(0), exclude_post_ids=(slug_at(1),), recent_post_ids=(slug_at(2), "nowhere"))
        assert {post for post, _ in popular.items(barred)} == {slug_at(row) for row in (0, 3, 4, 5)}
