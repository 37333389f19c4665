"""Rows of a source as they come over the wire: whole, or the rows of some cells, or one of several parts of all rows.

Two integer keys that fit travel as one int8: the server's serialiser costs by the value. A kind travels as its hash,
and its name is asked for once. Where a value does not fit, the same rows are read again wide."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.errors import PostgresUnavailable, SchemaError
from waypost.graph.blocks import blocks
from waypost.graph.copy_format import CopiedRows, parse_arrays, parse_rows
from waypost.graph.indexing import ABSENT, IdIndex
from waypost.graph.partitions import POSTGRES_EPOCH_MICROSECONDS, Partition
from waypost.graph.postgres import SnapshotConnection, ValueOutOfRange
from waypost.graph.tensors import NO_TIME, Int64Array
from waypost.graph.texts import Texts, joined
from waypost.graph.wire import WireSource

logger = logging.getLogger(__name__)
MAX_KINDS = 256  # a kind is stored in one byte
_WIRE_TYPES = {"id": ">i8", "time": ">i8", "flag": "i1"}
_LAST = np.iinfo(np.int64).max - POSTGRES_EPOCH_MICROSECONDS  # 'infinity' is sent as int64's largest


@dataclass(frozen=True, eq=False)
class SourceRows:
    """Columns of some rows of one source, rows in no particular order."""

    count: int
    columns: Mapping[str, NDArray[Any]]  # keys as int64 of the wire, times in microseconds since 1970, flags as bool
    texts: Mapping[str, Texts]
    kind_names: tuple[str, ...] = ()  # what `columns["kind"]` counts in

    def take(self, mask: NDArray[np.bool_]) -> SourceRows:
        """Only the rows that the mask names."""
        if mask.all():
            return self
        columns = {name: values[mask] for name, values in self.columns.items()}
        texts = {name: texts.take(np.flatnonzero(mask)) for name, texts in self.texts.items()}
        return SourceRows(int(mask.sum()), columns, texts, self.kind_names)


def read_rows(
    connection: SnapshotConnection,
    wire: WireSource,
    condition: str = "true",
    workers: int = 0,
    envelope: str = "true",
    grouping: str = "",
) -> SourceRows:
    """The complete rows for which `condition`, over the wire's columns, and `envelope`, over the app's, hold.

    With a `grouping`, over the wire's columns, edges come as arrays, one group at a time; the server holds them all.
    """
    if wire.source.role in ("interactions", "post_tags"):
        edges = _rows(wire, condition, envelope)
        if any(column.hashed for column in wire.ids):
            return _read_edges(connection, wire, edges, workers, grouping, _wide)
        try:
            return _read_edges(connection, wire, edges, workers, grouping, _packed)
        except ValueOutOfRange:
            return _read_edges(connection, wire, edges, workers, grouping, _wide)
    fixed = {column.name: _WIRE_TYPES[column.type] for column in wire.columns if column.type != "text"}
    texts = [column.name for column in wire.columns if column.type == "text"]
    selected = ", ".join([*fixed, *texts])
    rows = _rows(wire, condition, envelope)
    copied = parse_rows(connection.copy_binary(f"SELECT {selected} FROM {rows}", workers), fixed, texts)
    return _as_source_rows(copied)


def parts(column: str, count: int) -> list[str]:
    """Conditions that share all rows out evenly by a hash of the column."""
    if count == 1:
        return ["true"]
    return [f"(hashint8({column})::int8 + 2147483648) % {count} = {part}" for part in range(count)]


def joined_rows(pieces: Sequence[SourceRows]) -> SourceRows:
    """All rows of one source that was read in parts."""
    if len(pieces) == 1:
        return pieces[0]
    names = tuple(sorted({name for piece in pieces for name in piece.kind_names}))
    if len(names) > MAX_KINDS:
        raise SchemaError(f"there are {len(names)} kinds, at most {MAX_KINDS} are read", "map some together")
    columns = {name: np.concatenate([piece.columns[name] for piece in pieces]) for name in pieces[0].columns}
    if names:
        renamed = [np.array([names.index(name) for name in piece.kind_names], np.uint8) for piece in pieces]
        kinds = [table[piece.columns["kind"]] for table, piece in zip(renamed, pieces, strict=True) if piece.count]
        columns["kind"] = np.concatenate(kinds) if kinds else np.zeros(0, np.uint8)
    texts = {name: joined(piece.texts[name] for piece in pieces) for name in pieces[0].texts}
    return SourceRows(sum(piece.count for piece in pieces), columns, texts, names)


def require_count(rows: SourceRows, expected: int, source: str) -> None:
    """Raises PostgresUnavailable when the server sent fewer or more rows than it counted in the same snapshot."""
    if rows.count != expected:
        raise PostgresUnavailable(f"{source} gave {rows.count} rows where the server counted {expected}")


def require_counts(rows: SourceRows, partition: Partition, expected: Mapping[int, int], source: str) -> None:
    """The same, cell by cell: one row that left and one that came in the meantime must not make up for each other."""
    require_count(rows, sum(expected.values()), source)
    cells = np.array(sorted(expected), np.int64)
    at = IdIndex(cells).rows(partition.cells_of(rows.columns[partition.column]))
    counts = np.bincount(at[at != ABSENT], minlength=len(cells))
    if counts.tolist() != [expected[cell] for cell in cells.tolist()]:
        raise PostgresUnavailable(f"{source} gave other rows than the server counted")


def _rows(wire: WireSource, condition: str, envelope: str) -> str:
    """The app's complete rows in wire types, filtered."""
    columns = ", ".join(f"{column.sql} AS {column.name}" for column in wire.columns)
    return f"(SELECT {columns} FROM {wire.app_rows} WHERE {wire.complete} AND ({envelope})) AS wire WHERE ({condition})"


