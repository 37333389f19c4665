"""The key types of a release: read strictly, and integers where a release says nothing."""

from __future__ import annotations

import pytest

from waypost.key_types import INTEGER_KEYS, KeyTypes, parse_key_types


def test_a_release_that_says_nothing_has_integers() -> None:
    assert parse_key_types(None) == INTEGER_KEYS == KeyTypes("integer", "integer")


def test_what_is_written_is_read() -> None:
    assert parse_key_types(KeyTypes("uuid", "text")._asdict()) == KeyTypes("uuid", "text")


@pytest.mark.parametrize(
    "content",
    [{}, [], "uuid", {"user": "uuid"}, {"user": "uuid", "post": "bigint"}, {"user": "uuid", "post": None},
     {"user": "uuid", "post": ["text"]}, {"user": "uuid", "post": "text", "tag": "text"}],
    ids=range(8),
)  # fmt: skip
def test_anything_else_is_refused(content: object) -> None:
    with pytest.raises(ValueError, match="key"):
        parse_key_types(content)
