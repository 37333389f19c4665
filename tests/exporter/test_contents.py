"""What the exporter puts beside the model: the app's own keys among it, as long as a caller can name them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.factories import keyed_by_strings, some_tables, some_tensors, uuid_at
from waypost.errors import PipelineError
from waypost.exporter.contents import build_lookups
from waypost.graph.texts import to_texts
from waypost.key_types import INTEGER_KEYS, KeyTypes
from waypost.limits import MAX_KEY_CHARACTERS

INTEGERS = some_tensors(num_users=3, num_posts=3)
STRINGS = keyed_by_strings(INTEGERS)
TABLES = some_tables(INTEGERS)


def test_integer_ids_need_no_keys_beside_them() -> None:
    found = build_lookups(INTEGERS, TABLES)
    assert (found.key_types, found.user_keys, found.post_keys) == (INTEGER_KEYS, None, None)


def test_text_and_uuid_keys_are_taken_over() -> None:
    found = build_lookups(STRINGS, TABLES)
    assert found.key_types == KeyTypes("uuid", "text")
    assert found.user_keys is not None
    assert list(found.user_keys.texts) == [uuid_at(row) for row in range(3)]


@pytest.mark.parametrize("character", ["x", "é", "\U0001f3d6"])
def test_a_key_of_the_longest_length_is_taken_and_a_longer_one_refused(character: str) -> None:
    longest = character * MAX_KEY_CHARACTERS
    build_lookups(replace(STRINGS, post_keys=to_texts(["a", "b", longest])), TABLES)
    with pytest.raises(PipelineError, match="a post's key is longer than 512 characters"):
        build_lookups(replace(STRINGS, post_keys=to_texts(["a", "b", longest + character])), TABLES)
    with pytest.raises(PipelineError, match="a user's key is longer"):
        build_lookups(replace(STRINGS, user_keys=to_texts(["a", "b", longest + character])), TABLES)
