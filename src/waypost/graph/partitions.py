"""Partitions: cells that a source's rows fall into by their own content, by time where there is one, else by key.

The server can name a row's cell in SQL and numpy can name it from the row's columns, and both say the same; so rows of
a changed cell can be read again by a condition, and taken out of what is kept, without a word stored beside them.
Coarser cells are unions of finer ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from waypost.graph.sorting import distinct, distinct_of_sorted
from waypost.graph.tensors import NO_TIME, Int64Array

POSTGRES_EPOCH_MICROSECONDS = 946_684_800_000_000  # 2000-01-01 in microseconds since 1970-01-01
NO_CELL = NO_TIME  # of rows without a time, or with one that no app means: before year 1, after 9999
TARGET_CELLS = 1_024  # then one changed row costs reading a thousandth of the source again
MOST_CELLS = 4_096  # beyond, the digests themselves become long: every second boundary goes
MIN_CELL_ROWS = 16  # finer cells than that find no more
FINEST_MICROSECONDS = 1_000_000
LARGEST_WIDTH = 2**60  # of keys
LARGEST_MICROSECONDS = FINEST_MICROSECONDS << 31  # 68 years: a bin must not begin before Postgres' time does
_FIRST_MICROSECONDS = -63_082_281_600_000_000  # 0001-01-01, since 2000
_LAST_MICROSECONDS = 252_455_529_600_000_000  # 9999-12-31, since 2000
_FIRST = "0001-01-01 00:00:00+00"
_ORIGIN = "2000-01-01 00:00:00+00"  # Postgres' own epoch, so that a bin's start divides by the width
_JULIAN_DAY_2000 = 2_451_545
_DAY_MICROSECONDS = 86_400_000_000


@dataclass(frozen=True)
class Partition:
    """How one source is cut. `width` is microseconds of time, or how many neighbouring keys share a cell."""

    by: Literal["time", "key"]
    column: str
    width: int

    def sql(self) -> str:
        """A row's cell, as bigint or timestamptz."""
        if self.by == "key":
            return f"coalesce({self.column} >> {self.width.bit_length() - 1}, 0)"
        return f"date_bin('{self.width} microseconds', greatest({self.column}, '{_FIRST}'), '{_ORIGIN}')"

    def cells_of(self, values: Int64Array) -> Int64Array:
        """Each row's cell from its key, or from its time in microseconds since 1970 or NO_TIME."""
        if self.by == "key":
            return values.astype(np.int64, copy=False) >> (self.width.bit_length() - 1)
        timed = np.where(values == NO_TIME, 0, values)
        return self._within(np.where(values == NO_TIME, NO_CELL, (timed - POSTGRES_EPOCH_MICROSECONDS) // self.width))

    def from_wire(self, cells: Int64Array) -> Int64Array:
        """Cells as the server sends them: a bin's start in microseconds since 2000; infinity in a bin of its own."""
        return cells if self.by == "key" else self._within(cells // self.width)

    def _within(self, cells: Int64Array) -> Int64Array:
        """NO_CELL in place of the cells of year 1 and 9999 and beyond, whatever times the server and we put there."""
        first, last = self._ends()
        return np.where((cells <= first) | (cells >= last), NO_CELL, cells)

    def _ends(self) -> tuple[int, int]:
        return _FIRST_MICROSECONDS // self.width, _LAST_MICROSECONDS // self.width

    def condition(self, cells: Int64Array) -> str:
        """SQL that holds for exactly the rows of these cells (ascending, at least one)."""
        if self.by == "key":
            shift = self.width.bit_length() - 1
            listed = ",".join(map(str, cells.tolist()))
            low, high = int(cells[0]) << shift, ((int(cells[-1]) + 1) << shift) - 1
            return (
                f"{self.column} BETWEEN {low} AND {high} AND ({self.column} >> {shift}) = ANY('{{{listed}}}'::int8[])"
            )
        timed = cells[cells != NO_CELL]
        first, last = self._ends()
        outside = f"{self.column} < {self._instant(first + 1)} OR {self.column} >= {self._instant(last)}"
        conditions = [outside] if len(timed) < len(cells) else []
        if len(timed):
            listed = ",".join(map(self._instant, timed.tolist()))
            start, end = self._instant(int(timed[0])), self._instant(int(timed[-1]) + 1)
            conditions.append(
                f"{self.column} >= {start} AND {self.column} < {end}"
                f" AND {self.sql()} = ANY(ARRAY[{listed}]::timestamptz[])"
            )
        return "(" + ") OR (".join(conditions) + ")"

    def envelope(self, cells: Int64Array) -> str:
        """SQL over the app's own column that holds for all rows of these cells and few others.

        It is there for an index on time, or a table that is partitioned by it: neither is looked up by an expression.
        """
        if self.by == "key" or not len(cells) or cells[0] == NO_CELL:
            return "true"
        start, end = (f"{self._instant(int(cell))}::timestamptz" for cell in (cells[0], cells[-1] + 1))  # not ::date
        return f'app."{self.column}" >= {start} AND app."{self.column}" < {end}'

    @property
    def is_widest(self) -> bool:
        return self.width >= (LARGEST_MICROSECONDS if self.by == "time" else LARGEST_WIDTH)

    def coarser(self) -> Partition:
        return replace(self, width=self.width * 2)

    def coarsened(self, cells: Int64Array) -> Int64Array:
        """The cells of `self.coarser()` that these are parts of."""
        return cells >> 1 if self.by == "key" else self.coarser()._within(cells >> 1)  # NO_CELL stays below the first

    def _instant(self, cell: int) -> str:
        """The cell's first microsecond as a timestamptz literal; Julian days reach every year that Postgres knows."""
        days, microseconds = divmod(cell * self.width, _DAY_MICROSECONDS)
        seconds, fraction = divmod(microseconds, 1_000_000)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:06}"
        return f"'J{_JULIAN_DAY_2000 + days} {clock}+00'"


def most_cells(num_rows: int) -> int:
    """Into how many a source of so many rows is cut at first."""
    return min(TARGET_CELLS, max(1, num_rows // MIN_CELL_ROWS))


def choose_partition(by: Literal["time", "key"], column: str, values: Int64Array) -> Partition:
    """The finest cells, doubling from the finest allowed, that are neither too many nor too empty for these rows."""
    partition = Partition(by, column, FINEST_MICROSECONDS if by == "time" else 1)
    cells = distinct(partition.cells_of(values))
    while len(cells) > most_cells(len(values)) and not partition.is_widest:
        cells = distinct_of_sorted(partition.coarsened(cells))
        partition = partition.coarser()
    return partition
