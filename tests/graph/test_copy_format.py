"""Arrays of Postgres' binary COPY: whole, or refused at whichever byte they are cut or changed."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import SchemaError
from waypost.graph.copy_format import parse_arrays, parse_rows
from waypost.graph.postgres import SessionLimits, open_snapshot

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
INT8 = 20  # the type's OID
COLUMNS = {"a": ">i8", "b": ">i8"}
Groups = list[list[tuple[int, int]]]


def copied(groups: Groups) -> bytes:
    """What Postgres sends for `SELECT array_agg(a), array_agg(b) … GROUP BY …`."""
    body = b""
    for group in groups:
        body += struct.pack(">h", 2)
        for column in zip(*group, strict=True):
            array = struct.pack(">5i", 1, 0, INT8, len(column), 1)
            array += b"".join(struct.pack(">iq", 8, value) for value in column)
            body += struct.pack(">i", len(array)) + array
    return HEADER + body + TRAILER


numbers = st.integers(-(2**63), 2**63 - 1)
GROUPS = [[(1, 2), (3, 4)], [(-5, 6)]]


@given(st.lists(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5), max_size=5))
def test_every_value_of_every_group_arrives(groups: Groups) -> None:
    found = parse_arrays(copied(groups), COLUMNS)
    rows = [row for group in groups for row in group]
    assert found.count == len(rows)
    assert list(zip(found.fixed["a"].tolist(), found.fixed["b"].tolist(), strict=True)) == rows
    assert {column.dtype for column in found.fixed.values()} == {np.dtype(np.int64)}


def test_a_stream_that_is_cut_anywhere_is_refused() -> None:
    whole = copied(GROUPS)
    for kept in range(len(HEADER), len(whole) - len(TRAILER)):
        if kept - len(HEADER) not in (0, 2 + 2 * (4 + 20 + 2 * 12)):  # between two groups a stream may end
            with pytest.raises(SchemaError):
                parse_arrays(whole[:kept] + TRAILER, COLUMNS)


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 3), (2, 999), (6, 2), (18, 1), (26, -1), (26, 4)],
    ids=["columns", "bytes", "dimensions", "size", "NULL", "width"],
)
def test_a_word_that_is_not_as_expected_is_refused(at: int, value: int) -> None:
    changed = bytearray(copied(GROUPS))
    struct.pack_into(">h" if at == 0 else ">i", changed, len(HEADER) + at, value)
    with pytest.raises(SchemaError):
        parse_arrays(bytes(changed), COLUMNS)


def test_columns_of_a_group_are_of_one_length() -> None:
    longer, shorter = copied([[(1, 2), (3, 4)]]), copied([[(1, 2)]])
    first = longer[len(HEADER) : len(HEADER) + 2 + 4 + 20 + 24]
    second = shorter[len(HEADER) + 2 + 4 + 20 + 12 : -len(TRAILER)]
    with pytest.raises(SchemaError, match="not of one length"):
        parse_arrays(HEADER + first + second + TRAILER, COLUMNS)


def test_postgres_sends_the_same_values_as_rows_and_as_arrays(postgres_dsn: str) -> None:
    numbers = "SELECT n::int8 * 4294967297 AS a, '2024-01-01'::timestamptz - n * interval '1 s' AS b"
    rows = f"({numbers} FROM generate_series(-1000, 1000) AS n) AS app"
    with open_snapshot(postgres_dsn, SessionLimits(connections=1)) as sessions:
        one_by_one = parse_rows(sessions.first.copy_binary(f"SELECT a, b FROM {rows}"), COLUMNS)
        grouped = parse_arrays(
            sessions.first.copy_binary(f"SELECT array_agg(a), array_agg(b) FROM {rows} GROUP BY a % 7"), COLUMNS
        )
        with pytest.raises(SchemaError, match="NULL"):
            parse_arrays(
                sessions.first.copy_binary("SELECT array_agg(a) FROM (VALUES (NULL::int8)) AS n (a)"), {"a": ">i8"}
            )
    for column in COLUMNS:
        np.testing.assert_array_equal(np.sort(grouped.fixed[column]), np.sort(one_by_one.fixed[column]))
