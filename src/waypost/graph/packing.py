"""Arrays as few bits: how columns of the graph are kept in S3. Pure, lossless, vectorised.

`pack_ints` takes the smallest value and the common unit away and keeps just the bits that are left, as planes of 32,
16, 8, 4, 2 and 1 bits. `pack_ascending` is Elias-Fano coding (P. Elias, "Efficient storage and retrieval by content and
address of static files", J. ACM 21, 1974): n ascending numbers below m take about 2 + log2(m / n) bits each. The pair
keys of a graph's edges are such numbers, and so an edge of 2 million among 80,000 users and 100,000 posts is 14 bits,
the row pointers of CSR included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.graph.tensors import NO_TIME, Int64Array

Arrays = dict[str, NDArray[Any]]
UInt64Array = NDArray[np.uint64]
_PLANES = (32, 16, 8)  # whole machine words; what is left of a width is 4, 2 and 1 bits
_WORDS: dict[int, type[np.unsignedinteger[Any]]] = {32: np.uint32, 16: np.uint16, 8: np.uint8}
_UNITS = (1_000_000, 1_000, 1)  # seconds, milliseconds, microseconds: what apps' clocks give


def pack_ints(values: NDArray[Any]) -> Arrays:
    """Any int64, NO_TIME among them."""
    values = values.astype(np.int64, copy=False)
    missing = values == NO_TIME
    packed: Arrays = {}
    if missing.any():
        packed["missing"] = np.packbits(missing)
        values = np.where(missing, values[~missing].min(initial=np.iinfo(np.int64).max), values)
    low = int(values.min(initial=np.iinfo(np.int64).max)) if not missing.all() else 0
    offsets = np.where(missing, 0, values).view(np.uint64) - np.uint64(low % 2**64) if len(values) else _no_bits()
    offsets = np.where(missing, np.uint64(0), offsets)
    unit = _unit(offsets)
    if unit > 1:
        offsets //= np.uint64(unit)
    width = int(offsets.max(initial=0)).bit_length()
    packed["head"] = np.array([len(values), low, unit, width], np.int64)
    return packed | _planes(offsets, width)


def unpack_ints(packed: Mapping[str, NDArray[Any]]) -> Int64Array:
    """The inverse of pack_ints."""
    count, low, unit, width = (int(number) for number in packed["head"])
    values = _from_planes(packed, count, width)
    if unit > 1:
        values *= np.uint64(unit)
    if low:
        values += np.uint64(low % 2**64)
    found = values.view(np.int64)
    if "missing" in packed:
        found[np.unpackbits(packed["missing"], count=count).view(bool)] = NO_TIME
    return found


def pack_ascending(keys: Int64Array) -> Arrays:
    """Numbers from 0 up that never fall."""
    count = len(keys)
    top = int(keys[-1]) if count else 0
    width = max(0, ((top + 1) // max(count, 1)).bit_length() - 1)
    marks = np.zeros((top >> width) + count + 1, bool)
    marks[(keys >> width) + np.arange(count)] = True
    lower = (keys & ((1 << width) - 1)).view(np.uint64)
    packed: Arrays = {"head": np.array([count, width, len(marks)], np.int64), "upper": np.packbits(marks)}
    return packed | _planes(lower, width)


def unpack_ascending(packed: Mapping[str, NDArray[Any]]) -> Int64Array:
    """The inverse of pack_ascending."""
    count, width, length = (int(number) for number in packed["head"])
    marked = np.flatnonzero(np.unpackbits(packed["upper"], count=length).view(bool))
    if len(marked) != count:
        raise ValueError(f"{len(marked)} numbers where the head says {count}")
    marked -= np.arange(count)
    marked <<= width
    marked |= _from_planes(packed, count, width).view(np.int64)
    return marked


def prefixed(name: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {f"{name}.{part}": array for part, array in arrays.items()}


def under(name: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The inverse of prefixed."""
    start = f"{name}."
    return {key[len(start) :]: array for key, array in arrays.items() if key.startswith(start)}


def _no_bits() -> UInt64Array:
    return np.zeros(0, np.uint64)


def _unit(offsets: UInt64Array) -> int:
    for unit in _UNITS:
        if unit == 1 or (int(offsets.max(initial=0)) >= unit and not (offsets % np.uint64(unit)).any()):
            return unit
    return 1


def _pieces(width: int) -> list[tuple[int, int]]:
    """(plane, its lowest bit) of a width: 35 bits are planes of 32, 2 and 1."""
    pieces, at = [], 0
    while width - at >= 32:
        pieces.append((32, at))
        at += 32
    for plane in (16, 8, 4, 2, 1):
        if (width - at) & plane:
            pieces.append((plane, at))
            at += plane
    return pieces


def _planes(values: UInt64Array, width: int) -> Arrays:
    planes: Arrays = {}
    for plane, at in _pieces(width):
        part = (values >> np.uint64(at)) & np.uint64((1 << plane) - 1)
        planes[f"bits{at}"] = (
            part.astype(_WORDS[plane]) if plane in _PLANES else _squeezed(part.astype(np.uint8), plane)
        )
    return planes


def _from_planes(packed: Mapping[str, NDArray[Any]], count: int, width: int) -> UInt64Array:
    values = np.zeros(count, np.uint64)
    for plane, at in _pieces(width):
        stored = packed[f"bits{at}"]
        part = stored if plane in _PLANES else _spread(stored, plane, count)
        if len(part) != count:
            raise ValueError(f"{len(part)} values where the head says {count}")
        values |= part.astype(np.uint64) << np.uint64(at)
    return values


def _squeezed(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """8 / bits values in a byte, the first in its lowest bits."""
    per_byte = 8 // bits
    padded = np.zeros(-(-len(values) // per_byte) * per_byte, np.uint8)
    padded[: len(values)] = values
    packed = np.zeros(len(padded) // per_byte, np.uint8)
    for place in range(per_byte):
        packed |= padded[place::per_byte] << (place * bits)
    return packed


def _spread(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """The inverse of _squeezed."""
    per_byte = 8 // bits
    values = np.empty(len(packed) * per_byte, np.uint8)
    for place in range(per_byte):
        values[place::per_byte] = (packed >> (place * bits)) & ((1 << bits) - 1)
    return values[:count]
