"""Whatever the integers, they come back as they went in, in as few bits as promised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from waypost.graph.packing import Arrays, pack_ascending, pack_ints, prefixed, under, unpack_ascending, unpack_ints
from waypost.graph.tensors import NO_TIME

LOWEST, HIGHEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
ANY = st.one_of(
    st.integers(LOWEST, HIGHEST),
    st.integers(-20, 20),
    st.sampled_from([LOWEST, LOWEST + 1, -1, 0, 1, HIGHEST - 1, HIGHEST]),
)
SECONDS = st.integers(-(10**12), 10**12).map(lambda second: second * 1_000_000)


def bits_of(packed: Arrays) -> int:
    return 8 * sum(array.nbytes for name, array in packed.items() if name != "head")


def assert_round_trip(values: NDArray[Any]) -> None:
    found = unpack_ints(pack_ints(values))
    np.testing.assert_array_equal(found, values.astype(np.int64))
    assert found.dtype == np.int64


@given(st.lists(st.one_of(ANY, st.just(NO_TIME)), max_size=70))
@settings(max_examples=500, deadline=None)
def test_any_integers_come_back(values: list[int]) -> None:
    assert_round_trip(np.array(values, np.int64))


@given(st.lists(st.one_of(SECONDS, st.just(NO_TIME)), max_size=70))
def test_times_come_back_with_and_without_gaps(values: list[int]) -> None:
    assert_round_trip(np.array(values, np.int64))


@given(arrays.arrays(st.sampled_from([np.bool_, np.uint8, np.int32]), st.integers(0, 40)))
def test_narrow_columns_come_back_as_int64(values: NDArray[Any]) -> None:
    assert_round_trip(values)


@pytest.mark.parametrize("width", range(65))
def test_every_width_comes_back(width: int) -> None:
    widest = min(2**width - 1, HIGHEST - LOWEST - 1)  # LOWEST itself says that there is none
    assert_round_trip(np.array([LOWEST + 1 + part for part in (0, widest // 3, widest // 2, widest)], np.int64))


@given(st.lists(st.integers(-500, 500), min_size=1, max_size=200))
def test_an_integer_takes_no_more_bits_than_the_range_needs(values: list[int]) -> None:
    width = (max(values) - min(values)).bit_length()
    packed = pack_ints(np.array(values, np.int64))
    assert bits_of(packed) <= len(values) * width + 8 * 64  # each plane ends on a whole byte


def test_times_of_whole_seconds_take_no_bits_for_their_microseconds() -> None:
    seconds = np.random.default_rng(1).integers(0, 2**20, 10_000) * 1_000_000
    assert bits_of(pack_ints(seconds)) == 20 * 10_000
    assert bits_of(pack_ints(seconds + 7)) == 20 * 10_000
    odd = seconds.copy()
    odd[5] += 1
    assert bits_of(pack_ints(odd)) >= 39 * 10_000


@given(st.lists(st.one_of(st.integers(0, 2**62), st.integers(0, 1000)), max_size=60))
@settings(max_examples=300, deadline=None)
def test_ascending_numbers_come_back(values: list[int]) -> None:
    keys = np.array(sorted(values), np.int64)
    np.testing.assert_array_equal(unpack_ascending(pack_ascending(keys)), keys)


@given(st.lists(st.integers(0, 30), max_size=200))
def test_repeated_and_dense_numbers_come_back(values: list[int]) -> None:
    keys = np.array(sorted(values), np.int64)
    np.testing.assert_array_equal(unpack_ascending(pack_ascending(keys)), keys)


@pytest.mark.parametrize("spread", [1, 3, 100, 12_345, 4_000_000])
def test_an_ascending_number_takes_about_two_bits_and_the_logarithm_of_the_gap(spread: int) -> None:
    count = 20_000
    keys = np.sort(np.random.default_rng(2).integers(0, count * spread, count))
    assert bits_of(pack_ascending(keys)) / count <= 2 + math.log2(spread) + 0.6


def test_a_cut_plane_or_a_wrong_head_is_no_number() -> None:
    packed = pack_ints(np.arange(100))
    short = {name: array[:-1] if name.startswith("bits") else array for name, array in packed.items()}
    with pytest.raises(ValueError, match="head says 100"):
        unpack_ints(short)
    ascending = pack_ascending(np.arange(100))
    ascending["upper"] = np.zeros_like(ascending["upper"])
    with pytest.raises(ValueError, match="head says 100"):
        unpack_ascending(ascending)


def test_columns_of_several_names_do_not_mix() -> None:
    packed = prefixed("user", pack_ints(np.arange(3))) | prefixed("user_key", pack_ints(np.arange(9)))
    np.testing.assert_array_equal(unpack_ints(under("user", packed)), np.arange(3))
