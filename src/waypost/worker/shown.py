"""How much of the catalogue callers get to see: distinct posts in the answers of the served release.

An estimate by linear counting (Whang, Vander-Zanden, Taylor 1990): each post marks one of 262,144 cells, and the share
of empty cells tells how many marked them. It takes as much memory however large the catalogue, little enough to stay in
a processor's cache, and is within a few percent up to some millions of posts. Posts are marked a thousand at a time, in
arrays: one by one they cost more than all else that is observed of a request.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from waypost.questions import Answer, AppKey

CELLS = 1 << 18
MARKED_AT_ONCE = 1_024  # posts; what an array operation costs by itself is spread over so many


class ShownPosts:
    """Told by finishers, read by scrapes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version: int | None = None
        self._waiting: list[AppKey] = []  # shown by that version, to be marked; keys alone, so that answers may go
        self._cells = np.zeros(CELLS, np.bool_)

    def show(self, answers: Sequence[Answer]) -> None:
        """These were delivered; a first one of another release begins anew. Degraded ones count nothing."""
        with self._lock:
            for answer in answers:
                if answer.model_version is None:
                    continue
                if answer.model_version != self._version:
                    self._version, self._waiting = answer.model_version, []
                    self._cells.fill(False)
                self._waiting += [post for post, _ in answer.items]
            if len(self._waiting) >= MARKED_AT_ONCE:
                self._mark()

    def count(self) -> float:
        """About how many distinct posts were shown."""
        with self._lock:
            self._mark()
            empty = CELLS - int(np.count_nonzero(self._cells))
        return round(CELLS * math.log(CELLS / max(1, empty)))

    def _mark(self) -> None:
        integers = not self._waiting or type(self._waiting[0]) is int  # an app's keys are all of one type
        hashes = np.array(self._waiting if integers else list(map(hash, self._waiting)), np.int64)
        self._waiting.clear()
        self._cells[_cells_of(hashes)] = True


def _cells_of(hashes: NDArray[np.int64]) -> NDArray[np.intp]:
    """Of integers or hashes. Counting needs chance, which ids that count up have not: the finaliser of SplitMix64
    (Steele, Lea, Flood 2014)."""
    mixed = hashes.view(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(CELLS)).astype(np.intp)
