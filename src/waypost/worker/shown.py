"""How much of the catalogue callers get to see: distinct posts in the answers of the served release.

An estimate by linear counting (Whang, Vander-Zanden, Taylor 1990): each post marks one of a million cells, and the
share of empty cells tells how many marked them. It takes a megabyte however large the catalogue, and is within a few
percent up to some millions of posts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from waypost.questions import AppKey

CELLS = 1 << 20


class ShownPosts:
    """Marked by finishers, read by scrapes; a mark that is lost between threads changes nothing that matters."""

    def __init__(self) -> None:
        self._version: int | None = None
        self._cells = bytearray(CELLS)

    def show(self, model_version: int | None, posts: Iterable[AppKey]) -> None:
        """These stood in an answer of that release; another release begins anew. A degraded answer has none."""
        if model_version is None:
            return
        if model_version != self._version:
            self._version, self._cells = model_version, bytearray(CELLS)
        cells = self._cells
        for post in posts:
            cells[hash(str(post)) % CELLS] = 1  # an integer hashes to itself, and counting needs chance

    def count(self) -> float:
        """About how many distinct posts were shown."""
        empty = max(1, self._cells.count(0))
        return round(CELLS * math.log(CELLS / empty))