_EdgeIds = Callable[[WireSource], tuple[dict[str, str], dict[str, str]]]  # -> (name -> SQL, name -> dtype)


def _packed(wire: WireSource) -> tuple[dict[str, str], dict[str, str]]:
    first, second = (column.name for column in wire.ids)
    return {"pair": f"{first}::int4 * 4294967296 + {second}::int4"}, {"pair": ">i8"}


def _wide(wire: WireSource) -> tuple[dict[str, str], dict[str, str]]:
    return {column.name: column.name for column in wire.ids}, {column.name: ">i8" for column in wire.ids}


def _read_edges(
    connection: SnapshotConnection, wire: WireSource, rows: str, workers: int, grouping: str, ids: _EdgeIds
) -> SourceRows:
    selected, types = ids(wire)
    if wire.column("created_at"):
        selected["created_at"], types["created_at"] = "created_at", ">i8"
    if wire.column("kind"):
        selected["kind"], types["kind"] = 'hashtextextended(kind COLLATE "C", 0)', ">i8"
    if grouping:
        listed = ", ".join(f"array_agg({sql})" for sql in selected.values())
        copied = parse_arrays(
            connection.copy_binary(f"SELECT {listed} FROM {rows} GROUP BY {grouping}", workers), types
        )
    else:
        listed = ", ".join(f"{sql} AS {name}" for name, sql in selected.items())
        copied = parse_rows(connection.copy_binary(f"SELECT {listed} FROM {rows}", workers), types)
    found = _as_source_rows(_unpacked(copied, wire))  # the bytes themselves, the most of it all, are let go by now
    return _with_kind_names(connection, wire, found, rows) if "kind" in selected else found


def _unpacked(copied: CopiedRows, wire: WireSource) -> CopiedRows:
    """`first · 2^32 + second`, both signed 32-bit, taken apart."""
    if "pair" not in copied.fixed:
        return copied
    pair = copied.fixed["pair"]
    first, second = np.empty(copied.count, np.int32), np.empty(copied.count, np.int32)
    for block in blocks(copied.count):
        second[block] = pair[block].astype(np.int32)  # the lower half, with its sign
        first[block] = (pair[block] - second[block]) >> 32
    names = (column.name for column in wire.ids)
    ids = dict(zip(names, (first, second), strict=True))
    return CopiedRows(copied.count, {**ids, **{n: v for n, v in copied.fixed.items() if n != "pair"}}, copied.texts)


def _as_source_rows(copied: CopiedRows) -> SourceRows:
    columns = dict(copied.fixed)
    if "created_at" in columns:
        _to_unix_microseconds(columns["created_at"])
    if "has_author" in columns:
        columns["has_author"] = columns["has_author"].astype(bool)
    return SourceRows(copied.count, columns, copied.texts)


def _to_unix_microseconds(times: Int64Array) -> None:
    """In place, from Postgres' own.

    NO_TIME for both infinities, and for the end of Postgres' calendar, which int64 does not reach from 1970.
    """
    for block in blocks(len(times)):
        found = times[block]
        missing = (found == NO_TIME) | (found > _LAST)
        times[block] = np.where(missing, NO_TIME, found + POSTGRES_EPOCH_MICROSECONDS)


def _with_kind_names(connection: SnapshotConnection, wire: WireSource, rows: SourceRows, selected: str) -> SourceRows:
    """Hashes of kinds as positions in a list of their names, ascending; `selected` is where the rows came from."""
    codes = rows.columns["kind"]
    known = _distinct(codes)
    names = _names_of(connection, wire, known, selected)
    order = sorted(range(len(names)), key=names.__getitem__)
    kind = np.zeros(rows.count, np.uint8)
    for block in blocks(rows.count):
        for position, index in enumerate(order):
            kind[block][codes[block] == known[index]] = position
    return SourceRows(rows.count, {**rows.columns, "kind": kind}, rows.texts, tuple(names[i] for i in order))


def _distinct(codes: Int64Array) -> list[np.int64]:
    """The few different values of a long column: each pass takes one away, which beats sorting them all."""
    found: list[np.int64] = []
    for block in blocks(len(codes)):
        rest = codes[block]
        for code in found:
            rest = rest[rest != code]
        while len(rest):
            found.append(rest[0])
            if len(found) > MAX_KINDS:
                raise SchemaError(f"there are more than {MAX_KINDS} kinds of interactions", "map some together")
            rest = rest[rest != rest[0]]
    return found


def _names_of(connection: SnapshotConnection, wire: WireSource, codes: Sequence[np.int64], selected: str) -> list[str]:
    """One lookup a code, each of which ends with the first row found; all in one statement."""
    if not codes:
        return []
    lookups = (
        f'(SELECT {int(code)}::int8, kind FROM {selected} AND hashtextextended(kind COLLATE "C", 0) = {code} LIMIT 1)'
        for code in codes
    )
    found = {int(code): str(name) for code, name in connection.fetch(" UNION ALL ".join(lookups))}
    if len(found) < len(codes):
        raise PostgresUnavailable(f"{wire.name} has a kind that it does not have")
    return [found[int(code)] for code in codes]
