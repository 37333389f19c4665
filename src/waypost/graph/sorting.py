"""Orders of rows, by the fastest sort that fits. Pure.

numpy sorts plain int64 with the processor's vector units, ten times faster than it finds an order (argsort) and forty
times faster than lexsort. So a value and its row number are sorted as one int64; a value too wide for that is sorted
by its lower bits and then by its upper ones, as a radix sort does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.graph.blocks import blocks
from waypost.graph.texts import Int64Array, Texts

KEY_BITS = 63  # of an int64 that stays positive


def order_of(values: Int64Array) -> Int64Array:
    """Row numbers by ascending value; equal values in the order of their rows."""
    if len(values) < 2:
        return np.zeros(len(values), np.int64)
    low = int(values.min())
    offsets = values.view(np.uint64) - np.uint64(low % 2**64) if low else values.view(np.uint64)  # whatever the span
    return _order_of_bits(offsets, (int(values.max()) - low).bit_length())


def _order_of_bits(values: NDArray[np.uint64], bits: int) -> Int64Array:
    row_bits = (len(values) - 1).bit_length()
    chunk = KEY_BITS - row_bits
    key = np.empty(len(values), np.int64)
    for block in blocks(len(values)):
        key[block] = (values[block] & np.uint64((1 << chunk) - 1)).view(np.int64)
        key[block] <<= row_bits
        key[block] |= np.arange(block.start, block.stop)
    key.sort()
    key &= (1 << row_bits) - 1
    if bits <= chunk:
        return key
    return key[_order_of_bits(values[key] >> np.uint64(chunk), bits - chunk)]


def distinct(values: Int64Array) -> Int64Array:
    """Ascending, each once. np.unique says the same through a hash table: 1.7 s for 2 million where this takes 0.02."""
    return distinct_of_sorted(np.sort(values))


def distinct_of_sorted(ascending: Int64Array) -> Int64Array:
    first = np.ones(len(ascending), bool)
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    return ascending[first]


def order_of_pairs(first: NDArray[Any], second: NDArray[Any], num_second: int) -> Int64Array:
    """Row numbers by ascending (first, second); equal pairs in the order of their rows."""
    pair = first.astype(np.int64)
    pair *= max(num_second, 1)
    pair += second
    return order_of(pair)


def order_of_keys(keys: Texts) -> Int64Array:
    """Row numbers by ascending bytes, which is the order of code points too."""
    count = len(keys)
    lengths = keys.lengths
    if count and (lengths == lengths[0]).all() and lengths[0]:  # UUIDs
        width = int(lengths[0])
        return np.argsort(keys.data[: count * width].view(f"S{width}"), kind="stable")
    raw = [keys.raw(index) for index in range(count)]
    return np.array(sorted(range(count), key=raw.__getitem__), np.int64)
