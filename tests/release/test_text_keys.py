"""Text keys: from a key to its row and back, whatever the key holds, and nothing for a key that is not there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.graph.texts import no_texts, to_texts
from waypost.release.text_keys import HASHED_AT_ONCE, TextKeys

KEYS = st.lists(st.text(max_size=12), unique=True, max_size=40).map(lambda keys: sorted(keys, key=str.encode))


@given(held=KEYS, asked=st.lists(st.text(max_size=12), max_size=20))
def test_the_rows_are_those_that_a_dict_finds(held: list[str], asked: list[str]) -> None:
    row_of = {key: row for row, key in enumerate(held)}
    asked = asked + held[::3]
    assert TextKeys(to_texts(held)).rows(asked).tolist() == sorted({row_of[key] for key in asked if key in row_of})


@given(KEYS)
def test_a_row_gives_the_key_back(held: list[str]) -> None:
    keys = TextKeys(to_texts(held))
    assert keys.keys(np.arange(len(held))) == held
    assert [keys.rows([key]).tolist() for key in held] == [[row] for row in range(len(held))]


def test_keys_of_one_hash_are_told_apart() -> None:
    keys = TextKeys(to_texts(["a", "b", "c", "dd"]), hash_of=len)
    assert [keys.rows([key]).tolist() for key in ("a", "b", "c", "dd", "x", "xx", "xxx")] == [
        [0], [1], [2], [3], [], [], [],
    ]  # fmt: skip


def test_more_keys_than_are_hashed_at_once_are_found() -> None:
    count = 2 * HASHED_AT_ONCE + 1
    keys = TextKeys(to_texts(f"{row:09d}" for row in range(count)))
    wanted = [0, HASHED_AT_ONCE - 1, HASHED_AT_ONCE, 2 * HASHED_AT_ONCE, count - 1]
    assert keys.rows([f"{row:09d}" for row in wanted]).tolist() == sorted(set(wanted))
    assert keys.rows([f"{count:09d}"]).tolist() == []


@pytest.mark.parametrize("asked", [[], [0], ["a" * 512], ["\ud800"], ["A"], ["a "]])
def test_what_is_not_there_has_no_row(asked: list[int | str]) -> None:
    assert TextKeys(to_texts(["", "a"])).rows(asked).tolist() == []
    assert TextKeys(no_texts(0)).rows(asked).tolist() == []
