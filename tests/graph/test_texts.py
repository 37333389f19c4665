"""Texts: many strings in two arrays, taken, joined and gathered as a list of strings would be."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from waypost.graph.texts import Texts, gathered, joined, no_texts, to_texts

STRINGS = st.lists(st.sampled_from(["", "a", "é", "🏔 snow", "two\nlines"]), max_size=8)


def sliced(strings: list[str]) -> Texts:
    """The same texts in the middle of a longer array."""
    whole = to_texts(["before", *strings, "behind"])
    return Texts(whole.data, whole.offsets[1:-1])


@given(STRINGS)
def test_strings_come_back(strings: list[str]) -> None:
    texts = to_texts(strings)
    assert list(texts) == strings
    assert len(texts) == len(strings)
    assert texts.lengths.tolist() == [len(string.encode()) for string in strings]


@given(st.lists(STRINGS, min_size=1, max_size=4), st.data())
def test_rows_are_gathered_through_all_parts(parts: list[list[str]], data: st.DataObject) -> None:
    together = [string for part in parts for string in part]
    indices = st.lists(st.integers(0, len(together) - 1), max_size=12) if together else st.just([])
    rows = data.draw(st.one_of(st.just(list(range(len(together)))), indices))
    found = gathered([sliced(part) for part in parts], np.array(rows, np.int64))
    assert list(found) == [together[row] for row in rows]


@given(STRINGS, STRINGS)
def test_joined_are_one_after_the_other(first: list[str], second: list[str]) -> None:
    assert list(joined([sliced(first), to_texts(second)])) == first + second
    assert list(joined([sliced(first)])) == first


def test_texts_can_be_empty_without_bytes() -> None:
    assert list(no_texts(3)) == ["", "", ""]
    assert list(no_texts(0)) == []
