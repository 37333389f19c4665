"""Postgres' binary COPY format, parsed by numpy without a Python object per value.

Pure: bytes in, arrays out. Layout: a 19-byte header, then per row an int16 field count and per field an int32 length
(-1: NULL) and that many bytes, all big-endian, then an int16 of -1. Fixed-width rows are one structured dtype, so
every length word is compared with the width: a NULL or a column of another width is found, never misread."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.errors import SchemaError
from waypost.graph.blocks import blocks
from waypost.graph.texts import Int64Array, Texts

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER_BYTES = len(_SIGNATURE) + 8  # flags and the length of the header's extension
_TRAILER = b"\xff\xff"
_LENGTH, _FIELD_COUNT = struct.Struct(">i"), struct.Struct(">h")
_ARRAY = struct.Struct(">6i")  # its length in bytes, then dimensions, flags, type of the elements, size, lower bound
_REMEDY = "run `waypost night` again"


@dataclass(frozen=True, eq=False)
class CopiedRows:
    """Columns of the rows of one COPY, in the order they came."""

    count: int
    fixed: Mapping[str, NDArray[Any]]
    texts: Mapping[str, Texts]


def parse_rows(data: bytes | memoryview, fixed: Mapping[str, str], texts: Sequence[str] = ()) -> CopiedRows:
    """Columns of fixed width (name -> big-endian dtype: `>i8`, `>i4`, `i1`), then columns of text.

    Native arrays come back. Raises SchemaError when a value is NULL, has another width, or the data is cut.
    """
    body = _body(data)
    row = _row_type(fixed, texts)
    if not texts:
        if len(body) % row.itemsize:
            raise SchemaError("a row of the snapshot has a NULL or an unexpected width", _REMEDY)
        rows = np.frombuffer(body, row)
        return CopiedRows(len(rows), _columns(rows, fixed, texts), {})
    starts, begins, ends = _spans(body, row.itemsize, len(texts))
    whole = np.frombuffer(body, np.uint8)
    rows = whole[starts[:, None] + np.arange(row.itemsize)].view(row)[:, 0] if len(starts) else np.zeros(0, row)
    found = {name: _cut_out(body, begins[:, i], ends[:, i]) for i, name in enumerate(texts)}
    return CopiedRows(len(rows), _columns(rows, fixed, texts), found)


def parse_arrays(data: bytes | memoryview, fixed: Mapping[str, str]) -> CopiedRows:
    """Rows that came in groups, every column of a group as one array: `SELECT array_agg(…), … GROUP BY …`.

    As parse_rows, and for the client ten times cheaper: a COPY row costs by itself, however few bytes it is.
    """
    body, at = _body(data), 0
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in fixed}
    try:
        while at < len(body):
            (field_count,) = _FIELD_COUNT.unpack_from(body, at)
            at += _FIELD_COUNT.size
            if field_count != len(fixed):
                raise SchemaError("a group of the snapshot has another number of columns", _REMEDY)
            for name, dtype in fixed.items():
                length, dimensions, _, _, size, _ = _ARRAY.unpack_from(body, at)
                element = np.dtype([("length", ">i4"), ("value", dtype)])
                if dimensions != 1 or length != _ARRAY.size - _LENGTH.size + size * element.itemsize:
                    raise SchemaError(f"column {name} of the snapshot holds a NULL", _REMEDY)
                elements = np.frombuffer(body, element, size, at + _ARRAY.size)
                if (elements["length"] != np.dtype(dtype).itemsize).any():
                    raise SchemaError(f"column {name} of the snapshot holds a NULL", _REMEDY)
                columns[name].append(elements["value"])
                at += _LENGTH.size + length
    except (struct.error, ValueError):
        raise SchemaError("a group of the snapshot is cut", _REMEDY) from None
    whole = {name: np.concatenate(_native(columns[name], dtype)) for name, dtype in fixed.items()}
    counts = {len(column) for column in whole.values()}
    if len(counts) != 1:
        raise SchemaError("the columns of a group of the snapshot are not of one length", _REMEDY)
    return CopiedRows(counts.pop(), whole, {})


def _native(pieces: Sequence[NDArray[Any]], dtype: str) -> list[NDArray[Any]]:
    native = np.dtype(dtype).newbyteorder("=")
    return [np.zeros(0, native), *(piece.astype(native) for piece in pieces)]


def _body(data: bytes | memoryview) -> memoryview:
    view = memoryview(data)
    if (
        len(view) < _HEADER_BYTES + len(_TRAILER)
        or view[: len(_SIGNATURE)] != _SIGNATURE
        or view[-len(_TRAILER) :] != _TRAILER
    ):
        raise SchemaError("the snapshot's COPY stream is cut", _REMEDY)
    return view[_HEADER_BYTES : -len(_TRAILER)]


def _row_type(fixed: Mapping[str, str], texts: Sequence[str]) -> np.dtype[np.void]:
    """Everything up to the first text, its length word included."""
    pieces: list[tuple[str, str]] = [("field_count", ">i2")]
    for name, dtype in fixed.items():
        pieces += [(f"length of {name}", ">i4"), (name, dtype)]
    if texts:
        pieces.append((f"length of {texts[0]}", ">i4"))
    return np.dtype(pieces)


def _columns(rows: NDArray[Any], fixed: Mapping[str, str], texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    columns = {name: np.empty(len(rows), np.dtype(dtype).newbyteorder("=")) for name, dtype in fixed.items()}
    for block in blocks(len(rows)):
        taken = rows[block]
        if (taken["field_count"] != len(fixed) + len(texts)).any():
            raise SchemaError("a row of the snapshot has another number of columns", _REMEDY)
        for name, dtype in fixed.items():
            if (taken[f"length of {name}"] != np.dtype(dtype).itemsize).any():
                raise SchemaError(f"column {name} of the snapshot holds a NULL", _REMEDY)
            columns[name][block] = taken[name]
    return columns


def _spans(body: memoryview, fixed_bytes: int, num_texts: int) -> tuple[Int64Array, Int64Array, Int64Array]:
    """(row starts [n], text begins [n, num_texts], text ends): the one loop over rows, two numbers each."""
    marks: list[int] = []
    at, end, unpack = 0, len(body), _LENGTH.unpack_from
    try:
        while at < end:
            marks.append(at)
            at += fixed_bytes - _LENGTH.size
            for _ in range(num_texts):
                length = unpack(body, at)[0]
                if length < 0:
                    raise SchemaError("a text of the snapshot is NULL", _REMEDY)
                at += _LENGTH.size
                marks.append(at)
                at += length
    except struct.error:
        raise SchemaError("a text row of the snapshot is cut", _REMEDY) from None
    if at != end:
        raise SchemaError("a text row of the snapshot is cut", _REMEDY)
    table = np.array(marks, np.int64).reshape(-1, 1 + num_texts)
    starts, begins = table[:, 0], table[:, 1:]
    following = np.append(starts[1:], end)[: len(starts)]
    ends = np.column_stack([begins[:, 1:] - _LENGTH.size, following])
    return starts, begins, ends


def _cut_out(body: memoryview, begins: Int64Array, ends: Int64Array) -> Texts:
    data = b"".join([body[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)])
    return Texts(np.frombuffer(data, np.uint8), np.concatenate(([0], np.cumsum(ends - begins))).astype(np.int64))
