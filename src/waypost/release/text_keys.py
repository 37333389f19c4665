"""TextKeys: the app's text or UUID keys of a release's rows, and the way back from a key to its row.

Millions of users must not cost a Python object each, so a key is found by a sorted array of 64-bit hashes and then
compared byte by byte: 12 bytes a key beside the key itself. Python's own hash of bytes is seeded in every process, so
nobody can register keys that collide on purpose; it is never stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from waypost.graph.tensors import Int32Array, Int64Array
from waypost.graph.texts import Texts
from waypost.questions import AppKey

HASHED_AT_ONCE = 65_536  # keys; their offsets are Python integers for a moment
Hash = Callable[[bytes], int]  # into 64 bits


class TextKeys:
    """`texts` [num_rows]: the key of each row."""

    def __init__(self, texts: Texts, hash_of: Hash = hash) -> None:
        self.texts, self._hash = texts, hash_of
        hashes = _hashes(texts, hash_of)
        self._rows: Int32Array = np.argsort(hashes, kind="stable").astype(np.int32)  # by ascending hash
        self._hashes: Int64Array = hashes[self._rows]

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, keys: Sequence[AppKey]) -> Int32Array:
        """Rows of those keys that are here, distinct, ascending; an integer is no text key."""
        wanted = [key.encode("utf-8", "surrogatepass") for key in keys if isinstance(key, str)]
        hashes = [self._hash(key) for key in wanted]
        starts = np.searchsorted(self._hashes, np.array(hashes, np.int64)).tolist()
        sought = zip(starts, hashes, wanted, strict=True)
        found = [self._row_from(start, digest, key) for start, digest, key in sought]
        return np.unique(np.array([row for row in found if row is not None], np.int32))

    def keys(self, rows: NDArray[np.integer]) -> list[str]:
        return [self.texts[row] for row in rows.tolist()]

    def _row_from(self, place: int, digest: int, key: bytes) -> int | None:
        """The row of the key among those of this hash, the first of which would stand at `place`."""
        while place < len(self._hashes) and self._hashes[place] == digest:
            row = int(self._rows[place])
            if self.texts.raw(row) == key:
                return row
            place += 1
        return None


def _hashes(texts: Texts, hash_of: Hash) -> Int64Array:
    """[num_texts] a hash of each one's bytes."""
    hashes = np.empty(len(texts), np.int64)
    for start in range(0, len(texts), HASHED_AT_ONCE):
        offsets = texts.offsets[start : start + HASHED_AT_ONCE + 1]
        block = texts.data[offsets[0] : offsets[-1]].tobytes()
        bounds = pairwise((offsets - offsets[0]).tolist())
        hashes[start : start + HASHED_AT_ONCE] = [hash_of(block[first:last]) for first, last in bounds]
    return hashes
