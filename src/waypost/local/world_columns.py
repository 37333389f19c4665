"""Rows of text by numpy: a column is a matrix of bytes padded with zeros, a table its columns beside one another.

The zeros are left out when the bytes are written. Two million rows are a second's work this way; a Python call per row
would be a minute's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]  # [num_rows, width], zero where there is nothing
Int64Array = NDArray[np.int64]

_DAY_MS: Final = 86_400_000
_ZERO: Final = ord("0")


def words(texts: Iterable[str]) -> Bytes:
    """One row per text, to be picked from by index."""
    encoded = np.array([text.encode() for text in texts], dtype=np.bytes_)
    return encoded.view(np.uint8).reshape(len(encoded), encoded.itemsize)


def integers(values: Int64Array) -> Bytes:
    """Decimal digits of non-negative integers."""
    width = len(str(int(values.max(initial=0))))
    digits = np.empty((len(values), width), np.uint8)
    rest = values
    for column in range(width - 1, -1, -1):
        is_leading_zero = (rest == 0) & (column < width - 1)
        rest, digit = np.divmod(rest, 10)
        digits[:, column] = np.where(is_leading_zero, 0, digit + _ZERO)
    return digits


def times(milliseconds: Int64Array) -> Bytes:
    """`2024-06-01 12:34:56.789+00` for milliseconds since the epoch."""
    days, within = np.divmod(milliseconds, _DAY_MS)
    first, last = (int(days.min()), int(days.max())) if len(days) else (0, 0)
    dates = words(np.datetime_as_string(np.arange(first, last + 1).astype("datetime64[D]")).tolist())
    two, three = words(f"{n:02}" for n in range(60)), words(f"{n:03}" for n in range(1000))
    seconds, millisecond = np.divmod(within, 1000)
    minutes, second = np.divmod(seconds, 60)
    hour, minute = np.divmod(minutes, 60)
    clock: list[Bytes | bytes] = [two[hour], b":", two[minute], b":", two[second], b".", three[millisecond], b"+00"]
    return _side_by_side([dates[days - first], b" ", *clock], len(milliseconds))


def table(columns: Sequence[Bytes]) -> bytes:
    """The columns' rows as lines, separated by tabs."""
    parts: list[Bytes | bytes] = []
    for column in columns:
        parts += [column, b"\t"]
    matrix = _side_by_side([*parts[:-1], b"\n"], len(columns[0]))
    return bytes(matrix[matrix != 0].tobytes())


def _side_by_side(parts: Sequence[Bytes | bytes], num_rows: int) -> Bytes:
    columns = [np.frombuffer(part, np.uint8)[None, :] if isinstance(part, bytes) else part for part in parts]
    matrix = np.empty((num_rows, sum(column.shape[1] for column in columns)), np.uint8)
    at = 0
    for column in columns:
        matrix[:, at : at + column.shape[1]] = column
        at += column.shape[1]
    return matrix
