"""Digests: per cell of a source, how many rows it holds and the sum of their hashes, computed by the server inside the
snapshot. Two equal digests mean equal rows; nothing else (no clock, no updated_at, no statistics) is trusted.

The sum is order-free and counts repetitions, so it stands for the cell's multiset of rows: a changed multiset keeps its
64-bit sum by chance once in 2^64. The hash is Postgres' own and no cipher; it guards against accidents, not forgers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping as MappingType
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waypost.graph.copy_format import parse_rows
from waypost.graph.mapping import Mapping
from waypost.graph.partitions import MOST_CELLS, Partition
from waypost.graph.postgres import SnapshotConnection
from waypost.graph.tensors import Int64Array
from waypost.graph.wire import WireSource

FORMAT = 2  # of tensors, digests and cache together; a change makes everything that is kept foreign
# A sum of int8 is a numeric; modulo 2^64 and as a signed int8 it is eight bytes on the wire.
_WRAPPED_SUM = f"(mod(mod(coalesce(sum(hash), 0) + {2**63}, {2**64}) + {2**64}, {2**64}) - {2**63})::int8"


@dataclass(frozen=True, eq=False)
class Digests:
    """Of one source, by ascending cell."""

    partition: Partition
    cells: Int64Array  # [num_cells]
    rows: Int64Array  # [num_cells] all rows
    complete: Int64Array  # [num_cells] rows that have every id they need
    sums: NDArray[np.uint64]  # [num_cells] of the complete rows' hashes, modulo 2^64

    def total(self) -> tuple[int, int, int]:
        """The same for any partition of the same rows."""
        return int(self.rows.sum()), int(self.complete.sum()), int(self.sums.sum(dtype=np.uint64))

    def counts_in(self, cells: Int64Array) -> dict[int, int]:
        """Complete rows in each of those cells that is there."""
        among = np.isin(self.cells, cells)
        return dict(zip(self.cells[among].tolist(), self.complete[among].tolist(), strict=True))


def read_digests(connection: SnapshotConnection, wire: WireSource, partition: Partition, workers: int) -> Digests:
    """One pass over the source, by at most `workers` parallel processes besides the backend itself.

    The constant offset keeps the planner from seeing through to the column under a cell: it would take every row for a
    group of its own, and group after gathering all rows in one process.
    """
    keyed = [(partition.column, wire_column.sql)] if (wire_column := wire.column(partition.column)) else []
    rows = wire.rows([*keyed, ("hash", wire.row_hash)])
    copied = parse_rows(
        connection.copy_binary(
            f"SELECT cell, count(*), count(hash), {_WRAPPED_SUM} FROM"
            f" (SELECT {partition.sql()} AS cell, hash FROM {rows} OFFSET '0'::int8) AS cut GROUP BY cell",
            workers,
        ),
        {"cell": ">i8", "rows": ">i8", "complete": ">i8", "sum": ">i8"},
    )
    cells = partition.from_wire(copied.fixed["cell"])
    return _merged(
        partition, cells, copied.fixed["rows"], copied.fixed["complete"], copied.fixed["sum"].view(np.uint64)
    )


def changed_cells(old: Digests, new: Digests) -> Int64Array:
    """Ascending cells whose rows are not what they were, those that came or went included.

    Both must be cut by the same partition.
    """
    cells = np.union1d(old.cells, new.cells)
    same = _facts_at(old, cells) == _facts_at(new, cells)
    changed: Int64Array = cells[~same.all(axis=1)]
    return changed


def coarsened(digests: Digests) -> Digests:
    """With few enough cells to be kept and compared; unions of the old ones, so their digests are sums."""
    while len(digests.cells) > MOST_CELLS:
        partition = digests.partition.coarser()
        cells = digests.partition.coarsened(digests.cells)
        digests = _merged(partition, cells, digests.rows, digests.complete, digests.sums)
    return digests


def fingerprint_of(mapping: Mapping, server_version: int, digests: MappingType[str, Digests]) -> str:
    """32 hexadecimal digits that name the content the night would read; equal content, equal name.

    A server of another major version may hash otherwise, so its version is part of the name.
    """
    facts = {
        "format": FORMAT,
        "mapping": mapping.identity,
        "server": server_version // 10_000,
        "sources": {name: digest.total() for name, digest in digests.items()},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _merged(
    partition: Partition, cells: Int64Array, rows: Int64Array, complete: Int64Array, sums: NDArray[np.uint64]
) -> Digests:
    """Sorted by cell, with the digests of equal cells added up."""
    order = np.argsort(cells, kind="stable")
    distinct, first = np.unique(cells[order], return_index=True)
    if not len(distinct):
        return Digests(partition, cells, rows, complete, sums)
    return Digests(
        partition,
        distinct,
        np.add.reduceat(rows[order], first),
        np.add.reduceat(complete[order], first),
        np.add.reduceat(sums[order], first),
    )


def _facts_at(digests: Digests, cells: Int64Array) -> NDArray[np.uint64]:
    """[len(cells), 2] rows and sum, zero where there is no such cell."""
    facts = np.zeros((len(cells), 2), np.uint64)
    at = np.searchsorted(cells, digests.cells)
    facts[at, 0], facts[at, 1] = digests.rows.astype(np.uint64), digests.sums
    return facts
