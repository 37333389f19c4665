"""Texts: many strings as one array of UTF-8 bytes and the offsets between them, so that 100,000 posts are two arrays.

A Python object per string costs more than the strings themselves; one is made only for the text that is asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Texts:
    data: NDArray[np.uint8]  # all texts, one after the other
    offsets: Int64Array  # [num_texts + 1]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        return self.raw(index).decode("utf-8", errors="replace")

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def raw(self, index: int) -> bytes:
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()

    @property
    def lengths(self) -> Int64Array:
        """[num_texts] bytes of each."""
        return np.diff(self.offsets)

    def take(self, rows: Int64Array) -> Texts:
        """The chosen texts in the order of `rows`."""
        return gathered([self], rows)


def no_texts(count: int) -> Texts:
    """`count` empty texts."""
    return Texts(np.zeros(0, np.uint8), np.zeros(count + 1, np.int64))


def to_texts(strings: Iterable[str]) -> Texts:
    pieces = [string.encode("utf-8", errors="replace") for string in strings]
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    return Texts(np.frombuffer(b"".join(pieces), np.uint8), offsets)


def joined(texts: Iterable[Texts]) -> Texts:
    """One after the other."""
    parts = list(texts)
    return gathered(parts, np.arange(sum(map(len, parts))))


def gathered(parts: Sequence[Texts], rows: Int64Array) -> Texts:
    """The texts of those rows, counted through all parts, in their order.

    Neighbours are copied as one run, and all bytes once: a few gaps in a long list cost little.
    """
    first_row = np.cumsum([0, *(len(part) for part in parts)])
    if not len(rows):
        return no_texts(0)
    for part, first in zip(parts, first_row, strict=False):
        if len(rows) == len(part) and (rows == np.arange(first, first + len(part))).all():
            return part
    begins = np.flatnonzero(np.concatenate(([True], (np.diff(rows) != 1) | np.isin(rows[1:], first_row[1:-1]))))
    lasts = rows[np.append(begins[1:], len(rows)) - 1]
    runs = []
    for begin, last in zip(rows[begins].tolist(), lasts.tolist(), strict=True):
        of = bisect_right(first_row, begin) - 1
        part, skipped = parts[of], int(first_row[of])
        runs.append(part.data[part.offsets[begin - skipped] : part.offsets[last - skipped + 1]])
    lengths = np.concatenate([part.lengths for part in parts])[rows]
    return Texts(np.concatenate(runs), np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
