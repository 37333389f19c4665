"""Postgres' binary COPY format, parsed by numpy without a Python object per row.

Pure: bytes in, arrays out. Layout: an 19-byte header, then per row an int16 field count and per field an int32 length
(-1: NULL) and that many bytes, all big-endian, then an int16 of -1. Fixed-width rows are one structured dtype, so
every length word is compared with the width: a NULL or a column of another width is found, never misread."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waypost.errors import SchemaError

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER_BYTES = len(_SIGNATURE) + 8  # flags and the length of the header's extension
_TRAILER = b"\xff\xff"


def parse_fixed(data: bytes, columns: dict[str, str]) -> dict[str, NDArray[Any]]:
    """Columns of fixed width: name -> big-endian dtype (`>i8`, `>i4`, `>i2`, `i1`); native arrays come back.

    Raises SchemaError when a row is NULL somewhere, has another width, or the data is cut.
    """
    start, end = _body(data)
    pieces: list[tuple[str, str]] = [("field_count", ">i2")]
    for name, dtype in columns.items():
        pieces += [(f"length of {name}", ">i4"), (name, dtype)]
    row = np.dtype(pieces)
    if (end - start) % row.itemsize:
        raise SchemaError("a row of the snapshot has a NULL or an unexpected width", "run `waypost night` again")
    rows = np.frombuffer(data, row, (end - start) // row.itemsize, start)
    _check_lengths(rows, columns)
    return {name: rows[name].astype(np.dtype(dtype).newbyteorder("=")) for name, dtype in columns.items()}


def parse_id_and_text(data: bytes) -> tuple[NDArray[np.int64], list[str]]:
    """Rows of (int8, text), in the order they came."""
    at, end = _body(data)
    ids: list[int] = []
    texts: list[str] = []
    head = struct.Struct(">hiqi")
    while at < end:
        _, id_length, number, length = head.unpack_from(data, at)
        at += head.size
        if id_length != 8 or length < 0 or at + length > end:
            raise SchemaError("a text row of the snapshot has a NULL or is cut", "run `waypost night` again")
        ids.append(number)
        texts.append(data[at : at + length].decode("utf-8", errors="replace"))
        at += length
    return np.array(ids, np.int64), texts


def _body(data: bytes) -> tuple[int, int]:
    if not data.startswith(_SIGNATURE) or not data.endswith(_TRAILER) or len(data) < _HEADER_BYTES + len(_TRAILER):
        raise SchemaError("the snapshot's COPY stream is cut", "run `waypost night` again")
    return _HEADER_BYTES, len(data) - len(_TRAILER)


def _check_lengths(rows: NDArray[Any], columns: dict[str, str]) -> None:
    if (rows["field_count"] != len(columns)).any():
        raise SchemaError("a row of the snapshot has another number of columns", "run `waypost night` again")
    for name, dtype in columns.items():
        if (rows[f"length of {name}"] != np.dtype(dtype).itemsize).any():
            raise SchemaError(f"column {name} of the snapshot holds a NULL", "run `waypost night` again")
