"""Orders: the fast ones say what numpy's lexsort says, whatever the values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.graph.merging import joined_interactions, merged, sorted_interactions
from waypost.graph.sorting import order_of, order_of_keys, order_of_pairs
from waypost.graph.tensors import NO_TIME, Interactions
from waypost.graph.texts import to_texts

INT64 = st.integers(-(2**63), 2**63 - 1)
SEEDS = st.integers(0, 2**32 - 1)


def some_interactions(seed: int, count: int, num_users: int, num_posts: int) -> Interactions:
    """Few distinct values, so that pairs and times repeat; some without a time, some at the ends of int64."""
    choose = np.random.default_rng(seed)
    times = np.array([NO_TIME, 5, 6, 2**62, -(2**62), 1_700_000_000_000_000])
    return Interactions(
        choose.integers(0, num_users, count).astype(np.int32),
        choose.integers(0, num_posts, count).astype(np.int32),
        choose.integers(0, 3, count).astype(np.uint8),
        choose.choice(times, count),
    )


def lexsorted(rows: Interactions) -> Interactions:
    return rows.take(np.lexsort((rows.kind, rows.created_at, rows.post, rows.user)))


def assert_equal(left: Interactions, right: Interactions) -> None:
    for one, other in zip(left.columns(), right.columns(), strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.lists(INT64, max_size=60))
def test_values_of_any_width_are_ordered_and_equal_ones_keep_their_order(values: list[int]) -> None:
    order = order_of(np.array(values, np.int64))
    assert order.tolist() == sorted(range(len(values)), key=lambda row: (values[row], row))


@given(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)), max_size=60))
def test_pairs_are_ordered_by_the_first_and_then_the_second(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array([pair[i] for pair in pairs], np.int32) for i in (0, 1))
    order = order_of_pairs(first, second, 2**31)
    assert [pairs[row] for row in order] == sorted(pairs)


@given(SEEDS, st.integers(0, 80), st.sampled_from([(2, 3), (40, 50), (2**20, 2**20)]))
def test_interactions_are_ordered_by_user_post_time_and_kind(seed: int, count: int, sizes: tuple[int, int]) -> None:
    rows = some_interactions(seed, count, *sizes)
    assert_equal(sorted_interactions(rows, sizes[1]), lexsorted(rows))


@given(SEEDS, st.integers(0, 80), st.integers(0, 12), st.sampled_from([(1, 1), (3, 4), (40, 50)]))
def test_fresh_rows_are_merged_where_sorting_all_would_put_them(
    seed: int, old: int, fresh: int, sizes: tuple[int, int]
) -> None:
    kept, new = lexsorted(some_interactions(seed, old, *sizes)), some_interactions(seed + 1, fresh, *sizes)
    both = joined_interactions([kept, new])
    assert_equal(merged(kept, new, sizes[1]), lexsorted(both))


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["b", "a", "ab", "", "é", "🏔", "z"],
        ["6f9619ff-8b86-d011-b42d-00c04fc964ff", "00000000-0000-0000-0000-000000000000"],
        ["éa", "zz", "ab"],
    ],
)
def test_keys_are_ordered_by_their_bytes(keys: list[str]) -> None:
    assert [keys[row] for row in order_of_keys(to_texts(keys))] == sorted(keys, key=str.encode)
