"""IdIndex: from ids of the wire to rows. Pure.

Most apps count their ids up, so a table as long as the ids' span answers in one look; where they are spread over 64
bits (hashes, snowflakes), a binary search does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.graph.blocks import blocks
from waypost.graph.tensors import Int32Array, Int64Array

ABSENT = -1
TABLE_SPAN_PER_ID = 8  # a table entry is 4 bytes, an id 8: the table costs at most four times the ids


class IdIndex:
    """Of distinct ids, in the order of their rows."""

    def __init__(self, ids: Int64Array) -> None:
        self._low = int(ids.min()) if len(ids) else 0
        span = (int(ids.max()) - self._low + 1) if len(ids) else 0
        self._table = self._order = None
        if span <= max(TABLE_SPAN_PER_ID * len(ids), 1 << 16):
            self._table = np.full(span + 1, ABSENT, np.int32)  # the last entry stands for everything outside
            self._table[ids - self._low] = np.arange(len(ids), dtype=np.int32)
        else:
            self._order = np.argsort(ids).astype(np.int32)
            self._sorted = ids[self._order]

    def rows(self, wanted: NDArray[Any]) -> Int32Array:
        """[len(wanted)] the row of each id, ABSENT where there is none."""
        if self._table is not None:
            outside = np.uint64(len(self._table) - 1)
            rows = np.empty(len(wanted), np.int32)
            for block in blocks(len(wanted)):
                at = wanted[block].astype(np.int64)
                at -= self._low  # an id below the lowest wraps to a huge one
                rows[block] = self._table[np.minimum(at.view(np.uint64), outside).view(np.int64)]
            return rows
        assert self._order is not None
        place = np.searchsorted(self._sorted, wanted)
        place[place == len(self._sorted)] = 0
        return np.where(self._sorted[place] == wanted, self._order[place], np.int32(ABSENT))


def is_among(values: NDArray[Any], wanted: Int64Array) -> NDArray[np.bool_]:
    """[len(values)] whether each is one of the distinct `wanted`. np.isin may sort all values to know it."""
    among: NDArray[np.bool_] = IdIndex(wanted).rows(values) != ABSENT
    return among
