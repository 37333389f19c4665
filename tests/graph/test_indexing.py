"""IdIndex: every id finds its row, and no other does, for dense and for scattered ids."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from waypost.graph.indexing import ABSENT, IdIndex

INT64 = st.integers(-(2**63), 2**63 - 1)
IDS = st.one_of(st.lists(st.integers(-50, 300), unique=True), st.lists(INT64, unique=True, max_size=60))


@given(IDS, st.lists(st.one_of(INT64, st.integers(-60, 310)), max_size=60))
def test_an_id_has_the_row_it_stands_in_and_another_has_none(ids: list[int], others: list[int]) -> None:
    wanted = [*ids, *others]
    rows = IdIndex(np.array(ids, np.int64)).rows(np.array(wanted, np.int64))
    assert rows.tolist() == [ids.index(one) if one in ids else ABSENT for one in wanted]


def test_ids_of_32_bits_are_looked_up_too() -> None:
    rows = IdIndex(np.array([7, 5], np.int64)).rows(np.array([5, 6, -(2**31)], np.int32))
    assert rows.tolist() == [1, ABSENT, ABSENT]
