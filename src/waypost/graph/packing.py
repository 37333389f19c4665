"""Arrays as few bits: how columns of the graph are kept in S3. Pure, lossless, vectorised.

`pack_ints` takes the smallest value and the common unit away and keeps just the bits that are left, as planes of 32,
16, 8, 4, 2 and 1 bits. `pack_ascending` is Elias-Fano coding (P. Elias, "Efficient storage and retrieval by content and
address of static files", J. ACM 21, 1974): n ascending numbers below m take about 2 + log2(m / n) bits each. The pair
keys of a graph's edges are such numbers, and so an edge of 2 million among 80,000 users and 100,000 posts is 14 bits,
the row pointers of CSR included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.graph.blocks import blocks
from waypost.graph.tensors import NO_TIME, Int64Array

Arrays = dict[str, NDArray[Any]]
UInt64Array = NDArray[np.uint64]
# What is left of a width besides whole machine words is 4, 2 and 1 bits.
_WORDS: dict[int, type[np.unsignedinteger[Any]]] = {32: np.uint32, 16: np.uint16, 8: np.uint8}
_UNITS = (1_000_000, 1_000, 1)  # seconds, milliseconds, microseconds: what apps' clocks give


def pack_ints(values: NDArray[Any]) -> Arrays:
    """Any int64, NO_TIME among them."""
    values = values.astype(np.int64, copy=False)
    missing = values == NO_TIME
    some_missing = bool(missing.any())
    present = values[~missing] if some_missing else values
    low, top = (int(present.min()), int(present.max())) if len(present) else (0, 0)

    def offsets(block: slice) -> UInt64Array:
        found = values[block].view(np.uint64) - np.uint64(low % 2**64)
        if some_missing:
            found[missing[block]] = 0
        return found

    unit = _unit(offsets, len(values), top - low)
    width = ((top - low) // unit).bit_length()
    planes = _Planes(len(values), width)
    for block in blocks(len(values)):
        found = offsets(block)
        if unit > 1:
            found //= np.uint64(unit)
        planes.put(block, found)
    packed: Arrays = {"head": np.array([len(values), low, unit, width], np.int64)}
    if some_missing:
        packed["missing"] = np.packbits(missing)
    return packed | planes.arrays


def unpack_ints(packed: Mapping[str, NDArray[Any]]) -> Int64Array:
    """The inverse of pack_ints."""
    count, low, unit, width = (int(number) for number in packed["head"])
    missing = np.unpackbits(packed["missing"], count=count).view(bool) if "missing" in packed else None
    planes = _Planes.of(packed, count, width)
    found = np.empty(count, np.int64)
    for block in blocks(count):
        values = planes.get(block)
        values *= np.uint64(unit)
        values += np.uint64(low % 2**64)
        found[block] = values.view(np.int64)
        if missing is not None:
            found[block][missing[block]] = NO_TIME
    return found


def pack_ascending(keys: Int64Array) -> Arrays:
    """Numbers from 0 up that never fall."""
    count = len(keys)
    top = int(keys[-1]) if count else 0
    width = max(0, ((top + 1) // max(count, 1)).bit_length() - 1)
    marks = np.zeros((top >> width) + count + 1, bool)
    planes = _Planes(count, width)
    for block in blocks(count):
        marks[(keys[block] >> width) + np.arange(block.start, block.stop)] = True
        planes.put(block, (keys[block] & ((1 << width) - 1)).view(np.uint64))
    packed: Arrays = {"head": np.array([count, width, len(marks)], np.int64), "upper": np.packbits(marks)}
    return packed | planes.arrays


def unpack_ascending(packed: Mapping[str, NDArray[Any]]) -> Int64Array:
    """The inverse of pack_ascending."""
    count, width, length = (int(number) for number in packed["head"])
    marked = np.flatnonzero(np.unpackbits(packed["upper"], count=length).view(bool))
    if len(marked) != count:
        raise ValueError(f"{len(marked)} numbers where the head says {count}")
    planes = _Planes.of(packed, count, width)
    for block in blocks(count):
        upper = marked[block]
        upper -= np.arange(block.start, block.stop)
        upper <<= width
        upper |= planes.get(block).view(np.int64)
    return marked


def prefixed(name: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {f"{name}.{part}": array for part, array in arrays.items()}


def under(name: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The inverse of prefixed."""
    start = f"{name}."
    return {key[len(start) :]: array for key, array in arrays.items() if key.startswith(start)}


def _unit(offsets: Callable[[slice], UInt64Array], count: int, span: int) -> int:
    """The largest unit that divides all offsets, of which the largest is `span`."""
    for unit in _UNITS:
        if unit == 1 or (span >= unit and not any((offsets(block) % np.uint64(unit)).any() for block in blocks(count))):
            return unit
    return 1


class _Planes:
    """The bits of `count` values of `width` bits each, which come and go a block at a time."""

    def __init__(self, count: int, width: int) -> None:
        self._pieces = _pieces(width)
        self.arrays: Arrays = {f"bits{at}": _empty_plane(count, plane) for plane, at in self._pieces}

    @classmethod
    def of(cls, packed: Mapping[str, NDArray[Any]], count: int, width: int) -> _Planes:
        """Those of what was packed. Raises ValueError when they are not as long as they should be."""
        planes = cls(0, width)
        planes.arrays = {f"bits{at}": packed[f"bits{at}"] for _, at in planes._pieces}
        for plane, at in planes._pieces:
            if planes.arrays[f"bits{at}"].shape != _empty_plane(count, plane).shape:
                raise ValueError(f"plane {at} is cut: the head says {count} values")
        return planes

    def put(self, block: slice, values: UInt64Array) -> None:
        for plane, at in self._pieces:
            part = (values >> np.uint64(at)) & np.uint64((1 << plane) - 1)
            stored = self.arrays[f"bits{at}"][_stored(block, plane)]
            stored[:] = part if plane in _WORDS else _squeezed(part.astype(np.uint8), plane)

    def get(self, block: slice) -> UInt64Array:
        values = np.zeros(block.stop - block.start, np.uint64)
        for plane, at in self._pieces:
            stored = self.arrays[f"bits{at}"][_stored(block, plane)]
            part = stored if plane in _WORDS else _spread(stored, plane, len(values))
            values |= part.astype(np.uint64) << np.uint64(at)
        return values


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


def _empty_plane(count: int, plane: int) -> NDArray[Any]:
    return np.empty(count, _WORDS[plane]) if plane in _WORDS else np.empty(-(-count * plane // 8), np.uint8)


def _stored(block: slice, plane: int) -> slice:
    """Where the values of a block stand in their plane; blocks begin at whole bytes."""
    return block if plane in _WORDS else slice(block.start * plane // 8, -(-block.stop * plane // 8))


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
